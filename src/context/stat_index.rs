//! The stat index: digests of files that need not be read again. Does not read files.
//!
//! Like git's index, it contains for each file the [`Stamp`] at the time of reading, and the digests. A file with the
//! same stamp is unchanged. A stamp is recorded only if it was so old when the walk began that no later write could
//! have the same stamp (compare git's "racily clean" entries).
//!
//! The encoding of an index; numbers are little-endian:
//!
//! ```text
//!  "larder-stat-index-v1\n" · records: u64 · record* · SHA-256 of all before it
//!  record = path length: u32 · path · inode, size: u64 · mode: u32
//!           · modified, changed: (seconds, nanoseconds): 4 × i64
//!           · digest: 32 bytes · xattrs: 0u8 | 1u8 · 32 bytes           sorted by path
//! ```
//!
//! Invariant: only an exact encoding is decoded. A damaged index costs time, but never yields a wrong digest.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::file_digest::FileDigest;
use super::sealed::{put_text, seal, take, take_text, unseal};
use super::stamp::Stamp;
use super::walk::ContextEntry;
use crate::digest::Digest;

const MAGIC: &[u8] = b"larder-stat-index-v1\n";

/// The digests of a directory's files, by path below the directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StatIndex {
    records: BTreeMap<String, StatRecord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatRecord {
    stamp: Stamp,
    pub(super) digest: Digest,
    pub(super) xattrs: Option<Digest>,
}

impl StatIndex {
    /// Returns the record of the file if the file cannot have changed since it was made.
    pub(super) fn known(&self, entry: &ContextEntry) -> Option<&StatRecord> {
        let record = self.records.get(&entry.path)?;
        (record.stamp == Stamp::of(&entry.metadata)).then_some(record)
    }

    /// Returns the index updated with `entries`, which have these `digests` and whose walk started at `walked`. Returns
    /// `None` if there is no new record.
    ///
    /// Records of other files are kept, because a different build of the same directory may see them, but only as many
    /// as there are files in `entries`.
    pub(crate) fn updated(
        &self,
        entries: &[ContextEntry],
        digests: &[FileDigest],
        walked: SystemTime,
    ) -> Option<Self> {
        let mut learnt = BTreeMap::new();
        let mut news = false;
        for (entry, file) in entries.iter().zip(digests).filter(|(entry, _)| entry.metadata.is_file()) {
            let stamp = Stamp::of(&entry.metadata);
            if let Some(known) = self.known(entry) {
                learnt.insert(entry.path.clone(), *known);
            } else if stamp.detects_changes_after(walked) {
                news = true;
                learnt.insert(
                    entry.path.clone(),
                    StatRecord { stamp, digest: file.digest, xattrs: file.xattrs },
                );
            }
        }
        if !news {
            return None;
        }
        let room = learnt.len();
        let others = self.records.iter().filter(|(path, _)| !learnt.contains_key(*path)).take(room);
        let others: Vec<_> = others.map(|(path, record)| (path.clone(), *record)).collect();
        learnt.extend(others);
        Some(Self { records: learnt })
    }

    /// Encodes the index in the format described for this module.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.records.len() as u64).to_le_bytes());
        for (path, StatRecord { stamp, digest, xattrs }) in &self.records {
            put_text(&mut bytes, path.as_bytes());
            stamp.encode(&mut bytes);
            bytes.extend(digest.as_bytes());
            bytes.push(u8::from(xattrs.is_some()));
            bytes.extend(xattrs.iter().flat_map(Digest::as_bytes));
        }
        seal(bytes)
    }

    /// Decodes an index. Returns `None` if the bytes are not a valid encoding.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = unseal(bytes, MAGIC)?;
        let count = u64::from_le_bytes(take(&mut rest)?);
        let mut records = BTreeMap::new();
        for _ in 0..count {
            let path = String::from_utf8(take_text(&mut rest)?.to_vec()).ok()?;
            let stamp = Stamp::decode(&mut rest)?;
            let digest = Digest::from(take::<32>(&mut rest)?);
            let xattrs = match take::<1>(&mut rest)? {
                [0] => None,
                [1] => Some(Digest::from(take::<32>(&mut rest)?)),
                _ => return None,
            };
            if records.last_key_value().is_some_and(|(last, _)| *last >= path) {
                return None;
            }
            records.insert(path, StatRecord { stamp, digest, xattrs });
        }
        rest.is_empty().then_some(Self { records })
    }
}
