//! Restoring an entry into a directory.
//!
//! ```text
//!  list ─▶ compare ─▶ what is needed ─▶ <directory>/.larder-restore-<random>/<number> ─▶ rename into place
//!                                        written as chunks arrive, in any order
//! ```
//!
//! Nothing but the staging directory changes before all content has arrived
//! and was verified. What is in the directory and not in the entry stays. A
//! directory that is missing or empty gets all of it at once (`aside`).

mod aside;
mod compare;
mod install;
mod pieces;
mod staging;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use humansize::{DECIMAL, format_size};

use super::base::{self, PlaceError, UnlistedError};
use super::beneath::{Beneath, stamp};
use super::index::Index;
use super::listing::{Listing, NodeKind};
use crate::store::{Entry, Meter, Store, StoreError};
use aside::Aside;
use compare::Present;
use staging::Staging;

pub(crate) use pieces::Pieces;
pub(crate) use staging::remove_stale;

/// How an entry is restored.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options<'a> {
    /// Links may lead out of the directory.
    pub(crate) outside_links: bool,
    /// What of the directory is known to be in which entry.
    pub(crate) index: Option<&'a Index>,
}

/// A restored directory.
#[derive(Debug)]
pub(crate) struct Restored {
    /// Files and links of the entry.
    pub(crate) files: u64,
    /// Bytes of the files.
    pub(crate) bytes: u64,
    /// Files and links that were written.
    pub(crate) written_files: u64,
    /// What of the directory is now known to be in the entry; `None` where what was known before still tells more.
    pub(crate) index: Option<Index>,
    /// What went wrong on the way without harm.
    pub(crate) faults: Vec<StoreError>,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The entry's list cannot be read or is refused.
    #[error(transparent)]
    Unlisted(#[from] UnlistedError),
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory is at fault.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A directory stands where a file is to be.
    #[error("{0} is a directory here and none in the entry")]
    InTheWay(String),
    /// The file system has less room than is needed.
    #[error("{} are needed, and the file system has {} left", format_size(*needed, DECIMAL), format_size(*free, DECIMAL))]
    NoRoom {
        /// Bytes to be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// All content had arrived, but not all of it could be put into place.
    #[error("{path} is restored in part")]
    Partial {
        /// The directory.
        path: String,
        /// What could not be done.
        #[source]
        source: PlaceError,
    },
}

/// Restores `entry` into the directory at `path`, which is made if it is missing.
///
/// # Errors
///
/// Fails when the entry, the store or the directory is at fault; but for [`RestoreError::Partial`] the directory is
/// then as it was.
pub(crate) fn restore(
    store: &Store,
    entry: &Entry,
    path: &Path,
    options: Options<'_>,
    meter: &Meter,
) -> Result<Restored, RestoreError> {
    let listing = base::read_listing(store, entry, options.outside_links)?;
    let place = |action| move |source| PlaceError { action, path: path.display().to_string(), source };
    let above = Made::directory(path.parent().unwrap_or(path)).map_err(place("create"))?;
    if let Some(aside) = Aside::of(path).map_err(place("open"))? {
        let root = aside.directory().map_err(place("open"))?;
        let restored = restore_into(store, entry, &listing, (path, root), options, meter);
        let restored = restored.map_err(|error| match error {
            // It is removed again.
            RestoreError::Partial { source, .. } => RestoreError::Place(source),
            error => error,
        })?;
        if aside.put().map_err(place("write"))? {
            above.keep();
            return Ok(restored);
        }
    }
    let made = Made::directory(path).map_err(place("create"))?;
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
    options: Options<'_>,
    meter: &Meter,
) -> Result<Restored, RestoreError> {
    let place = |action| move |source| PlaceError { action, path: path.display().to_string(), source };
    remove_stale(&root).map_err(place("tidy"))?;
    let known = options.index.filter(|index| index.entry == entry.id);
    let mut beneath = Beneath::new(root.try_clone().map_err(place("open"))?);
    let present = Present::compare(listing, &mut beneath, known)?;
    let pieces = Pieces::new(listing, &present.needed, &entry.starts());
    meter.expect(pieces.bytes);
    enough_room(&root, pieces.bytes)?;

    let mut restored = Restored {
        files: listing.counts().0,
        bytes: listing.counts().1,
        written_files: 0,
        index: None,
        faults: Vec::new(),
    };
    restored.written_files = present.needed_files(listing);
    let mut staging = (restored.written_files > 0)
        .then(|| Staging::new(&root, listing, &pieces))
        .transpose()
        .map_err(place("stage files in"))?;
    if let Some(staging) = &mut staging {
        staging.prepare(&present.needed).map_err(place("stage files in"))?;
        let staging = &*staging;
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
        restored.faults = loaded?;
        staging.check_complete().map_err(place("stage files in"))?;
    }
    install::install(listing, &present, &mut beneath, staging.as_ref())
        .map_err(|source| RestoreError::Partial { path: path.display().to_string(), source })?;
    restored.index = note(entry, listing, &present, &mut beneath, options.index);
    Ok(restored)
}

/// Notes which files are now known to be in the entry, unless more are still known to be in another.
fn note(
    entry: &Entry,
    listing: &Listing,
    present: &Present,
    beneath: &mut Beneath,
    before: Option<&Index>,
) -> Option<Index> {
    let now = SystemTime::now();
    let same_entry = before.is_some_and(|before| before.entry == entry.id);
    let (mut index, mut still_known) = (Index::of(entry), 0);
    for (node, needed) in listing.nodes.iter().zip(&present.needed) {
        if !matches!(node.kind, NodeKind::File(_)) {
            continue;
        }
        let Ok(Some(metadata)) = beneath.look(&node.path) else { continue };
        let stamp = stamp(&metadata);
        let known = before.and_then(|before| before.stamp(&node.path)) == Some(&stamp);
        still_known += usize::from(known);
        // Who writes to what was just restored gives it a new time of modification.
        let trusted = if *needed {
            stamp.tells_changes_from(now) || stamp.tells_writes_from(now)
        } else {
            known && same_entry
        };
        if trusted {
            index.insert(node.path.clone(), stamp);
        }
    }
    (same_entry || index.len() > still_known).then_some(index)
}

fn enough_room(root: &Dir, needed: u64) -> Result<(), RestoreError> {
    // A file system that does not tell is full when a write says so.
    let Ok(space) = rustix::fs::fstatvfs(root) else { return Ok(()) };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if needed > free { Err(RestoreError::NoRoom { needed, free }) } else { Ok(()) }
}

/// Directories that were made for a restore; gone again if it fails.
struct Made(Vec<PathBuf>);

impl Made {
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

impl Drop for Made {
    fn drop(&mut self) {
        for path in &self.0 {
            // Others may have put something there.
            let _ = std::fs::remove_dir(path);
        }
    }
}
