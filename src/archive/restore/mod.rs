//! Restores an entry into a directory.
//!
//! ```text
//!  listing ─▶ compare ─▶ missing files ─▶ <directory>/.larder-restore-<random>/<number> ─▶ rename into place
//!                                         written as chunks arrive, in any order
//! ```
//!
//! Only the staging directory changes until all content has arrived and been verified. Files that are not in the entry
//! are never removed. A missing or empty directory is restored separately and moved into place at once (`temporary`).

mod compare;
mod file_ranges;
mod install;
mod staging;
mod temporary;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use humansize::{DECIMAL, format_size};

use super::base::{self, ListingError, PathError};
use super::confined_root::{ConfinedRoot, stamp};
use super::index::DirectoryIndex;
use super::listing::{Listing, NodeKind};
use crate::store::{Entry, Meter, Store, StoreError};
use compare::compare;
use staging::StagingDirectory;
use temporary::TemporaryDestination;

pub(crate) use file_ranges::FileRanges;
pub(crate) use staging::remove_stale;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RestoreOptions<'a> {
    pub(crate) outside_links: bool,
    /// The files of the directory that are known to be in some entry.
    pub(crate) index: Option<&'a DirectoryIndex>,
}

#[derive(Debug)]
pub(crate) struct RestoredDirectory {
    /// The number of files and links in the entry.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) written_files: u64,
    /// The files that are now known to be in the entry, or `None` if the earlier index contains more files.
    pub(crate) index: Option<DirectoryIndex>,
    /// Store errors that did not prevent the restore.
    pub(crate) faults: Vec<StoreError>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(transparent)]
    Unlisted(#[from] ListingError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Place(#[from] PathError),
    #[error("{0} is a directory here, but not in the entry")]
    DirectoryInTheWay(String),
    #[error("the restore needs {}, but only {} are free on the file system", format_size(*needed, DECIMAL), format_size(*free, DECIMAL))]
    NoSpace { needed: u64, free: u64 },
    #[error("interrupted")]
    Interrupted,
    #[error("{path} was restored only partly")]
    Partial {
        path: String,
        #[source]
        source: PathError,
    },
}

/// Restores `entry` into the directory at `path`, which is created if it is missing. Fails if the entry cannot be read,
/// if a node of it is invalid or not allowed, or if the directory cannot be written. The directory is unchanged then,
/// except with [`RestoreError::Partial`].
pub(crate) fn restore(
    store: &Store,
    entry: &Entry,
    path: &Path,
    options: RestoreOptions<'_>,
    meter: &Meter,
) -> Result<RestoredDirectory, RestoreError> {
    let listing = base::read_listing(store, entry, options.outside_links)?;
    let place = |action| move |source| PathError { action, path: path.display().to_string(), source };
    let above = CreatedDirectories::directory(path.parent().unwrap_or(path)).map_err(place("create"))?;
    if let Some(aside) = TemporaryDestination::of(path).map_err(place("open"))? {
        let root = aside.directory().map_err(place("open"))?;
        let restored = restore_into(store, entry, &listing, (path, root), options, meter);
        let restored = restored.map_err(|error| match error {
            // The temporary directory is removed, so that the destination is unchanged.
            RestoreError::Partial { source, .. } => RestoreError::Place(source),
            error => error,
        })?;
        if aside.move_into_place().map_err(place("write"))? {
            above.keep();
            return Ok(restored);
        }
    }
    let made = CreatedDirectories::directory(path).map_err(place("create"))?;
    let root = Dir::open_ambient_dir(path, ambient_authority()).map_err(place("open"))?;
    let restored = restore_into(store, entry, &listing, (path, root), options, meter);
    if restored.is_ok() || matches!(restored, Err(RestoreError::Partial { .. })) {
        above.keep();
        made.keep();
    }
    restored
}

