//! Backends: places that store the objects of a store, such as a directory, or a bucket behind a URL.
//!
//! A backend handles paths and bytes; it does not know entries or chunks. Every backend passes the suite in
//! `conformance`:
//!
//! - An object exists completely or not at all, even if a process dies.
//! - After a write, all jobs can read and list the object.
//! - All jobs see a [`Mark`] from its creation until it is dropped. The mark of a dead process disappears eventually.

#[doc(hidden)]
pub mod conformance;
mod directory;
mod error;
mod fuse;
pub mod remote;

use std::fmt;

use super::disk_space::DiskSpace;

pub use directory::DirectoryBackend;
pub use error::{BackendError, FaultReason};
pub(crate) use fuse::FusedBackend;

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackendObject {
    /// The path from the root of the backend.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
}

/// A place for objects. Paths are relative, separated by slashes, and consist of `A-Z a-z 0-9 - _ . ~`.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Returns the location for messages, without credentials.
    fn place(&self) -> String;

    /// Returns how many concurrent operations are useful.
    fn parallelism(&self) -> usize;

    /// Returns the space of the disk, or `None` if it is unknown.
    fn space(&self) -> Option<DiskSpace> {
        None
    }

    /// Reads an object; returns `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the object cannot be read or is larger than `limit` bytes.
    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BackendError>;

    /// Returns the size of an object, or `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the backend cannot be queried.
    fn size(&self, path: &str) -> Result<Option<u64>, BackendError>;

    /// Writes an object or replaces it, atomically.
    ///
    /// # Errors
    ///
    /// Fails if the object cannot be written; it is unchanged then.
    fn write(&self, path: &str, content: &[u8]) -> Result<(), BackendError>;

    /// Ensures that all earlier writes, in particular those to `directory`, survive a crash of the machine.
    ///
    /// # Errors
    ///
    /// Fails if that cannot be ensured.
    fn sync(&self, directory: &str) -> Result<(), BackendError>;

    /// Lists all objects below `prefix`, at any depth and in any order. Objects that are removed meanwhile may be
    /// missing.
    ///
    /// # Errors
    ///
    /// Fails if the listing would be incomplete.
    fn list(&self, prefix: &str) -> Result<Vec<BackendObject>, BackendError>;

    /// Removes an object if it exists.
    ///
    /// # Errors
    ///
    /// Fails if the object may still exist.
    fn remove(&self, path: &str) -> Result<(), BackendError>;

    /// Moves an object to `damaged/`, where it is not read again.
    ///
    /// # Errors
    ///
    /// Fails if the object may still be at its path.
    fn set_aside(&self, path: &str) -> Result<(), BackendError>;

    /// Creates a mark in `directory` that exists until the value is dropped or the process ends.
    ///
    /// # Errors
    ///
    /// Fails if the mark cannot be written.
    fn mark(&self, directory: &str, text: &str) -> Result<Box<dyn Mark>, BackendError>;

    /// Returns the texts of all marks in `directory`, and removes marks of dead processes.
    ///
    /// # Errors
    ///
    /// Fails if a mark cannot be read.
    fn marks(&self, directory: &str) -> Result<Vec<String>, BackendError>;

    /// Removes temporary files of dead processes.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be removed.
    fn remove_stale_temporaries(&self) -> Result<(), BackendError>;
}

/// An announcement to all jobs of the objects that its owner works on. It ends when the value is dropped.
pub trait Mark: fmt::Debug + Send + Sync {
    /// Appends to the text of the mark; all jobs see it when this returns.
    ///
    /// # Errors
    ///
    /// Fails if the text cannot be written.
    fn add(&self, text: &str) -> Result<(), BackendError>;
}
