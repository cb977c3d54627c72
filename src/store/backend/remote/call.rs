//! One operation from a plain thread: its deadline, its limit, and what went wrong on the way.
//!
//! OpenDAL is asynchronous and its errors carry addresses and answers as they
//! came. So operations run on a small runtime of larder's own, whatever thread
//! they are called from, and the transport notes for each what its last request
//! came to; that is what is told when the operation fails.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;

tokio::task_local! {
    static CURRENT: Arc<Call>;
}

/// What an operation may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// How long it may take in all.
    pub(super) whole: Duration,
    /// How long each of its requests may be without an answer.
    pub(super) silence: Duration,
    /// How many bytes of an object it takes.
    pub(super) limit: u64,
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Call {
    /// When it has failed if it is not done.
    pub(super) until: Instant,
    /// What it may take.
    pub(super) allowance: Allowance,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    service: Option<Fault>,
    credentials: Option<String>,
}

impl Call {
    /// The one that this task is about, or else one with that allowance.
    pub(super) fn current(otherwise: Allowance) -> Arc<Self> {
        CURRENT.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Self::new(otherwise)))
    }

    fn new(allowance: Allowance) -> Self {
        Self { until: Instant::now() + allowance.whole, allowance, noted: Mutex::default() }
    }

    /// Notes what a request to the service came to. Where an operation makes several at once, it is over as soon as one
    /// has failed, before another can note its own.
    pub(super) fn note(&self, fault: Option<Fault>) {
        self.noted().service = fault;
    }

    /// Notes what a request for credentials to `host` came to.
    pub(super) fn note_credentials(&self, host: &str, fault: Option<&Fault>) {
        self.noted().credentials = fault.map(|fault| format!("{host}: {fault}"));
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an error of OpenDAL in this operation means.
    fn fault(&self, error: &opendal::Error) -> Fault {
        let mut noted = self.noted();
        // The words of OpenDAL's `new_request_sign_error` and `new_request_credential_error`.
        if matches!(error.message(), "signing http request" | "loading credential to sign http request") {
            return Fault::NoCredentials(noted.credentials.take());
        }
        noted.service.take().unwrap_or_else(|| Fault::of_answer(error))
    }
}

/// Whether the operation that this task is about may go on after a pause.
pub(super) fn has_time(pause: Duration) -> bool {
    CURRENT.try_with(|call| Instant::now() + pause < call.until).unwrap_or(true)
}

/// Runs what cleans up after a failure: what it comes to is not what is told of the operation.
pub(super) async fn unnoted<T>(cleaning: impl Future<Output = T>) -> T {
    match CURRENT.try_with(|call| (call.until, call.allowance)) {
        Ok((until, allowance)) => {
            let call = Call { until, allowance, noted: Mutex::default() };
            CURRENT.scope(Arc::new(call), cleaning).await
        }
        Err(_) => cleaning.await,
    }
}

/// Runs an operation to its end, on the runtime; what is not there is `None`.
///
/// # Errors
///
/// Fails when the operation does, when it takes more than it may, and where there can be no runtime.
pub(super) fn run<T: Send + 'static>(
    allowance: Allowance,
    operation: impl Future<Output = opendal::Result<T>> + Send + 'static,
) -> Result<Option<T>, Fault> {
    let runtime = runtime().map_err(|_| Fault::other("this process can start no more threads"))?;
    let call = Arc::new(Call::new(allowance));
    let (sender, receiver) = mpsc::sync_channel(1);
    let current = Arc::clone(&call);
    runtime.spawn(async move {
        let done = timeout_at(current.until, CURRENT.scope(Arc::clone(&current), operation)).await;
        // Its receiver waits below, unless that thread is gone.
        drop(sender.send(done));
    });
    match receiver.recv() {
        Ok(Ok(Ok(value))) => Ok(Some(value)),
        Ok(Ok(Err(error))) if error.kind() == opendal::ErrorKind::NotFound => Ok(None),
        Ok(Ok(Err(error))) => Err(call.fault(&error)),
        Ok(Err(_)) => Err(Fault::Silent(allowance.whole)),
        Err(_) => Err(Fault::other("larder's own code for it panicked")),
    }
}

/// The threads that all remote stores of this process share, started when first needed.
fn runtime() -> Result<&'static Runtime, &'static io::Error> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let start =
        || Builder::new_multi_thread().worker_threads(2).thread_name("larder-remote").enable_all().build();
    RUNTIME.get_or_init(start).as_ref()
}
