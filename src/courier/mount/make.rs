//! Creates nodes that are missing in a mount. Either all of them are created, or none.
//!
//! ```text
//!  <mount>/.larder-restore-<random>/<number>   a file whose bytes are still arriving
//!                                  /tree/…     complete nodes, under their final paths
//! ```
//!
//! Programs assume that a directory is complete. The mount therefore does not change until everything has arrived. Then
//! each directory that is missing in the mount is renamed into place with its content. If the courier is killed or
//! disconnected earlier, the mount is unchanged except for the staging directory. A staging directory is locked while
//! its courier runs, and the next courier removes it if it is not locked.
//!
//! This module must not follow links: a path with a parent that is not a directory is not created.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};

use super::super::protocol::{FailureNotes, MountNode, MountNodeKind};
use super::file::{to_system_time, unique_name};
use super::{STAGING, unexpected_message};

/// The number of names that are tried. A different courier may remove a staging directory before it is locked.
const ATTEMPTS: usize = 64;

#[derive(Default)]
pub(super) struct MountWriter {
    root: PathBuf,
    staging: Option<MountStaging>,
    /// Files whose bytes are still arriving.
    open: HashMap<u32, Incoming>,
    /// Files that cannot be created, so that their bytes are discarded.
    failed: HashSet<u32>,
    /// Paths in the mount or the tree that are known to be directories.
    known_directories: HashSet<PathBuf>,
    /// Directories whose metadata is set at the end.
    directories: Vec<MountNode>,
    /// Hard links, which are created after their targets.
    links: Vec<MountNode>,
    files: u64,
    pub(super) notes: FailureNotes,
}

/// A staging directory, which is removed with its content when dropped.
struct MountStaging {
    path: PathBuf,
    tree: PathBuf,
    _lock: File,
}

struct Incoming {
    node: MountNode,
    /// The open file; `None` if too many files are open.
    file: Option<File>,
    left: u64,
}

