//! Where a store's objects are kept: a directory, or a bucket behind a URL.
//!
//! A backend knows paths and bytes, nothing of entries or chunks. Every
//! backend passes the suite in `conformance`:
//!
//! - an object is there whole or not at all, whoever dies when;
//! - what was written can be read, and is listed, by all from then on;
//! - a [`Mark`] is seen by all from when it was made until it is dropped, and
//!   that of a process that died is gone sooner or later.

#[doc(hidden)]
pub mod conformance;
mod directory;
mod error;
mod fuse;
pub mod remote;

use std::fmt;

use super::room::Space;

pub use directory::Directory;
pub use error::{BackendError, Reason};
pub(crate) use fuse::Fused;

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its path from the backend's root.
    pub path: String,
    /// Its bytes.
    pub size: u64,
}

/// A place for objects. Paths are relative, separated by slashes, of `A-Z a-z 0-9 - _ . ~`.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Where it is, for people; without credentials.
    fn place(&self) -> String;

    /// How many operations at once are worth while.
    fn parallelism(&self) -> usize;

    /// What is there of the disk that it is on; `None` where that is not known.
    fn space(&self) -> Option<Space> {
        None
    }

    /// The whole object; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Fails when that cannot be told, and when the object is larger than `limit` bytes.
    fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BackendError>;

    /// The bytes of the object; `None` where there is none.
    ///
    /// # Errors
    ///
    /// Fails when that cannot be told.
    fn size(&self, path: &str) -> Result<Option<u64>, BackendError>;

    /// Writes the object, in place of an older one if there is one. Whatever crashes, it is whole or absent.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written; then nothing has changed.
    fn write(&self, path: &str, content: &[u8]) -> Result<(), BackendError>;

    /// Makes sure that what was written to `directory` survives a crash of the machine, and all that was written before.
    ///
    /// # Errors
    ///
    /// Fails when that cannot be had.
    fn settle(&self, directory: &str) -> Result<(), BackendError>;

    /// All objects below `prefix` at any depth, in no order; what vanishes meanwhile may be missing.
    ///
    /// # Errors
    ///
    /// Fails when the listing would not be whole.
    fn list(&self, prefix: &str) -> Result<Vec<Object>, BackendError>;

    /// Removes the object; that there is none is fine.
    ///
    /// # Errors
    ///
    /// Fails when it may still be there.
    fn remove(&self, path: &str) -> Result<(), BackendError>;

    /// Moves the object to `damaged/`, where nobody reads it.
    ///
    /// # Errors
    ///
    /// Fails when it may still be where it was.
    fn set_aside(&self, path: &str) -> Result<(), BackendError>;

    /// Makes a mark in `directory` that lasts as long as the value, or its process.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    fn mark(&self, directory: &str, text: &str) -> Result<Box<dyn Mark>, BackendError>;

    /// The texts of all marks in `directory`; those of dead processes are left out and removed.
    ///
    /// # Errors
    ///
    /// Fails when not all can be told.
    fn marks(&self, directory: &str) -> Result<Vec<String>, BackendError>;

    /// Removes what processes that died were writing.
    ///
    /// # Errors
    ///
    /// Fails when some of it is still there.
    fn tidy(&self) -> Result<(), BackendError>;
}

/// Says to everyone that its owner is at work, and on what. Dropping it takes it back.
pub trait Mark: fmt::Debug + Send + Sync {
    /// Adds to its text; seen by all when this returns.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written.
    fn add(&self, text: &str) -> Result<(), BackendError>;
}
