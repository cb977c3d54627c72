//! Saving a directory as an entry.

use std::ffi::OsString;

use cap_std::fs::Dir;

use super::base::{Base, Shrunk};
use super::beneath::Beneath;
use super::content::{self, Kept};
use super::index::Index;
use super::listing::{FileData, Listing, Node, NodeKind};
use super::plan::Plan;
use super::units::{units, whole_units};
use super::walk::{LeftOut, Walked};
use crate::context::Stamp;
use crate::digest::Digest;
use crate::store::{Entry, EntryKind, Meter, Save, Saved, Span, Store, StoreError, Subject};

/// Where an entry is to stand, and what it is called.
#[derive(Debug)]
pub(crate) struct Destination<'a> {
    /// Entries of one directory.
    pub(crate) family: &'a str,
    /// What it was made for.
    pub(crate) key: Digest,
    /// Title, tags and inputs; what is counted is filled in.
    pub(crate) subject: Subject,
    /// Bytes of the entry before, if it may not be replaced by far less.
    pub(crate) replaces: Option<u64>,
}

/// A saved directory.
#[derive(Debug)]
pub(crate) struct SavedDirectory {
    /// The entry.
    pub(crate) saved: Saved,
    /// What of the directory is now known to be in it.
    pub(crate) index: Index,
    /// Files that were read.
    pub(crate) read_files: u64,
    /// Files that were known to be unchanged.
    pub(crate) known_files: u64,
    /// What could not be read, and was left out with its unit.
    pub(crate) left_out: Vec<LeftOut>,
}

/// Why a directory was not saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// Little of what was there before is left, or could be read.
    #[error("{shrunk}")]
    Shrunk {
        /// How little.
        shrunk: Shrunk,
        /// What was left out while reading.
        left_out: Vec<LeftOut>,
    },
    /// A file could not be read that the rest may be of no use without.
    #[error("{0}")]
    Incomplete(LeftOut),
    /// The directory is at fault.
    #[error("cannot read the directory")]
    Directory(#[from] std::io::Error),
}

/// Saves what was found in `root`; what `base` has of it already is not read.
///
/// # Errors
///
/// Fails when the store does, and when the meter stops it; then nothing is saved.
pub(crate) fn save(
    store: &Store,
    root: &Dir,
    walked: Walked,
    base: Option<&Base>,
    destination: Destination<'_>,
    meter: &Meter,
) -> Result<SavedDirectory, SaveError> {
    let mut save = store.save(EntryKind::Dir, destination.family, destination.key)?;
    let Walked { found, .. } = walked;
    let units = units(found.iter().map(|found| &found.node));
    let known: Vec<Option<&FileData>> =
        found.iter().map(|found| base.and_then(|base| base.known(found))).collect();
    let taken = match base {
        Some(base) => take_over(&mut save, &base.entry, &known)?,
        None => vec![None; found.len()],
    };
    meter.expect(
        found
            .iter()
            .zip(&taken)
            .filter(|(_, taken)| taken.is_none())
            .filter_map(|(found, _)| found.file())
            .map(|file| file.size)
            .sum(),
    );

    let mut nodes: Vec<Option<(Node, Option<Stamp>)>> = Vec::with_capacity(found.len());
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for (place, (found, taken)) in found.into_iter().zip(taken).enumerate() {
        let mut node = found.node;
        match (&mut node.kind, taken) {
            (NodeKind::File(file), Some(data)) => {
                *file = FileData { used: file.used, ..data };
                nodes.push(Some((node, found.stamp)));
            }
            (NodeKind::File(file), None) => {
                let read = if file.size < content::SMALL { &mut small } else { &mut large };
                read.push((place, node.path));
                nodes.push(None);
            }
            _ => nodes.push(Some((node, None))),
        }
    }
    let known_files =
        nodes.iter().flatten().filter(|(node, _)| matches!(node.kind, NodeKind::File(_))).count() as u64;
    let mut beneath = Beneath::new(root.try_clone()?);
    let (mut read_files, mut missing) = (0, Vec::new());
    for (place, path) in small.into_iter().chain(large) {
        let kept = content::add(&mut save, &mut beneath, &path, meter);
        if meter.is_stopped() {
            return Err(SaveError::Interrupted);
        }
        match kept? {
            Kept::File(node, stamp) => {
                read_files += 1;
                nodes[place] = Some((*node, stamp));
            }
            Kept::LeftOut(reason) => missing.push((place, LeftOut { path, reason })),
        }
    }
    let is_whole = whole_units(&units, &missing).map_err(|needed| SaveError::Incomplete(needed.clone()))?;
    let left_out: Vec<LeftOut> = missing.into_iter().map(|(_, left_out)| left_out).collect();
    let whole = nodes.into_iter().zip(is_whole).filter_map(|(node, is_whole)| node.filter(|_| is_whole));
    let (listing, stamps) = listing(whole);
    let saved = match commit(save, &listing, destination.subject, destination.replaces) {
        Ok(saved) => saved,
        Err(CommitError::Store(error)) => return Err(error.into()),
        Err(CommitError::Shrunk(shrunk)) => return Err(SaveError::Shrunk { shrunk, left_out }),
    };
    let mut index = Index::of(&saved.entry);
    for (path, stamp) in stamps {
        index.insert(path, stamp);
    }
    Ok(SavedDirectory { saved, index, read_files, known_files, left_out })
}

