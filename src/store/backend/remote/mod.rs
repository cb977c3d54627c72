//! A backend behind a URL: a bucket, a container, a WebDAV server, or GitHub's cache.
//!
//! ```text
//! Remote ──▶ call ──▶ objects, mark ──▶ OpenDAL's service ──▶ transport ──▶ network
//! (any thread)        (on a small runtime)                    deadlines, attempts
//! ```
//!
//! A service that stalls, rejects requests or closes connections delays an operation for a limited time only. Errors
//! must not contain any part of a request.

mod actions_cache;
mod call;
mod fault;
mod mark;
mod objects;
mod open;
mod settings;
mod transport;
mod url;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use opendal::Operator;

pub use self::actions_cache::ActionsJob;
pub(crate) use self::open::{OpenRemoteError, OpenRemoteFault};
pub use self::settings::RemoteSettings;
pub use self::url::RemoteUrl;

use self::call::OperationLimits;
use self::fault::RemoteFault;
use self::objects::RemoteObjects;
use super::{Backend, BackendError, BackendObject, Mark};

#[derive(Clone)]
pub(crate) struct RemoteBackend {
    objects: Arc<RemoteObjects>,
    place: String,
    settings: RemoteSettings,
}

impl fmt::Debug for RemoteBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("place", &self.place).finish_non_exhaustive()
    }
}

impl RemoteBackend {
    fn new(operator: Operator, place: String, settings: &RemoteSettings) -> Self {
        let objects = Arc::new(RemoteObjects::new(operator, settings.parallelism));
        Self { objects, place, settings: settings.clone() }
    }

    /// Runs an operation; returns `None` if the object does not exist.
    fn call<T: Send + 'static, F: Future<Output = opendal::Result<T>> + Send + 'static>(
        &self,
        allowance: OperationLimits,
        action: &'static str,
        path: &str,
        operation: impl FnOnce(Arc<RemoteObjects>, String) -> F,
    ) -> Result<Option<T>, BackendError> {
        let operation = operation(Arc::clone(&self.objects), path.to_owned());
        call::run(allowance, operation).map_err(|fault| self.backend_error(action, path, fault))
    }

    /// Runs an operation to which a missing object does not apply.
    fn require<T: Send + 'static, F: Future<Output = opendal::Result<T>> + Send + 'static>(
        &self,
        allowance: OperationLimits,
        action: &'static str,
        path: &str,
        operation: impl FnOnce(Arc<RemoteObjects>, String) -> F,
    ) -> Result<T, BackendError> {
        let done = self.call(allowance, action, path, operation)?;
        done.ok_or_else(|| self.backend_error(action, path, RemoteFault::other("it does not exist")))
    }

    fn backend_error(&self, action: &'static str, path: &str, fault: RemoteFault) -> BackendError {
        let (path, place, reason) = (path.to_owned(), self.place.clone(), fault.reason());
        BackendError { action, path, place, reason, source: fault.into() }
    }

    fn write_object(&self, path: &str, content: Vec<u8>) -> Result<(), BackendError> {
        let allowance = self.settings.allowance(u64::try_from(content.len()).unwrap_or(u64::MAX));
        self.require(
            allowance,
            "write",
            path,
            |objects, path| async move { objects.write(&path, content).await },
        )
    }
}

impl Backend for RemoteBackend {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn parallelism(&self) -> usize {
        self.settings.parallelism
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BackendError> {
        let allowance = self.settings.allowance_to_read(limit);
        self.call(allowance, "read", path, |objects, path| async move { objects.read(&path, limit).await })
    }

    fn size(&self, path: &str) -> Result<Option<u64>, BackendError> {
        let allowance = self.settings.allowance(0);
        let size = |objects: Arc<RemoteObjects>, path: String| async move { objects.size(&path).await };
        Ok(self.call(allowance, "read", path, size)?.flatten())
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), BackendError> {
        self.write_object(path, content.to_vec())
    }

    /// Does nothing: services store an object before they respond to the write.
    fn sync(&self, _: &str) -> Result<(), BackendError> {
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<BackendObject>, BackendError> {
        let allowance = self.settings.allowance_to_list();
        self.require(allowance, "list", prefix, |objects, path| async move { objects.list(&path).await })
    }

    fn remove(&self, path: &str) -> Result<(), BackendError> {
        let allowance = self.settings.allowance(0);
        self.require(allowance, "remove", path, |objects, path| async move { objects.remove(&path).await })
    }

    fn set_aside(&self, path: &str) -> Result<(), BackendError> {
        let allowance = self.settings.allowance_to_read(objects::MAX_MOVE_SIZE);
        self.require(allowance, "remove", path, |objects, path| async move { objects.set_aside(&path).await })
    }

    fn mark(&self, directory: &str, text: &str) -> Result<Box<dyn Mark>, BackendError> {
        Ok(Box::new(mark::RemoteMark::write(self, directory, text)?))
    }

    fn marks(&self, directory: &str) -> Result<Vec<String>, BackendError> {
        self.require(self.settings.allowance_to_list(), "read", directory, |objects, path| async move {
            mark::read_marks(&objects, &path, Timestamp::now()).await
        })
    }

    fn remove_stale_temporaries(&self) -> Result<(), BackendError> {
        self.require(self.settings.allowance_to_list(), "remove", "tmp", |objects, _| async move {
            objects.tidy(Timestamp::now()).await
        })
    }
}

#[cfg(test)]
mod tests;
