//! Runs one operation from a synchronous thread, with a deadline and a size limit.
//!
//! OpenDAL is asynchronous, and its errors contain addresses and responses verbatim. Operations therefore run on their
//! own small runtime, and the transport records the outcome of the last request of each operation. If the operation
//! fails, that outcome is reported.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};

use super::fault::RemoteFault;

tokio::task_local! {
    static CURRENT: Arc<RemoteOperation>;
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OperationLimits {
    /// The maximum duration of the whole operation.
    pub(super) total: Duration,
    /// The maximum time without a response, for each request.
    pub(super) response: Duration,
    /// The maximum size of an object that is read, in bytes.
    pub(super) limit: u64,
}

#[derive(Debug)]
pub(super) struct RemoteOperation {
    pub(super) until: Instant,
    pub(super) allowance: OperationLimits,
    recorded: Mutex<RecordedOutcome>,
}

#[derive(Debug, Default)]
struct RecordedOutcome {
    service: Option<RemoteFault>,
    credentials: Option<String>,
}

impl RemoteOperation {
    /// Returns the operation of this task, or a new one with the allowance `otherwise`.
    pub(super) fn current(otherwise: OperationLimits) -> Arc<Self> {
        CURRENT.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Self::new(otherwise)))
    }

    fn new(allowance: OperationLimits) -> Self {
        Self { until: Instant::now() + allowance.total, allowance, recorded: Mutex::default() }
    }

    /// Records the outcome of a request to the service. An operation with concurrent requests ends at the first
    /// failure, before a different request can replace that outcome.
    pub(super) fn record(&self, fault: Option<RemoteFault>) {
        self.recorded().service = fault;
    }

    pub(super) fn record_credentials(&self, host: &str, fault: Option<&RemoteFault>) {
        self.recorded().credentials = fault.map(|fault| format!("{host}: {fault}"));
    }

    fn recorded(&self) -> std::sync::MutexGuard<'_, RecordedOutcome> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Converts an error of OpenDAL to the fault that was recorded for this operation, if any.
    fn fault(&self, error: &opendal::Error) -> RemoteFault {
        let mut noted = self.recorded();
        // The messages of OpenDAL's `new_request_sign_error` and `new_request_credential_error`.
        if matches!(error.message(), "signing http request" | "loading credential to sign http request") {
            return RemoteFault::NoCredentials(noted.credentials.take());
        }
        noted.service.take().unwrap_or_else(|| RemoteFault::from_opendal(error))
    }
}

/// Returns `true` if the operation of this task can continue after a pause.
pub(super) fn has_time(pause: Duration) -> bool {
    CURRENT.try_with(|call| Instant::now() + pause < call.until).unwrap_or(true)
}

/// Runs the cleanup after a failure. Its outcome is not recorded for the operation.
pub(super) async fn without_recording<T>(cleaning: impl Future<Output = T>) -> T {
    match CURRENT.try_with(|call| (call.until, call.allowance)) {
        Ok((until, allowance)) => {
            let call = RemoteOperation { until, allowance, recorded: Mutex::default() };
            CURRENT.scope(Arc::new(call), cleaning).await
        }
        Err(_) => cleaning.await,
    }
}

/// Runs an operation to its end on the runtime; returns `None` if the object does not exist. Fails if the operation
/// fails or exceeds its allowance, or if the runtime cannot be started.
pub(super) fn run<T: Send + 'static>(
    allowance: OperationLimits,
    operation: impl Future<Output = opendal::Result<T>> + Send + 'static,
) -> Result<Option<T>, RemoteFault> {
    let runtime = runtime().map_err(|_| RemoteFault::other("cannot start a thread"))?;
    let call = Arc::new(RemoteOperation::new(allowance));
    let (sender, receiver) = mpsc::sync_channel(1);
    let current = Arc::clone(&call);
    runtime.spawn(async move {
        let done = timeout_at(current.until, CURRENT.scope(Arc::clone(&current), operation)).await;
        // The receiver waits below, unless its thread has panicked.
        drop(sender.send(done));
    });
    match receiver.recv() {
        Ok(Ok(Ok(value))) => Ok(Some(value)),
        Ok(Ok(Err(error))) if error.kind() == opendal::ErrorKind::NotFound => Ok(None),
        Ok(Ok(Err(error))) => Err(call.fault(&error)),
        Ok(Err(_)) => Err(call.recorded().service.take().unwrap_or(RemoteFault::TimedOut(allowance.total))),
        Err(_) => Err(RemoteFault::other("larder's code for this operation panicked")),
    }
}

fn runtime() -> Result<&'static Runtime, &'static io::Error> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let start =
        || Builder::new_multi_thread().worker_threads(2).thread_name("larder-remote").enable_all().build();
    RUNTIME.get_or_init(start).as_ref()
}
