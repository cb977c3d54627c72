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

/// A backend that stores objects in a service supported by OpenDAL.
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
    /// Creates a backend over `operator`; `place` is its location for messages, without credentials.
    fn new(operator: Operator, place: String, settings: &RemoteSettings) -> Self {
        let objects = Arc::new(RemoteObjects::new(operator, settings.parallelism));
        Self { objects, place, settings: settings.clone() }
    }

    /// Runs an operation; returns `None` if the object does not exist.
    fn call<T: Send + 'static>(
        &self,
        allowance: OperationLimits,
        action: &'static str,
        path: &str,
        operation: impl Future<Output = opendal::Result<T>> + Send + 'static,
    ) -> Result<Option<T>, BackendError> {
        call::run(allowance, operation).map_err(|fault| self.backend_error(action, path, fault))
    }

    fn backend_error(&self, action: &'static str, path: &str, fault: RemoteFault) -> BackendError {
        BackendError {
            action,
            path: path.to_owned(),
            place: self.place.clone(),
            reason: fault.reason(),
            source: fault.into(),
        }
    }

    /// Turns `None` into an error, for operations to which a missing object does not apply.
    fn require<T>(&self, action: &'static str, path: &str, done: Option<T>) -> Result<T, BackendError> {
        done.ok_or_else(|| self.backend_error(action, path, RemoteFault::other("it does not exist")))
    }

    fn write_object(&self, path: &str, content: Vec<u8>) -> Result<(), BackendError> {
        let allowance = self.settings.allowance(u64::try_from(content.len()).unwrap_or(u64::MAX));
        let (objects, object) = (Arc::clone(&self.objects), path.to_owned());
        let written =
            self.call(allowance, "write", path, async move { objects.write(&object, content).await })?;
        self.require("write", path, written)
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
        let (objects, object) = (Arc::clone(&self.objects), path.to_owned());
        let allowance = self.settings.allowance_to_read(limit);
        self.call(allowance, "read", path, async move { objects.read(&object, limit).await })
    }

    fn size(&self, path: &str) -> Result<Option<u64>, BackendError> {
        let (objects, object) = (Arc::clone(&self.objects), path.to_owned());
        let found =
            self.call(self.settings.allowance(0), "read", path, async move { objects.size(&object).await })?;
        Ok(found.flatten())
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), BackendError> {
        self.write_object(path, content.to_vec())
    }

    /// Does nothing: services store an object before they respond to the write.
    fn sync(&self, _: &str) -> Result<(), BackendError> {
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<BackendObject>, BackendError> {
        let (objects, directory) = (Arc::clone(&self.objects), prefix.to_owned());
        let allowance = self.settings.allowance_to_list();
        let listed = self.call(allowance, "list", prefix, async move { objects.list(&directory).await })?;
        self.require("list", prefix, listed)
    }

    fn remove(&self, path: &str) -> Result<(), BackendError> {
        let (objects, object) = (Arc::clone(&self.objects), path.to_owned());
        let removed = self
            .call(self.settings.allowance(0), "remove", path, async move { objects.remove(&object).await })?;
        self.require("remove", path, removed)
    }

    fn set_aside(&self, path: &str) -> Result<(), BackendError> {
        let allowance = self.settings.allowance_to_read(objects::MAX_MOVE_SIZE);
        let (objects, object) = (Arc::clone(&self.objects), path.to_owned());
        let moved = self.call(allowance, "remove", path, async move { objects.set_aside(&object).await })?;
        self.require("remove", path, moved)
    }

    fn mark(&self, directory: &str, text: &str) -> Result<Box<dyn Mark>, BackendError> {
        Ok(Box::new(mark::RemoteMark::write(self, directory, text)?))
    }

    fn marks(&self, directory: &str) -> Result<Vec<String>, BackendError> {
        let (objects, marks) = (Arc::clone(&self.objects), directory.to_owned());
        let allowance = self.settings.allowance_to_list();
        let read = async move { mark::read_marks(&objects, &marks, Timestamp::now()).await };
        let texts = self.call(allowance, "read", directory, read)?;
        self.require("read", directory, texts)
    }

    fn remove_stale_temporaries(&self) -> Result<(), BackendError> {
        let objects = Arc::clone(&self.objects);
        let allowance = self.settings.allowance_to_list();
        let tidied =
            self.call(allowance, "remove", "tmp", async move { objects.tidy(Timestamp::now()).await })?;
        self.require("remove", "tmp", tidied)
    }
}

#[cfg(test)]
mod tests;
