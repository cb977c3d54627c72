//! What of a directory is in an entry already: the stamps that its files had when they were saved or restored.
//!
//! Bytes of the index; numbers are little-endian:
//!
//! ```text
//!  "larder-dir-index-v1\n" · id of the entry: 32 bytes · its key: 32 bytes · its family: text
//!    · records: u64 · record* · SHA-256 of all before it
//!  record = path: text · stamp (52 bytes, see `context::Stamp`)     sorted by path
//!  text   = length: u32 · bytes
//! ```
//!
//! Invariant: bytes that are not exactly those of an index are none. A damaged
//! index costs time and never a wrong content.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::context::Stamp;
use crate::digest::Digest;
use crate::store::{Address, Entry};

const MAGIC: &[u8] = b"larder-dir-index-v1\n";

/// The stamps of files whose content stands in an entry under their paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Index {
    /// The entry's id.
    pub(crate) entry: Digest,
    /// The entry's key.
    pub(crate) key: Digest,
    /// The entry's family.
    pub(crate) family: String,
    stamps: BTreeMap<OsString, Stamp>,
}

impl Index {
    /// An index of the entry that knows no file yet.
    pub(crate) fn of(entry: &Entry) -> Self {
        let Address { key, family, .. } = &entry.manifest.address;
        Self { entry: entry.id, key: *key, family: family.clone(), stamps: BTreeMap::new() }
    }

    /// Notes a file of the entry.
    pub(crate) fn insert(&mut self, path: OsString, stamp: Stamp) {
        self.stamps.insert(path, stamp);
    }

    /// The stamp that the file had.
    pub(crate) fn stamp(&self, path: &OsStr) -> Option<&Stamp> {
        self.stamps.get(path)
    }

    /// How many files it knows.
    pub(crate) fn len(&self) -> usize {
        self.stamps.len()
    }

    /// The index as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.entry.as_bytes());
        bytes.extend(self.key.as_bytes());
        put(&mut bytes, self.family.as_bytes());
        bytes.extend((self.stamps.len() as u64).to_le_bytes());
        for (path, stamp) in &self.stamps {
            put(&mut bytes, path.as_bytes());
            stamp.encode(&mut bytes);
        }
        let seal = Digest::of(&bytes);
        bytes.extend(seal.as_bytes());
        bytes
    }

    /// The index that `bytes` are; `None` if they are none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, seal) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body).as_bytes() != seal {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (entry, rest) = rest.split_first_chunk::<32>()?;
        let (key, mut rest) = rest.split_first_chunk::<32>()?;
        let family = String::from_utf8(take(&mut rest)?.to_vec()).ok()?;
        let (count, mut rest) = rest.split_first_chunk::<8>()?;
        let mut stamps = BTreeMap::new();
        for _ in 0..u64::from_le_bytes(*count) {
            let path = OsString::from_vec(take(&mut rest)?.to_vec());
            stamps.insert(path, Stamp::decode(&mut rest)?);
        }
        let index = Self { entry: Digest::from(*entry), key: Digest::from(*key), family, stamps };
        rest.is_empty().then_some(index)
    }
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    // No file system has paths of four gigabytes.
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(text);
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = behind;
    Some(text)
}
