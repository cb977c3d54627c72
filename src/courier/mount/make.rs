//! Making what a mount lacks.
//!
//! ```text
//!  <mount>/.larder-restore-<random>/<number>   a file whose bytes are still coming; then it is renamed into place
//! ```
//!
//! A path whose way leads over anything but directories is not made.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::protocol::{FoundKind, FoundNode, Notes};
use super::file::{time, unique};
use super::{STAGING, unexpected};

/// After this long nobody is still filling a staging directory.
const ABANDONED: Duration = Duration::from_hours(6);

/// What is being made.
pub(super) struct Making<'a> {
    root: &'a Path,
    staging: PathBuf,
    /// Files whose bytes are still coming.
    open: HashMap<u32, Incoming>,
    /// Files that cannot be made; their bytes are thrown away.
    given_up: HashSet<u32>,
    /// Directories that are known to be ones.
    ways: HashSet<PathBuf>,
    /// Directories that get their metadata at the end.
    directories: Vec<FoundNode>,
    /// Hard links, which need their files first.
    links: Vec<FoundNode>,
    files: u64,
    pub(super) notes: Notes,
}

struct Incoming {
    node: FoundNode,
    file: Option<File>,
    left: u64,
}

impl<'a> Making<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        remove_abandoned(root);
        Self {
            root,
            staging: root.join(format!("{STAGING}{}", unique())),
            open: HashMap::new(),
            given_up: HashSet::new(),
            ways: HashSet::new(),
            directories: Vec::new(),
            links: Vec::new(),
            files: 0,
            notes: Notes::default(),
        }
    }

    pub(super) fn begin(&mut self, number: u32, node: FoundNode) -> io::Result<()> {
        match &node.kind {
            FoundKind::Directory => {
                self.way(&self.root.join(&node.path))?;
                self.directories.push(node);
                Ok(())
            }
            FoundKind::HardLink(_) => {
                self.links.push(node);
                Ok(())
            }
            FoundKind::Symlink(target) => {
                let staged = self.staged(number)?;
                symlink(target, &staged)?;
                lchown(&staged, Some(node.uid), Some(node.gid))?;
                self.put(&staged, &node.path)
            }
            FoundKind::File(size) => {
                let left = *size;
                let made = self.staged(number).and_then(|staged| {
                    OpenOptions::new().write(true).create_new(true).mode(0o600).open(staged)
                });
                let file = match made {
                    Ok(file) => file,
                    Err(error) => {
                        self.given_up.insert(number);
                        return Err(error);
                    }
                };
                // So many at once that another process' limit is not reached; the rest is opened for each piece.
                let keep = self.open.len() < 64;
                let known = self.open.insert(number, Incoming { node, file: keep.then_some(file), left });
                if known.is_some() {
                    return Err(unexpected());
                }
                if left > 0 {
                    return Ok(());
                }
                self.complete(number).inspect_err(|_| drop(self.give_up(number)))
            }
        }
    }

    /// Takes bytes of a file; only what nobody may say is an error.
    pub(super) fn add(&mut self, number: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.given_up.contains(&number) {
            return Ok(());
        }
        let incoming = self.open.get_mut(&number).ok_or_else(unexpected)?;
        let FoundKind::File(size) = incoming.node.kind else { return Err(unexpected()) };
        let count = bytes.len() as u64;
        if count > incoming.left || offset.checked_add(count).is_none_or(|end| end > size) {
            return Err(unexpected());
        }
        incoming.left -= count;
        let over = incoming.left == 0;
        let written = match &incoming.file {
            Some(file) => file.write_all_at(bytes, offset),
            None => OpenOptions::new()
                .write(true)
                .open(self.staging.join(number.to_string()))
                .and_then(|file| file.write_all_at(bytes, offset)),
        };
        let made = match written {
            Ok(()) if over => self.complete(number),
            made => made,
        };
        if let Err(error) = made
            && let Some(incoming) = self.give_up(number)
        {
            self.notes.add(&incoming.node.path, &error);
        }
        Ok(())
    }

    /// Throws away what has come of a file, and what is still to come.
    fn give_up(&mut self, number: u32) -> Option<Incoming> {
        self.given_up.insert(number);
        let _ = fs::remove_file(self.staging.join(number.to_string()));
        self.open.remove(&number)
    }

    /// Gives a file whose bytes are there its metadata, and its place.
    fn complete(&mut self, number: u32) -> io::Result<()> {
        let staged = self.staging.join(number.to_string());
        let Some(incoming) = self.open.get_mut(&number) else { return Err(unexpected()) };
        let file = match incoming.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).open(&staged)?,
        };
        let node = incoming.node.clone();
        dress(&file, &node)?;
        self.put(&staged, &node.path)?;
        self.open.remove(&number);
        Ok(())
    }

    fn staged(&self, number: u32) -> io::Result<PathBuf> {
        if !self.staging.is_dir() {
            fs::create_dir(&self.staging)?;
            fs::set_permissions(&self.staging, Permissions::from_mode(0o700))?;
        }
        Ok(self.staging.join(number.to_string()))
    }

    /// Renames what was staged into place.
    fn put(&mut self, staged: &Path, path: &OsStr) -> io::Result<()> {
        let place = self.root.join(path);
        if let Some(parent) = place.parent() {
            self.way(parent)?;
        }
        fs::rename(staged, &place)?;
        self.files += 1;
        Ok(())
    }

    /// Makes sure that a place is reached over directories only, and is one.
    fn way(&mut self, place: &Path) -> io::Result<()> {
        if place == self.root || self.ways.contains(place) {
            return Ok(());
        }
        if let Some(parent) = place.parent() {
            self.way(parent)?;
        }
        match fs::symlink_metadata(place) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(io::Error::other("something else than a directory stands here")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::create_dir(place) {
                // Another courier was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return self.way(place),
                made => made?,
            },
            Err(error) => return Err(error),
        }
        self.ways.insert(place.to_owned());
        Ok(())
    }

    /// Makes the hard links, and gives the directories their metadata; what was made, and what not.
    pub(super) fn finish(mut self) -> (u64, Notes) {
        for (number, link) in std::mem::take(&mut self.links).into_iter().enumerate() {
            if let Err(error) = self.link(number, &link) {
                self.notes.add(&link.path, &error);
            }
        }
        for incoming in std::mem::take(&mut self.open).into_values() {
            self.notes.add(&incoming.node.path, &"not all of it has come");
        }
        let _ = fs::remove_dir_all(&self.staging);
        // The deepest first: what happens in a directory sets its time.
        for node in std::mem::take(&mut self.directories).iter().rev() {
            let dressed =
                File::open(self.root.join(&node.path)).and_then(|directory| dress(&directory, node));
            if let Err(error) = dressed {
                self.notes.add(&node.path, &error);
            }
        }
        (self.files, std::mem::take(&mut self.notes))
    }

    fn link(&mut self, number: usize, link: &FoundNode) -> io::Result<()> {
        let FoundKind::HardLink(target) = &link.kind else { return Err(unexpected()) };
        let first = self.root.join(target);
        if let Some(parent) = first.parent() {
            self.way(parent)?;
        }
        self.staged(0)?;
        let staged = self.staging.join(format!("link-{number}"));
        fs::hard_link(first, &staged)?;
        // Where both names are one file already, a rename leaves the first.
        self.put(&staged, &link.path)
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.staging);
    }
}

/// Removes staging directories whose courier was killed long ago.
fn remove_abandoned(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let is_staging = entry.file_name().as_bytes().starts_with(STAGING.as_bytes());
        let is_old = || {
            let modified = entry.metadata().and_then(|found| found.modified());
            modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED))
        };
        if is_staging && is_old() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Owner, mode and times; the time of use is made old.
fn dress(file: &File, node: &FoundNode) -> io::Result<()> {
    fchown(file, Some(node.uid), Some(node.gid))?;
    file.set_permissions(Permissions::from_mode(node.mode))?;
    let modified = time(node.modified);
    file.set_times(FileTimes::new().set_accessed(modified).set_modified(modified))
}