impl MountWriter {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), ..Self::default() }
    }

    /// Creates a node in the staging directory. A file with content is completed by [`Self::add`].
    pub(super) fn begin(&mut self, number: u32, node: MountNode) -> io::Result<()> {
        match &node.kind {
            MountNodeKind::Directory => {
                let tree = self.staging()?.tree.clone();
                self.ensure_directory(&tree, &tree.join(&node.path))?;
                self.directories.push(node);
                Ok(())
            }
            MountNodeKind::HardLink(_) => {
                self.links.push(node);
                Ok(())
            }
            MountNodeKind::Symlink(target) => {
                let staged = self.staged_path(number)?;
                symlink(target, &staged)?;
                lchown(&staged, Some(node.uid), Some(node.gid))?;
                self.move_to_tree(&staged, &node.path)
            }
            MountNodeKind::File(size) => {
                let left = *size;
                let made = self.staged_path(number).and_then(|staged| {
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(staged)
                });
                let file = match made {
                    Ok(file) => file,
                    Err(error) => {
                        self.failed.insert(number);
                        return Err(error);
                    }
                };
                // The number of open files is limited by the system. Additional files are opened for each piece.
                let keep = self.open.len() < 64;
                let known = self.open.insert(number, Incoming { node, file: keep.then_some(file), left });
                if known.is_some() {
                    return Err(unexpected_message());
                }
                if left > 0 {
                    return Ok(());
                }
                self.complete(number).inspect_err(|_| drop(self.discard(number)))
            }
        }
    }

    /// Writes bytes of a file. Fails only if the peer violates the protocol.
    pub(super) fn add(&mut self, number: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.failed.contains(&number) {
            return Ok(());
        }
        let incoming = self.open.get_mut(&number).ok_or_else(unexpected_message)?;
        let MountNodeKind::File(size) = incoming.node.kind else { return Err(unexpected_message()) };
        let count = bytes.len() as u64;
        if count > incoming.left || offset.checked_add(count).is_none_or(|end| end > size) {
            return Err(unexpected_message());
        }
        incoming.left -= count;
        let over = incoming.left == 0;
        let written = match &incoming.file {
            Some(file) => file.write_all_at(bytes, offset),
            None => OpenOptions::new()
                .write(true)
                .open(self.staged_path(number)?)
                .and_then(|file| file.write_all_at(bytes, offset)),
        };
        let made = match written {
            Ok(()) if over => self.complete(number),
            made => made,
        };
        if let Err(error) = made
            && let Some(incoming) = self.discard(number)
        {
            self.notes.add(&incoming.node.path, &error);
        }
        Ok(())
    }

    /// Discards a file, including bytes that are still to arrive.
    fn discard(&mut self, number: u32) -> Option<Incoming> {
        self.failed.insert(number);
        if let Ok(staged) = self.staged_path(number) {
            let _ = fs::remove_file(staged);
        }
        self.open.remove(&number)
    }

    /// Sets the metadata of a complete file, and moves it to its place in the tree.
    fn complete(&mut self, number: u32) -> io::Result<()> {
        let staged = self.staged_path(number)?;
        let Some(incoming) = self.open.get_mut(&number) else { return Err(unexpected_message()) };
        let file = match incoming.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(&staged)?,
        };
        let node = incoming.node.clone();
        set_metadata(&file, &node)?;
        self.move_to_tree(&staged, &node.path)?;
        self.open.remove(&number);
        Ok(())
    }

    fn staging(&mut self) -> io::Result<&MountStaging> {
        let staging = match self.staging.take() {
            Some(staging) => staging,
            None => MountStaging::new(&self.root)?,
        };
        Ok(self.staging.insert(staging))
    }

    fn staged_path(&mut self, number: u32) -> io::Result<PathBuf> {
        Ok(self.staging()?.path.join(number.to_string()))
    }

    fn move_to_tree(&mut self, staged: &Path, path: &OsStr) -> io::Result<()> {
        let tree = self.staging()?.tree.clone();
        let place = tree.join(path);
        if let Some(parent) = place.parent() {
            self.ensure_directory(&tree, parent)?;
        }
        fs::rename(staged, &place)?;
        self.files += 1;
        Ok(())
    }

    /// Ensures that a path below `top` is a directory, and that all of its parents are.
    fn ensure_directory(&mut self, top: &Path, place: &Path) -> io::Result<()> {
        if place == top || self.known_directories.contains(place) {
            return Ok(());
        }
        if let Some(parent) = place.parent() {
            self.ensure_directory(top, parent)?;
        }
        match fs::symlink_metadata(place) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(not_a_directory()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(place)?,
            Err(error) => return Err(error),
        }
        self.known_directories.insert(place.to_owned());
        Ok(())
    }

    /// Moves everything into place if all nodes could be created. Returns the number of files, and the nodes that could
    /// not be created.
    pub(super) fn finish(mut self) -> (u64, FailureNotes) {
        for (number, link) in std::mem::take(&mut self.links).into_iter().enumerate() {
            if let Err(error) = self.link(number, &link) {
                self.notes.add(&link.path, &error);
            }
        }
        for incoming in std::mem::take(&mut self.open).into_values() {
            self.notes.add(&incoming.node.path, &"its content is incomplete");
        }
        let Some(MountStaging { tree, .. }) = &self.staging else { return (0, self.notes) };
        // The deepest directories come first, because changes in a directory update its modification time.
        for node in self.directories.iter().rev() {
            let result =
                File::open(tree.join(&node.path)).and_then(|directory| set_metadata(&directory, node));
            if let Err(error) = result {
                self.notes.add(&node.path, &error);
            }
        }
        if self.notes.count == 0
            && let Err((path, error)) = merge(tree, &self.root, MergePass::Check)
                .and_then(|()| merge(tree, &self.root, MergePass::Move))
        {
            let path = path.strip_prefix(&self.root).unwrap_or(&path).as_os_str().to_owned();
            self.notes.add(&path, &error);
        }
        if self.notes.count > 0 { (0, self.notes) } else { (self.files, self.notes) }
    }

    fn link(&mut self, number: usize, link: &MountNode) -> io::Result<()> {
        let MountNodeKind::HardLink(target) = &link.kind else { return Err(unexpected_message()) };
        let MountStaging { path, tree, .. } = self.staging()?;
        let (staged, made) = (path.join(format!("link-{number}")), tree.join(target));
        // The target may already exist in the mount.
        let (top, first) = match fs::symlink_metadata(&made) {
            Ok(_) => (tree.clone(), made),
            Err(_) => (self.root.clone(), self.root.join(target)),
        };
        for parent in first.ancestors().skip(1).take_while(|parent| **parent != top) {
            if !fs::symlink_metadata(parent)?.is_dir() {
                return Err(not_a_directory());
            }
        }
        fs::hard_link(first, &staged)?;
        self.move_to_tree(&staged, &link.path)
    }
}

