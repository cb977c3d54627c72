//! Walks a build context in the order and with the entries of `fsutil`'s sender. Does not read the content of files.
//!
//! The names of a directory come in byte order, depth first. A directory that is not wanted itself comes right before
//! the first wanted entry in it. The walk holds in memory the names of one directory for each level, and the hard links
//! found so far.
//!
//! A file that is removed between being listed and being read is left out. A file that cannot be read is an error if it
//! is wanted. [`ContextWalk::continue_after_errors`] collects such errors for a caller that decides later which files are wanted.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::vec;

use super::error::{ContextError, if_present, is_absent};
use super::filter::{CompiledFilter, Filter, FilterState};
use super::lexical::decode_lossy;
use super::tree::{Shape, join};

/// An entry of a context that the build can see.
#[derive(Debug, Clone)]
pub struct ContextEntry {
    /// The path below the context, separated by slashes.
    pub path: String,
    pub(crate) absolute: PathBuf,
    /// The metadata at the time of the walk; for a link, those of the link itself.
    pub metadata: Metadata,
    /// The kind, with the data that only this kind has.
    pub kind: ContextEntryKind,
}

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextEntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with its target as written.
    Symlink(String),
    /// An additional name of a file or special file, with the path under which the file came earlier.
    HardLink(String),
    /// A named pipe.
    Fifo,
    /// A socket, which an engine treats as an empty file.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl ContextEntry {
    /// Returns the path, and the kind as far as it matters for resolving paths.
    pub(crate) fn shape(&self) -> (&str, Shape<'_>) {
        let shape = match &self.kind {
            ContextEntryKind::Directory => Shape::Directory,
            ContextEntryKind::Symlink(target) => Shape::Link(target),
            _ => Shape::Other,
        };
        (&self.path, shape)
    }

    /// Returns the size to send to an engine, in bytes: that of the file, also for a hard link; 0 for a directory.
    pub(crate) fn size(&self) -> u64 {
        if self.metadata.is_dir() { 0 } else { self.metadata.len() }
    }
}

/// An iterator over the entries of a context, which ends at the first error.
#[derive(Debug)]
pub struct ContextWalk {
    selection: CompiledFilter,
    /// The directories from the root of the context to the one being listed.
    levels: Vec<ListedDirectory>,
    ready: VecDeque<Result<ContextEntry, ContextError>>,
    /// The first path of each inode that has several names.
    linked: HashMap<(u64, u64), String>,
    withheld: Vec<String>,
    /// The paths that could not be read, if the walk continues after errors.
    unread: Option<Vec<UnreadPath>>,
}

#[derive(Debug)]
pub(super) struct UnreadPath {
    /// The path below the context, with U+FFFD for each invalid byte.
    pub(super) path: String,
    pub(super) is_directory: bool,
    /// `None` if the filter withholds the path.
    pub(super) error: Option<ContextError>,
}

#[derive(Debug)]
struct ListedDirectory {
    place: EntryPath,
    /// `true` if the directory has been returned. Also `true` for the root, which is never returned.
    is_announced: bool,
    state: FilterState,
    names: vec::IntoIter<(OsString, FileType)>,
}

#[derive(Debug, Clone)]
struct EntryPath {
    /// The path below the context, empty for the root, with U+FFFD for invalid bytes.
    path: String,
    absolute: PathBuf,
    /// `true` if no bytes were replaced in `path`.
    is_exact: bool,
}

/// Walks the entries of the directory `root` that `filter` selects.
///
/// # Errors
///
/// Fails if `root` is not a directory, if a pattern is malformed, or if a followed link cannot be read. The iterator
/// fails if a wanted entry cannot be read or if its name or target is not UTF-8.
pub fn walk(root: &Path, filter: &Filter) -> Result<ContextWalk, ContextError> {
    let failed = |source| ContextError::Root { path: root.to_owned(), source };
    let absolute = fs::canonicalize(root).map_err(failed)?;
    if !absolute.is_dir() {
        return Err(ContextError::NotADirectory { path: root.to_owned() });
    }
    let selection = CompiledFilter::new(&absolute, filter)?;
    let names = list(&absolute).map_err(failed)?;
    let place = EntryPath { path: String::new(), absolute, is_exact: true };
    let top = ListedDirectory { place, is_announced: true, state: FilterState::default(), names };
    let withheld = filter.withheld.clone();
    let (ready, linked) = (VecDeque::new(), HashMap::new());
    Ok(ContextWalk { selection, levels: vec![top], ready, linked, withheld, unread: None })
}

impl Iterator for ContextWalk {
    type Item = Result<ContextEntry, ContextError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                if found.is_err() {
                    self.levels.clear();
                    self.ready.clear();
                }
                return Some(found);
            }
            let level = self.levels.last_mut()?;
            let Some((name, file_type)) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let place = level.place.child(&name);
            let path = place.path.clone();
            if let Err(error) = self.visit(place, file_type) {
                let is_directory = file_type.is_dir();
                match &mut self.unread {
                    Some(unread) => unread.push(UnreadPath { path, is_directory, error: Some(error) }),
                    None => self.ready.push_back(Err(error)),
                }
            }
        }
    }
}

