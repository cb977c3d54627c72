//! Saves a directory as an entry. Does not change the directory.

use cap_std::fs::Dir;

use super::base::{BaseEntry, ShrinkReason};
use super::confined_root::ConfinedRoot;
use super::content;
use super::index::DirectoryIndex;
use super::listing::{FileData, Listing, Node, NodeKind};
use super::reuse_plan::ReusePlan;
use super::units::{complete_units, units};
use super::walk::{LeftOutPath, WalkedDirectory};
use crate::context::Stamp;
use crate::digest::Digest;
use crate::store::{ContentRange, Entry, EntryKind, Meter, Save, SavedEntry, Store, StoreError, Subject};

#[derive(Debug)]
pub(crate) struct DirectoryDestination<'a> {
    pub(crate) family: &'a str,
    /// The digest of everything that the content depends on.
    pub(crate) key: Digest,
    /// Title, tags and inputs; the numbers of files and bytes are filled in.
    pub(crate) subject: Subject,
    /// The size of the earlier entry's files in bytes, if the entry must not be replaced by a much smaller one.
    pub(crate) replaces: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct SavedDirectory {
    pub(crate) saved: SavedEntry,
    /// The files that are now known to be in the entry, with their stamps.
    pub(crate) index: DirectoryIndex,
    pub(crate) read_files: u64,
    /// The number of files that were not read because they are unchanged.
    pub(crate) known_files: u64,
    /// The files that could not be read. Each is left out with the other files of its unit.
    pub(crate) left_out: Vec<LeftOutPath>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("interrupted")]
    Interrupted,
    /// The directory is much smaller than the earlier entry, or too many of its files could not be read.
    #[error("{shrunk}")]
    Shrunk { shrunk: ShrinkReason, left_out: Vec<LeftOutPath> },
    /// A file on which the others may depend could not be read.
    #[error("{0}")]
    Incomplete(LeftOutPath),
    #[error("cannot read the directory")]
    Directory(#[from] std::io::Error),
}

/// Saves the nodes found in `root`, without reading files that are unchanged since `base`. Fails if the store fails, if
/// the meter stops the save, or if the entry would be incomplete or much smaller than the earlier one. No entry is
/// created then.
pub(crate) fn save(
    store: &Store,
    root: &Dir,
    walked: WalkedDirectory,
    base: Option<&BaseEntry>,
    destination: DirectoryDestination<'_>,
    meter: &Meter,
) -> Result<SavedDirectory, SaveError> {
    let mut save = store.save(EntryKind::Dir, destination.family, destination.key)?;
    let WalkedDirectory { found, .. } = walked;
    let units = units(found.iter().map(|found| &found.node));
    let known: Vec<Option<&FileData>> =
        found.iter().map(|found| base.and_then(|base| base.known(found))).collect();
    let taken = match base {
        Some(base) => reuse_chunks(&mut save, &base.entry, &known)?,
        None => vec![None; found.len()],
    };
    let unread = found.iter().zip(&taken).filter(|(_, taken)| taken.is_none());
    meter.set_total(unread.filter_map(|(found, _)| found.node.file()).map(|file| file.size).sum());

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
    let known_files = nodes.iter().flatten().filter(|(node, _)| node.file().is_some()).count() as u64;
    let mut beneath = ConfinedRoot::new(root.try_clone()?);
    let (mut read_files, mut missing) = (0, Vec::new());
    for (place, path) in small.into_iter().chain(large) {
        let kept = content::add(&mut save, &mut beneath, &path, meter);
        if meter.is_stopped() {
            return Err(SaveError::Interrupted);
        }
        match kept? {
            Ok(node) => {
                read_files += 1;
                nodes[place] = Some(node);
            }
            Err(reason) => missing.push((place, LeftOutPath { path, reason })),
        }
    }
    let is_whole =
        complete_units(&units, &missing).map_err(|needed| SaveError::Incomplete(needed.clone()))?;
    let left_out: Vec<LeftOutPath> = missing.into_iter().map(|(_, left_out)| left_out).collect();
    let whole = nodes.into_iter().zip(is_whole).filter_map(|(node, is_whole)| node.filter(|_| is_whole));
    let (mut listing, mut stamps) = (Listing::default(), Vec::new());
    for (node, stamp) in whole {
        stamps.extend(stamp.map(|stamp| (node.path.clone(), stamp)));
        listing.nodes.push(node);
    }
    let saved = match commit(save, &listing, destination.subject, destination.replaces) {
        Ok(saved) => saved,
        Err(CommitError::Store(error)) => return Err(error.into()),
        Err(CommitError::Shrunk(shrunk)) => return Err(SaveError::Shrunk { shrunk, left_out }),
    };
    let mut index = DirectoryIndex::of(&saved.entry);
    for (path, stamp) in stamps {
        index.insert(path, stamp);
    }
    Ok(SavedDirectory { saved, index, read_files, known_files, left_out })
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Shrunk(ShrinkReason),
}

/// Appends the listing to the content and commits the entry. Fails if the store fails, or if the entry would replace
/// one of `replaces` bytes and is much smaller.
pub(crate) fn commit(
    mut save: Save,
    listing: &Listing,
    subject: Subject,
    replaces: Option<u64>,
) -> Result<SavedEntry, CommitError> {
    let (files, bytes) = listing.counts();
    // The listing lacks files that could not be read, so it may be much smaller than the directory.
    if let Some(before) = replaces {
        let empty = (files == 0).then_some(ShrinkReason::Empty);
        if let Some(shrunk) = empty.or_else(|| ShrinkReason::for_sizes(bytes, Some(before))) {
            return Err(CommitError::Shrunk(shrunk));
        }
    }
    save.boundary()?;
    let text = listing.encode();
    let span = ContentRange { at: save.position(), size: text.len() as u64 };
    save.write(&text)?;
    Ok(save.commit(Subject { files, bytes, ..subject }, span)?)
}

/// Reuses chunks of `entry` as the start of the content. Returns the new location of each known file that is completely
/// in these chunks.
pub(crate) fn reuse_chunks(
    save: &mut Save,
    entry: &Entry,
    known: &[Option<&FileData>],
) -> Result<Vec<Option<FileData>>, StoreError> {
    let chunks = &entry.manifest.chunks;
    let sizes: Vec<u32> = chunks.iter().map(|chunk| chunk.size).collect();
    let spans: Vec<(u64, u64)> = (known.iter())
        .map(|known| known.map_or((0, 0), |file| (file.at, file.stored_bytes().unwrap_or_default())))
        .collect();
    let plan = ReusePlan::new(&sizes, &spans);
    let wanted: Vec<_> = plan.chunks.iter().map(|chunk| chunks[*chunk]).collect();
    let Some(start) = save.reuse(&wanted)? else { return Ok(vec![None; known.len()]) };
    let moved = known.iter().zip(&plan.kept).zip(&spans).map(|((known, kept), (at, size))| {
        let known = known.filter(|_| *kept)?;
        let at = if *size == 0 { 0 } else { start + plan.new_offset(*at)? };
        Some(FileData { at, ..known.clone() })
    });
    Ok(moved.collect())
}
