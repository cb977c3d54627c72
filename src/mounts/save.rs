//! Saves a mount: reads only new and changed files, and leaves out files that builds no longer use.
//!
//! Files must only be left out in units (see [`units`]), because programs assume that a unit is complete.

use std::ffi::OsString;

use super::conversation::{Conversation, MountListing, ReadEvent};
use super::error::MountError;
use super::uses::{Tally, UsageCounts, file, known};
use crate::archive::{
    CommitError, FileData, FileUsage, Listing, Node, NodeKind, SMALL_FILE, ShrinkReason, TrimLimits, commit,
    complete_units, nodes_to_trim, read_listing, reuse_chunks, units,
};
use crate::courier::protocol::{FailureNotes, Owner, ReadOutcome};
use crate::digest::Digest;
use crate::store::{Entry, EntryKind, Meter, Save, SavedEntry, Store, Subject};

const FILES_PER_REQUEST: usize = 8192;

#[derive(Debug, Clone)]
pub(crate) struct SaveTerms {
    /// The family of the entry: entries of the same mount in the same project have the same family.
    pub(crate) family: String,
    pub(crate) key: Digest,
    /// Title and tags; the counts are filled in.
    pub(crate) subject: Subject,
    /// The number of consecutive builds without use after which a unit is left out; `None` keeps all.
    pub(crate) unused_builds: Option<u32>,
    /// The maximum size of the entry in bytes. The least recently used units are left out, or all files if that is not
    /// enough.
    pub(crate) max_size: Option<u64>,
    pub(crate) allow_shrink: bool,
}

#[derive(Debug)]
pub(crate) struct SavedMount {
    pub(crate) outcome: SaveOutcome,
    /// Files that existed before the build and that the build read.
    pub(crate) used: Tally,
    pub(crate) added: Tally,
    /// The modification time of the oldest added file, in seconds since 1970.
    pub(crate) oldest_added: Option<i64>,
    pub(crate) packages_used: Tally,
    pub(crate) packages_added: Tally,
    /// Files that were left out because they are unused, or because the entry would be too large.
    pub(crate) trimmed: Tally,
    /// `true` if the builder records access times; otherwise `used` is meaningless.
    pub(crate) records_access_times: bool,
    pub(crate) root: Owner,
    pub(crate) notes: FailureNotes,
}

#[derive(Debug)]
pub(crate) enum SaveOutcome {
    Saved(Box<SavedEntry>),
    Unchanged,
    /// The mount is empty, and so was the earlier entry.
    Empty,
    /// The mount has far less content than the earlier entry, which is probably an accident.
    Refused(ShrinkReason),
    /// The mount exceeds the limit and consists of a single unit. If there is an earlier entry, an empty one replaces
    /// it, so that the next builder starts with an empty mount.
    TooLarge {
        saved: Option<Box<SavedEntry>>,
        bytes: u64,
    },
    /// A file could not be read, for this reason, and the others may depend on it.
    Incomplete(String),
}

