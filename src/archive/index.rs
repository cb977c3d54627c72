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

    /// Records that a file is stored in the entry.
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
        let seal = Digest::of(&bytes);
        bytes.extend(seal.as_bytes());
        bytes
    }

    /// Decodes an index. Returns `None` if the bytes are not a valid encoding.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, seal) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body).as_bytes() != seal {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (entry, rest) = rest.split_first_chunk::<32>()?;
        let (key, mut rest) = rest.split_first_chunk::<32>()?;
        let family = String::from_utf8(take_text(&mut rest)?.to_vec()).ok()?;
        let (count, mut rest) = rest.split_first_chunk::<8>()?;
        let mut stamps = BTreeMap::new();
        for _ in 0..u64::from_le_bytes(*count) {
            let path = OsString::from_vec(take_text(&mut rest)?.to_vec());
            stamps.insert(path, Stamp::decode(&mut rest)?);
        }
        let index = Self { entry: Digest::from(*entry), key: Digest::from(*key), family, stamps };
        rest.is_empty().then_some(index)
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    // No file system has paths of 4 GiB.
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(text);
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<4>()?;
    let (text, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *rest = behind;
    Some(text)
}