fn restore_into(
    store: &Store,
    entry: &Entry,
    listing: &Listing,
    (path, root): (&Path, Dir),
    options: RestoreOptions<'_>,
    meter: &Meter,
) -> Result<RestoredDirectory, RestoreError> {
    let place = |action| move |source| PathError { action, path: path.display().to_string(), source };
    remove_stale(&root).map_err(place("remove stale directories from"))?;
    let known = options.index.filter(|index| index.entry == entry.id);
    let mut beneath = ConfinedRoot::new(root.try_clone().map_err(place("open"))?);
    let needed = compare(listing, &mut beneath, known)?;
    let pieces = FileRanges::new(listing, &needed, &entry.chunk_offsets());
    meter.set_total(pieces.bytes);
    check_free_space(&root, pieces.bytes)?;

    let written = listing.nodes.iter().zip(&needed);
    let written = written.filter(|(node, needed)| **needed && node.kind != NodeKind::Directory).count();
    let staging = (written > 0)
        .then(|| StagingDirectory::new(&root, listing, &pieces, &needed))
        .transpose()
        .map_err(place("stage files in"))?;
    let mut faults = Vec::new();
    if let Some(staging) = &staging {
        let sink = |chunk: usize, bytes: &[u8]| -> io::Result<()> {
            meter.check()?;
            staging.write(chunk, bytes)?;
            meter.add(pieces.bytes_of(chunk));
            Ok(())
        };
        let loaded = store.load(entry, &pieces.chunks, &sink);
        if meter.is_stopped() {
            return Err(RestoreError::Interrupted);
        }
        faults = loaded?;
        staging.check_complete().map_err(place("stage files in"))?;
    }
    install::install(listing, &needed, &mut beneath, staging.as_ref())
        .map_err(|source| RestoreError::Partial { path: path.display().to_string(), source })?;
    let index = index_restored(entry, listing, &needed, &mut beneath, options.index);
    let (files, bytes) = listing.counts();
    Ok(RestoredDirectory { files, bytes, written_files: written as u64, index, faults })
}

/// Returns an index of the files that are now known to be in the entry, or `None` if the earlier index still covers
/// more files.
fn index_restored(
    entry: &Entry,
    listing: &Listing,
    needed: &[bool],
    beneath: &mut ConfinedRoot,
    before: Option<&DirectoryIndex>,
) -> Option<DirectoryIndex> {
    let now = SystemTime::now();
    let same_entry = before.is_some_and(|before| before.entry == entry.id);
    let (mut index, mut still_known) = (DirectoryIndex::of(entry), 0);
    for (node, needed) in listing.nodes.iter().zip(needed).filter(|(node, _)| node.file().is_some()) {
        let Ok(Some(metadata)) = beneath.metadata(&node.path) else { continue };
        let stamp = stamp(&metadata);
        let known = before.and_then(|before| before.stamp(&node.path)) == Some(&stamp);
        still_known += usize::from(known);
        // A later write to a file that was just restored changes its modification time.
        let trusted = if *needed {
            stamp.detects_changes_after(now) || stamp.detects_writes_after(now)
        } else {
            known && same_entry
        };
        if trusted {
            index.insert(node.path.clone(), stamp);
        }
    }
    (same_entry || index.len() > still_known).then_some(index)
}

fn check_free_space(root: &Dir, needed: u64) -> Result<(), RestoreError> {
    // If the free space is not reported, a write fails instead.
    let Ok(space) = rustix::fs::fstatvfs(root) else { return Ok(()) };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if needed > free { Err(RestoreError::NoSpace { needed, free }) } else { Ok(()) }
}

/// The directories that were created for a restore. They are removed on drop unless the restore succeeded.
struct CreatedDirectories(Vec<PathBuf>);

impl CreatedDirectories {
    fn directory(path: &Path) -> io::Result<Self> {
        let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let made = Self(missing.map(Path::to_owned).collect());
        if !path.as_os_str().is_empty() {
            std::fs::create_dir_all(path)?;
        }
        Ok(made)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for CreatedDirectories {
    fn drop(&mut self) {
        for path in &self.0 {
            // The directory may contain files of other processes.
            let _ = std::fs::remove_dir(path);
        }
    }
}
