//! A backend that is not used again once it does not respond or denies access, because each attempt could wait for a
//! timeout.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::{Backend, BackendError, BackendObject, DiskSpace, FaultReason, Mark};

#[derive(Debug)]
pub(crate) struct FusedBackend {
    inner: Arc<dyn Backend>,
    is_disabled: AtomicBool,
    first_fault: OnceLock<String>,
}

impl FusedBackend {
    pub(crate) fn new(inner: Arc<dyn Backend>) -> Self {
        Self { inner, is_disabled: AtomicBool::new(false), first_fault: OnceLock::new() }
    }

    /// Returns the message of the first fault, without the path of the object.
    pub(crate) fn first_fault(&self) -> Option<String> {
        self.first_fault.get().cloned()
    }

    fn guard<T>(
        &self,
        action: &'static str,
        path: &str,
        operation: impl FnOnce(&dyn Backend) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        if self.is_disabled.load(Ordering::Relaxed) {
            let (path, place, reason) = (path.to_owned(), self.inner.place(), FaultReason::GivenUp);
            let source = "it failed before and is not used again in this run".into();
            return Err(BackendError { action, path, place, reason, source });
        }
        let result = operation(self.inner.as_ref());
        if let Err(BackendError { source, .. }) = &result {
            self.first_fault.get_or_init(|| {
                let causes =
                    std::iter::successors(Some(source.as_ref() as &dyn std::error::Error), |error| {
                        error.source()
                    });
                causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
            });
        }
        if let Err(BackendError {
            reason: FaultReason::TimedOut | FaultReason::Unreachable | FaultReason::Denied,
            ..
        }) = result
        {
            self.is_disabled.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Backend for FusedBackend {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }

    fn space(&self) -> Option<DiskSpace> {
        self.inner.space()
    }

    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BackendError> {
        self.guard("read", path, |inner| inner.read(path, limit))
    }

    fn size(&self, path: &str) -> Result<Option<u64>, BackendError> {
        self.guard("read", path, |inner| inner.size(path))
    }

    fn write(&self, path: &str, content: &[u8]) -> Result<(), BackendError> {
        self.guard("write", path, |inner| inner.write(path, content))
    }

    fn sync(&self, directory: &str) -> Result<(), BackendError> {
        self.guard("write", directory, |inner| inner.sync(directory))
    }

    fn list(&self, prefix: &str) -> Result<Vec<BackendObject>, BackendError> {
        self.guard("list", prefix, |inner| inner.list(prefix))
    }

    fn remove(&self, path: &str) -> Result<(), BackendError> {
        self.guard("remove", path, |inner| inner.remove(path))
    }

    fn set_aside(&self, path: &str) -> Result<(), BackendError> {
        self.guard("remove", path, |inner| inner.set_aside(path))
    }

    fn mark(&self, directory: &str, text: &str) -> Result<Box<dyn Mark>, BackendError> {
        self.guard("write", directory, |inner| inner.mark(directory, text))
    }

    fn marks(&self, directory: &str) -> Result<Vec<String>, BackendError> {
        self.guard("read", directory, |inner| inner.marks(directory))
    }

    fn remove_stale_temporaries(&self) -> Result<(), BackendError> {
        self.guard("remove", "tmp", |inner| inner.remove_stale_temporaries())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::backend::{DirectoryBackend, conformance};

    #[test]
    fn a_backend_that_does_not_respond_is_tried_once() {
        let base = tempfile::tempdir().unwrap();
        let share = base.path().join("share");
        let backend = FusedBackend::new(Arc::new(DirectoryBackend::shared(&share, &share.join("v1"))));
        assert_eq!(backend.list("entries").unwrap_err().reason, FaultReason::Unreachable);
        std::fs::create_dir(&share).unwrap();
        assert_eq!(backend.list("entries").unwrap_err().reason, FaultReason::GivenUp);
        assert_eq!(backend.write("a", b"").unwrap_err().reason, FaultReason::GivenUp);
    }

    #[test]
    fn a_fused_backend_passes_the_conformance_suite() {
        let base = tempfile::tempdir().unwrap();
        let backend = || FusedBackend::new(Arc::new(DirectoryBackend::new(base.path())));
        let shared: Arc<dyn Backend> = Arc::new(backend());
        conformance::check(&shared, &backend());
    }
}
