//! Exports entries to a file and imports them, for machines that share no store.
//!
//! The file is a tar archive: `export.json` with the number of entries, then objects of the store: all chunks, each
//! once, then the manifests. An import verifies everything in it.

use std::collections::HashSet;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::census::StoreLocation;
use super::chunk::frame;
use super::manifest::{ChunkRef, EntryName, ManifestError};
use super::registration::Registration;
use super::repository::MAX_MANIFEST_SIZE;
use super::{Entry, Store, StoreError};
use crate::digest::Digest;

const HEADER_PATH: &str = "export.json";
const SCHEMA: &str = "larder.export.v1";

#[derive(Debug, Serialize, Deserialize)]
struct ExportHeader {
    schema: String,
    entries: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PortableError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read or write the export file")]
    File(#[from] io::Error),
    #[error("{member} {reason}")]
    InvalidMember { member: String, reason: String },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct TransferAmounts {
    pub(crate) entries: usize,
    /// Chunks that the destination lacked.
    pub(crate) chunks: usize,
    /// Bytes of the objects of these chunks.
    pub(crate) bytes: u64,
}

impl std::ops::AddAssign for TransferAmounts {
    fn add_assign(&mut self, more: Self) {
        self.entries += more.entries;
        self.chunks += more.chunks;
        self.bytes += more.bytes;
    }
}

impl Store {
    /// Writes entries of `place` to `file` and calls `progress` with the bytes of each chunk. Fails if a chunk is
    /// missing or damaged, or if the file cannot be written.
    pub(crate) fn export(
        &self,
        place: StoreLocation,
        entries: &[Entry],
        file: impl Write,
        progress: &dyn Fn(u64),
    ) -> Result<TransferAmounts, PortableError> {
        let mut carried = TransferAmounts::default();
        let Some(repository) = self.repository(place) else { return Ok(carried) };
        let mut archive = tar::Builder::new(file);
        let head = ExportHeader { schema: SCHEMA.to_owned(), entries: entries.len() };
        append_member(&mut archive, HEADER_PATH, &serde_json::to_vec(&head).map_err(io::Error::from)?)?;
        let mut done = HashSet::new();
        for entry in entries {
            for ChunkRef { digest, .. } in &entry.manifest.chunks {
                if !done.insert(*digest) {
                    continue;
                }
                let missing = || StoreError::Missing {
                    path: ChunkRef::path(digest),
                    entry: entry.short_id(),
                    place: repository.place(),
                };
                let stored = repository.chunk(digest)?.ok_or_else(missing)?;
                append_member(&mut archive, &ChunkRef::path(digest), &stored.frame)?;
                carried.chunks += 1;
                carried.bytes += stored.frame.len() as u64;
                progress(stored.frame.len() as u64);
            }
        }
        for entry in entries {
            let text = repository.backend.read(&entry.path, MAX_MANIFEST_SIZE).map_err(StoreError::from)?;
            append_member(&mut archive, &entry.path, &text.unwrap_or_default())?;
            carried.entries += 1;
        }
        archive.into_inner()?.flush()?;
        Ok(carried)
    }

    /// Imports the entries of `file` into `place`, under the lanes in which they were saved, and returns them. Fails at
    /// the first invalid member. No entry is imported then.
    pub(crate) fn import(
        &self,
        place: StoreLocation,
        file: impl Read,
        progress: &dyn Fn(u64),
    ) -> Result<(TransferAmounts, Vec<Entry>), PortableError> {
        if self.read_only {
            return Err(StoreError::ReadOnly.into());
        }
        let mut carried = TransferAmounts::default();
        let Some(repository) = self.repository(place) else { return Ok((carried, Vec::new())) };
        let registration = Registration::new(repository)?;
        let mut present = HashSet::new();
        let mut manifests: Vec<(Entry, Vec<u8>)> = Vec::new();
        let mut expected = None;
        for member in tar::Archive::new(file).entries()? {
            let mut member = member?;
            let path = String::from_utf8_lossy(&member.path_bytes()).into_owned();
            let foreign = |reason: &str| invalid_member(&path, reason);
            if !member.header().entry_type().is_file() {
                return Err(foreign("is not a file"));
            }
            if expected.is_none() {
                let head = if path == HEADER_PATH { read_member(&mut member, 4096)? } else { None };
                let head = head.and_then(|text| serde_json::from_slice::<ExportHeader>(&text).ok());
                let head = head.ok_or_else(|| foreign("is not the first member of an export file"))?;
                if head.schema != SCHEMA {
                    return Err(foreign(&ManifestError::Newer(head.schema).to_string()));
                }
                expected = Some(head.entries);
            } else if let Some(digest) = chunk_digest(&path) {
                let stored = read_member(&mut member, frame::MAX_FRAME_SIZE as u64)?;
                let stored = stored.ok_or_else(|| foreign("is larger than the limit of a chunk"))?;
                let chunk =
                    frame::decode(&stored).map_err(|error| foreign(&format!("is invalid: {error}")))?;
                if Digest::of(&chunk) != digest {
                    return Err(foreign("does not match the digest in its name"));
                }
                registration.announce(&[digest])?;
                if registration.stored_size(&digest)?.is_none() {
                    repository.put_chunk(&digest, &stored)?;
                    carried.chunks += 1;
                    carried.bytes += stored.len() as u64;
                }
                progress(stored.len() as u64);
                present.insert(digest);
            } else if let Some(name) = EntryName::parse(&path) {
                let text = read_member(&mut member, MAX_MANIFEST_SIZE)?;
                let text = text.ok_or_else(|| foreign("is larger than the limit of a manifest"))?;
                let (line, _) = Entry::split(&text);
                if !name.is_name_of(line) {
                    return Err(foreign("does not match the digest in its name"));
                }
                let entry = Entry::read(&name, line).map_err(|error| foreign(&error.to_string()))?;
                manifests.push((entry, text));
            } else {
                return Err(foreign("is neither a chunk nor an entry"));
            }
        }
        if expected != Some(manifests.len()) {
            return Err(invalid_member("the file", "is truncated: entries are missing"));
        }
        for (entry, _) in &manifests {
            if entry.manifest.chunks.iter().any(|chunk| !present.contains(&chunk.digest)) {
                return Err(invalid_member(&entry.path, "needs a chunk that is not in the file"));
            }
        }
        for (entry, text) in &manifests {
            repository.put_entry(entry, text)?;
            carried.entries += 1;
        }
        Ok((carried, manifests.into_iter().map(|(entry, _)| entry).collect()))
    }
}

fn invalid_member(member: &str, reason: &str) -> PortableError {
    PortableError::InvalidMember { member: member.to_owned(), reason: reason.to_owned() }
}

fn chunk_digest(path: &str) -> Option<Digest> {
    let digest = format!("sha256:{}", path.rsplit('/').next()?).parse().ok()?;
    (ChunkRef::path(&digest) == path).then_some(digest)
}

/// Reads a whole member; returns `None` if it is larger than `limit`.
fn read_member(member: &mut impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    member.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn append_member(archive: &mut tar::Builder<impl Write>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, content)
}