impl ContextWalk {
    pub(super) fn continue_after_errors(self) -> Self {
        Self { unread: Some(Vec::new()), ..self }
    }

    pub(super) fn unread(&mut self) -> Vec<UnreadPath> {
        self.unread.take().unwrap_or_default()
    }

    fn visit(&mut self, place: EntryPath, file_type: FileType) -> Result<(), ContextError> {
        // `next` only calls this with names of the last level.
        let Some(parent) = self.levels.last() else { return Ok(()) };
        let is_directory = file_type.is_dir();
        let judged = if is_directory {
            self.selection.judge_directory(&place.path, &parent.state)
        } else {
            self.selection.wants(&place.path, &parent.state).then(|| (true, FilterState::default()))
        };
        let Some((wanted, state)) = judged else { return Ok(()) };
        if self.withheld.contains(&place.path) {
            if let Some(unread) = &mut self.unread {
                unread.push(UnreadPath { path: place.path, is_directory, error: None });
            }
            Ok(())
        } else if is_directory {
            self.enter(place, wanted, state)
        } else {
            self.announce(&place).map(drop)
        }
    }

    fn enter(&mut self, place: EntryPath, wanted: bool, state: FilterState) -> Result<(), ContextError> {
        if wanted && !self.announce(&place)? {
            return Ok(());
        }
        match list(&place.absolute) {
            Ok(names) => {
                self.levels.push(ListedDirectory { place, is_announced: wanted, state, names });
                Ok(())
            }
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) if !wanted && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(ContextError::unreadable(&place.absolute, error)),
        }
    }

    /// Queues an entry, after those of its parents that have not been queued yet. Returns `false` if one of them no
    /// longer exists.
    fn announce(&mut self, place: &EntryPath) -> Result<bool, ContextError> {
        let waiting: Vec<EntryPath> =
            self.levels.iter().filter(|level| !level.is_announced).map(|level| level.place.clone()).collect();
        let mut found = Vec::with_capacity(waiting.len() + 1);
        for place in waiting.iter().chain([place]) {
            let Some(entry) = self.entry(place)? else { return Ok(false) };
            found.push(Ok(entry));
        }
        self.ready.extend(found);
        self.levels.iter_mut().for_each(|level| level.is_announced = true);
        Ok(true)
    }

    /// Reads the metadata of an entry. Returns `None` if it no longer exists.
    fn entry(&mut self, place: &EntryPath) -> Result<Option<ContextEntry>, ContextError> {
        let failed = |error| ContextError::unreadable(&place.absolute, error);
        let metadata = if_present(fs::symlink_metadata(&place.absolute)).map_err(failed)?;
        let Some(metadata) = metadata else { return Ok(None) };
        let not_utf8 = |what| ContextError::NotUtf8 { what, path: place.path.clone() };
        if !place.is_exact {
            return Err(not_utf8("the name"));
        }
        let kind = if metadata.is_symlink() {
            let target = if_present(fs::read_link(&place.absolute)).map_err(failed)?;
            let Some(target) = target else { return Ok(None) };
            let target = target.into_os_string().into_string();
            ContextEntryKind::Symlink(target.map_err(|_| not_utf8("the link target"))?)
        } else if let Some(first) = self.first_name(&place.path, &metadata) {
            ContextEntryKind::HardLink(first)
        } else {
            ContextEntryKind::of(&metadata)
        };
        let (path, absolute) = (place.path.clone(), place.absolute.clone());
        Ok(Some(ContextEntry { path, absolute, metadata, kind }))
    }

    /// Returns the path under which the same file came earlier, if it did.
    fn first_name(&mut self, path: &str, metadata: &Metadata) -> Option<String> {
        if metadata.is_dir() || metadata.nlink() < 2 {
            return None;
        }
        let inode = (metadata.dev(), metadata.ino());
        let first = self.linked.get(&inode).cloned();
        if first.is_none() {
            self.linked.insert(inode, path.to_owned());
        }
        first
    }
}

impl ContextEntryKind {
    /// Returns the kind of any file except a link.
    pub(super) fn of(metadata: &Metadata) -> Self {
        let file_type = metadata.file_type();
        if file_type.is_dir() {
            Self::Directory
        } else if file_type.is_fifo() {
            Self::Fifo
        } else if file_type.is_socket() {
            Self::Socket
        } else if file_type.is_char_device() {
            Self::CharDevice
        } else if file_type.is_block_device() {
            Self::BlockDevice
        } else {
            Self::File
        }
    }
}

impl EntryPath {
    fn child(&self, name: &OsString) -> Self {
        let spelled = decode_lossy(name.as_bytes());
        let exact = self.is_exact && spelled.as_bytes() == name.as_bytes();
        Self { path: join(&self.path, &spelled), absolute: self.absolute.join(name), is_exact: exact }
    }
}

/// Returns the names in a directory with their types, in byte order.
fn list(directory: &Path) -> io::Result<vec::IntoIter<(OsString, FileType)>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        names.extend(if_present(entry.file_type())?.map(|file_type| (entry.file_name(), file_type)));
    }
    names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(names.into_iter())
}