/// Saves the content of the mount, without reading files that are in the entry `before`. Fails if the store or the
/// builder fails, or if the meter stops the save. In these cases, no entry is created.
pub(crate) fn save(
    store: &Store,
    before: Option<&Entry>,
    mut conversation: Conversation,
    terms: &SaveTerms,
    meter: &Meter,
) -> Result<SavedMount, MountError> {
    let listed = before.map(|entry| read_listing(store, entry, true)).transpose()?;
    let mut found = conversation.list()?;
    let units = units(found.listing.nodes.iter());
    let counted = UsageCounts::of(&mut found, listed.as_ref(), &units);
    let mut saved = SavedMount {
        outcome: SaveOutcome::Unchanged,
        used: counted.used,
        added: counted.added,
        oldest_added: counted.oldest_added,
        packages_used: counted.packages,
        packages_added: Tally::default(),
        trimmed: Tally::default(),
        records_access_times: found.records_access_times,
        root: found.root,
        notes: std::mem::take(&mut found.notes),
    };
    if let Some(note) = saved.notes.first.first() {
        saved.outcome = SaveOutcome::Incomplete(note.clone());
        conversation.close()?;
        return Ok(saved);
    }
    let MountListing { listing: Listing { nodes }, .. } = found;
    let is_empty = nodes.iter().all(|node| node.kind == NodeKind::Directory);
    let used = |place: usize| {
        file(&nodes[place]).map(|file| FileUsage { unused: file.unused, used: file.used, bytes: file.size })
    };
    let left_out =
        nodes_to_trim(&units, used, TrimLimits { unused_builds: terms.unused_builds, bytes: terms.max_size });
    let mut wanted: Vec<(u32, Node)> = Vec::with_capacity(nodes.len());
    let mut units_of_wanted = Vec::with_capacity(nodes.len());
    for (((number, node), is_left_out), unit) in (0..).zip(nodes).zip(left_out).zip(units) {
        if !is_left_out {
            wanted.push((number, node));
            units_of_wanted.push(unit);
        } else if let NodeKind::File(file) = &node.kind {
            saved.trimmed.add(file.size);
        }
    }
    let kept: u64 = wanted.iter().filter_map(|(_, node)| file(node)).map(|file| file.size).sum();
    let bytes = kept.saturating_add(saved.trimmed.bytes);
    let before = before.filter(|entry| entry.manifest.subject.files > 0 || !is_empty);
    let replaces = before.map(|entry| entry.manifest.subject.bytes).filter(|_| !terms.allow_shrink);
    let shrunk = match replaces {
        Some(_) if is_empty => Some(ShrinkReason::Empty),
        before => ShrinkReason::for_sizes(bytes, before),
    };
    if shrunk.is_some() || is_empty {
        saved.outcome = shrunk.map_or(SaveOutcome::Empty, SaveOutcome::Refused);
        conversation.close()?;
        return Ok(saved);
    }
    if wanted.is_empty() {
        conversation.close()?;
        let outdated = before.is_some_and(|entry| entry.manifest.subject.files > 0);
        let saved_empty = outdated.then(|| save_empty(store, terms)).transpose()?;
        saved.outcome = SaveOutcome::TooLarge { saved: saved_empty, bytes };
        return Ok(saved);
    }
    let known: Vec<Option<&FileData>> =
        wanted.iter().map(|(_, node)| listed.as_ref().and_then(|listed| known(node, listed))).collect();
    if let (Some(entry), Some(listed)) = (before, &listed)
        && is_unchanged(&wanted, &known, listed)
        && store.is_in_all_stores(entry)
    {
        conversation.close()?;
        return Ok(saved);
    }
    let save = store.save(EntryKind::Mount, &terms.family, terms.key)?;
    let mut writing = EntryWriter {
        save,
        nodes: Vec::new(),
        missing: Vec::new(),
        packages: Tally::default(),
        notes: &mut saved.notes,
        meter,
    };
    writing.take(before, wanted, &known, &mut conversation)?;
    conversation.close()?;
    let EntryWriter { save, nodes, missing, packages, .. } = writing;
    saved.packages_added = packages;
    let is_whole = match complete_units(&units_of_wanted, &missing) {
        Ok(is_whole) => is_whole,
        Err(path) => {
            let reason = format!("{} was changed or could not be read", path.display());
            saved.outcome = SaveOutcome::Incomplete(reason);
            return Ok(saved);
        }
    };
    let nodes = nodes.into_iter().zip(is_whole).filter_map(|(node, is_whole)| node.filter(|_| is_whole));
    let listing = Listing { nodes: nodes.collect() };
    let replaces = replaces.map(|before| before.saturating_sub(saved.trimmed.bytes));
    saved.outcome = match commit(save, &listing, terms.subject.clone(), replaces) {
        Ok(entry) => SaveOutcome::Saved(Box::new(entry)),
        Err(CommitError::Shrunk(shrunk)) => SaveOutcome::Refused(shrunk),
        Err(CommitError::Store(error)) => return Err(error.into()),
    };
    Ok(saved)
}

fn save_empty(store: &Store, terms: &SaveTerms) -> Result<Box<SavedEntry>, MountError> {
    let save = store.save(EntryKind::Mount, &terms.family, terms.key)?;
    match commit(save, &Listing::default(), terms.subject.clone(), None) {
        Ok(empty) => Ok(Box::new(empty)),
        Err(CommitError::Store(error)) => Err(error.into()),
        Err(CommitError::Shrunk(_)) => unreachable!("there is no earlier entry to compare with"),
    }
}

/// Returns `true` if the entry contains exactly these nodes, with the same counts of unused builds.
fn is_unchanged(wanted: &[(u32, Node)], known: &[Option<&FileData>], listed: &Listing) -> bool {
    wanted.len() == listed.nodes.len()
        && wanted.iter().zip(known).zip(&listed.nodes).all(|(((_, node), known), before)| {
            match (&node.kind, known) {
                (NodeKind::File(file), Some(known)) => {
                    let same = Node { kind: before.kind.clone(), ..node.clone() };
                    file.unused == known.unused && same == *before
                }
                (NodeKind::File(_), None) => false,
                // The modification time of a directory changes with its content and contains no further information.
                (NodeKind::Directory, _) => Node { mtime: before.mtime, ..node.clone() } == *before,
                _ => node == before,
            }
        })
}