/// Why an entry was not completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Little is left of what was there before.
    #[error("{0}")]
    Shrunk(Shrunk),
}

/// Writes the list behind the content: from then on the entry is there.
///
/// # Errors
///
/// Fails when the store does, and when the entry would replace one of `replaces` bytes by far less.
pub(crate) fn commit(
    mut save: Save,
    listing: &Listing,
    subject: Subject,
    replaces: Option<u64>,
) -> Result<Saved, CommitError> {
    let subject = counted(subject, listing);
    // What could not be read is not in it: good must not be replaced by that.
    if let Some(before) = replaces {
        let empty = (subject.files == 0).then_some(Shrunk::Empty);
        if let Some(shrunk) = empty.or_else(|| Shrunk::to(subject.bytes, Some(before))) {
            return Err(CommitError::Shrunk(shrunk));
        }
    }
    save.boundary()?;
    let text = listing.encode();
    let span = Span { at: save.position(), size: text.len() as u64 };
    save.write(&text)?;
    Ok(save.commit(subject, span)?)
}

/// Takes chunks of `entry` over, the first ones of the content; answers where each file that is known to be in it stands
/// now, if it came along.
///
/// # Errors
///
/// Fails when the store does.
pub(crate) fn take_over(
    save: &mut Save,
    entry: &Entry,
    known: &[Option<&FileData>],
) -> Result<Vec<Option<FileData>>, StoreError> {
    let chunks = &entry.manifest.chunks;
    let sizes: Vec<u32> = chunks.iter().map(|chunk| chunk.size).collect();
    let spans: Vec<(u64, u64)> = (known.iter())
        .map(|known| known.map_or((0, 0), |file| (file.at, file.stored().unwrap_or_default())))
        .collect();
    let plan = Plan::new(&sizes, &spans);
    let wanted: Vec<_> = plan.chunks.iter().map(|chunk| chunks[*chunk]).collect();
    let Some(start) = save.reuse(&wanted)? else { return Ok(vec![None; known.len()]) };
    let moved = known.iter().zip(&plan.kept).zip(&spans).map(|((known, kept), (at, size))| {
        let known = known.filter(|_| *kept)?;
        let at = if *size == 0 { 0 } else { start + plan.moved(*at)? };
        Some(FileData { at, ..known.clone() })
    });
    Ok(moved.collect())
}

/// The list of these nodes, and the stamps of its files.
fn listing(nodes: impl Iterator<Item = (Node, Option<Stamp>)>) -> (Listing, Vec<(OsString, Stamp)>) {
    let mut listing = Listing::default();
    let mut stamps = Vec::new();
    for (node, stamp) in nodes {
        stamps.extend(stamp.map(|stamp| (node.path.clone(), stamp)));
        listing.nodes.push(node);
    }
    (listing, stamps)
}

fn counted(subject: Subject, listing: &Listing) -> Subject {
    let (files, bytes) = listing.counts();
    Subject { files, bytes, ..subject }
}
