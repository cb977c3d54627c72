//! Records which files of a directory are in an entry, by the stamps of the files when they were saved or restored.
//! Does not access the file system.
//!
//! The encoding of an index; numbers are little-endian:
//!
//! ```text
//!  "larder-dir-index-v1\n" · id of the entry: 32 bytes · its key: 32 bytes · its family: text
//!    · records: u64 · record* · SHA-256 of all before it
//!  record = path: text · stamp (52 bytes, see `context::Stamp`)     sorted by path
//!  text   = length: u32 · bytes
//! ```
//!
//! Invariant: only an exact encoding is decoded. A damaged index costs time, but never yields wrong content.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::context::Stamp;
use crate::context::sealed::{put_text, seal, take, take_text, unseal};
use crate::digest::Digest;
use crate::store::{Address, Entry};

const MAGIC: &[u8] = b"larder-dir-index-v1\n";

/// The stamps of files whose content is stored in an entry under the same paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirectoryIndex {
    pub(crate) entry: Digest,
    pub(crate) key: Digest,
    pub(crate) family: String,
    stamps: BTreeMap<OsString, Stamp>,
}

impl DirectoryIndex {
    /// Creates an index of the entry without any files.
    pub(crate) fn of(entry: &Entry) -> Self {
        let Address { key, family, .. } = &entry.manifest.address;
        Self { entry: entry.id, key: *key, family: family.clone(), stamps: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, path: OsString, stamp: Stamp) {
        self.stamps.insert(path, stamp);
    }

    pub(crate) fn stamp(&self, path: &OsStr) -> Option<&Stamp> {
        self.stamps.get(path)
    }

    pub(crate) fn len(&self) -> usize {
        self.stamps.len()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.entry.as_bytes());
        bytes.extend(self.key.as_bytes());
        put_text(&mut bytes, self.family.as_bytes());
        bytes.extend((self.stamps.len() as u64).to_le_bytes());
        for (path, stamp) in &self.stamps {
            put_text(&mut bytes, path.as_bytes());
            stamp.encode(&mut bytes);
        }
        seal(bytes)
    }

    /// Decodes an index. Returns `None` if the bytes are not a valid encoding.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = unseal(bytes, MAGIC)?;
        let entry = Digest::from(take::<32>(&mut rest)?);
        let key = Digest::from(take::<32>(&mut rest)?);
        let family = String::from_utf8(take_text(&mut rest)?.to_vec()).ok()?;
        let mut stamps = BTreeMap::new();
        for _ in 0..u64::from_le_bytes(take(&mut rest)?) {
            let path = OsString::from_vec(take_text(&mut rest)?.to_vec());
            stamps.insert(path, Stamp::decode(&mut rest)?);
        }
        rest.is_empty().then_some(Self { entry, key, family, stamps })
    }
}