/// Returns `true` if bytes are the start of a package: a wheel is a zip archive, and a source distribution is a
/// compressed tar archive.
fn is_package(bytes: &[u8]) -> bool {
    const ZIP: &[u8] = b"PK\x03\x04";
    const GZIP: &[u8] = &[0x1f, 0x8b];
    bytes.starts_with(ZIP) || bytes.starts_with(GZIP)
}

struct EntryWriter<'a> {
    save: Save,
    nodes: Vec<Option<Node>>,
    /// Indices and paths of files that could not be read completely.
    missing: Vec<(usize, OsString)>,
    packages: Tally,
    notes: &'a mut FailureNotes,
    meter: &'a Meter,
}

impl EntryWriter<'_> {
    /// Reuses chunks of the earlier entry, and requests the other files from the builder.
    fn take(
        &mut self,
        before: Option<&Entry>,
        wanted: Vec<(u32, Node)>,
        known: &[Option<&FileData>],
        conversation: &mut Conversation,
    ) -> Result<(), MountError> {
        let taken = match before {
            Some(entry) => reuse_chunks(&mut self.save, entry, known)?,
            None => vec![None; wanted.len()],
        };
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for ((number, mut node), taken) in wanted.into_iter().zip(taken) {
            if let NodeKind::File(file) = &mut node.kind {
                if let Some(data) = taken {
                    *file = FileData { used: file.used, unused: file.unused, ..data };
                } else {
                    file.data = None;
                    let read = if file.size < SMALL_FILE { &mut small } else { &mut large };
                    read.push((self.nodes.len(), number, file.size));
                }
            }
            self.nodes.push(Some(node));
        }
        self.meter.set_total(small.iter().chain(&large).map(|(_, _, size)| size).sum());
        for files in small.chunks(FILES_PER_REQUEST).chain(large.chunks(FILES_PER_REQUEST)) {
            self.read(files, conversation)?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        files: &[(usize, u32, u64)],
        conversation: &mut Conversation,
    ) -> Result<(), MountError> {
        let requested: Vec<(u32, u64)> = files.iter().map(|(_, number, size)| (*number, *size)).collect();
        // The content of a small file. It is written only when it is complete, because it shares chunks with others.
        let mut waiting: Vec<u8> = Vec::new();
        let mut begun: Option<u64> = None;
        let mut package = None;
        conversation.read::<MountError>(&requested, &mut |place, taken| {
            let (node, _, size) = files[place];
            let is_small = size < SMALL_FILE;
            self.meter.check().map_err(|_| MountError::Interrupted)?;
            if let ReadEvent::Bytes(bytes) = &taken {
                package.get_or_insert_with(|| is_package(bytes));
            }
            match taken {
                ReadEvent::Bytes(bytes) if is_small => waiting.extend(bytes),
                ReadEvent::Bytes(bytes) => {
                    if begun.is_none() {
                        self.save.boundary()?;
                        begun = Some(self.save.position());
                    }
                    self.save.write(&bytes)?;
                    self.meter.add(bytes.len() as u64);
                }
                ReadEvent::End(ReadOutcome::Complete) => {
                    let at = begun.take().unwrap_or(self.save.position());
                    if is_small {
                        self.save.write(&waiting)?;
                        self.meter.add(waiting.len() as u64);
                    } else {
                        self.save.boundary()?;
                    }
                    waiting.clear();
                    if let Some(Node { kind: NodeKind::File(file), .. }) = &mut self.nodes[node] {
                        file.at = at;
                        file.package = package.take().unwrap_or_default();
                        if file.package {
                            self.packages.add(file.size);
                        }
                    }
                }
                ReadEvent::End(outcome) => {
                    package = None;
                    waiting.clear();
                    if begun.take().is_some() {
                        self.save.boundary()?;
                    }
                    if let Some(Node { path, .. }) = self.nodes[node].take() {
                        if outcome == ReadOutcome::Unreadable {
                            self.notes.add(&path, &"it cannot be read");
                        }
                        self.missing.push((node, path));
                    }
                }
            }
            Ok(())
        })
    }
}