impl MountStaging {
    fn new(root: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let path = root.join(format!("{STAGING}{}", unique_name()));
            fs::create_dir(&path)?;
            // Until the directory is locked, a different courier may treat it as abandoned.
            let lock = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
                continue;
            }
            let tree = path.join("tree");
            match fs::create_dir(&tree) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                made => made?,
            }
            fs::set_permissions(&path, Permissions::from_mode(0o700))?;
            return Ok(Self { path, tree, _lock: lock });
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

impl Drop for MountStaging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn not_a_directory() -> io::Error {
    io::Error::other("something other than a directory exists at this path")
}

#[derive(Clone, Copy, PartialEq)]
enum MergePass {
    /// Checks that nothing is in the way.
    Check,
    Move,
}

/// Moves the content of the directory `from` into the directory `to`. A directory that does not exist in `to` is moved
/// as a whole; an existing one is merged. Fails with the path that cannot be moved.
fn merge(from: &Path, to: &Path, act: MergePass) -> Result<(), (PathBuf, io::Error)> {
    let at = |place: &Path| {
        let place = place.to_owned();
        move |error| (place, error)
    };
    for entry in fs::read_dir(from).map_err(at(to))? {
        let entry = entry.map_err(at(to))?;
        let (part, place) = (entry.path(), to.join(entry.file_name()));
        let is_directory = entry.file_type().map_err(at(&place))?.is_dir();
        let existing = match fs::symlink_metadata(&place) {
            Ok(existing) => Some(existing),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&place)(error)),
        };
        match existing {
            Some(existing) if is_directory && existing.is_dir() => merge(&part, &place, act)?,
            Some(_) if is_directory => return Err(at(&place)(not_a_directory())),
            Some(existing) if existing.is_dir() => {
                return Err(at(&place)(io::Error::other("a directory exists at this path")));
            }
            _ if act == MergePass::Check => {}
            _ => match fs::rename(&part, &place) {
                // A concurrent courier has created the directory.
                Err(error)
                    if is_directory
                        && matches!(
                            error.kind(),
                            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                        ) =>
                {
                    merge(&part, &place, act)?;
                }
                moved => moved.map_err(at(&place))?,
            },
        }
    }
    Ok(())
}

/// Removes the staging directories of couriers that have ended.
pub(super) fn remove_abandoned(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let is_staging = entry.file_name().as_bytes().starts_with(STAGING.as_bytes());
        let is_directory = || entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_staging || !is_directory() {
            continue;
        }
        // The lock is held during the removal, so that no courier starts to use the directory.
        let Ok(lock) = File::open(entry.path()) else { continue };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Sets owner, mode and times, with an access time that means that the file was not used.
fn set_metadata(file: &File, node: &MountNode) -> io::Result<()> {
    fchown(file, Some(node.uid), Some(node.gid))?;
    file.set_permissions(Permissions::from_mode(node.mode))?;
    let modified = to_system_time(node.modified);
    file.set_times(FileTimes::new().set_accessed(modified).set_modified(modified))
}
