//! What the courier does in a mount: lists it, reads its files, and makes what is missing.
//!
//! ```text
//!  <mount>/.larder-restore-<random>/<number>   a file whose bytes are still coming; then it is renamed into place
//! ```
//!
//! Nothing that stands in the mount is deleted, no link in it is followed, and
//! no file is seen half. A path whose way leads over anything but directories
//! is not made.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::protocol::{
    self, FoundKind, FoundNode, Message, Moment, Notes, Owner, PIECE, ReadOutcome, VERSION, send,
    send_content, size_of,
};

/// How the names of directories begin in which files are staged; they are in no list.
pub const STAGING: &str = ".larder-restore-";
/// After this long nobody is still filling a staging directory.
const ABANDONED: Duration = Duration::from_hours(6);
/// Bytes of nodes that go into one frame.
const NODES: usize = 64 << 10;
/// Messages that wait to be acted upon.
const WAITING: usize = 16;
/// Nodes that are listed, at most.
const MOST_NODES: usize = 10_000_000;

/// Serves one mount until the other side says goodbye or is gone.
///
/// # Errors
///
/// Fails when the connection does, and when the other side says what it may not.
pub fn serve(number: u32, root: &Path, from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    send(to, &Message::Hello { version: VERSION, mount: number })?;
    to.flush()?;
    thread::scope(|scope| {
        let mut listed = Vec::new();
        let mut making: Option<Maker<'_>> = None;
        loop {
            let Some(message) = protocol::receive(from)? else { return Ok(()) };
            match message {
                Message::List => {
                    let (mut walk, notes_uses) = (Walk::new(root), notes_uses(root));
                    walk.enter(root, OsStr::new(""));
                    listed = walk.found;
                    send_nodes(to, &listed)?;
                    let (root, notes) = (owner(root)?, walk.notes);
                    send(to, &Message::Listed { nodes: listed.len() as u64, notes_uses, root, notes })?;
                    to.flush()?;
                }
                Message::Read(numbers) => {
                    for number in numbers {
                        let node = listed.get(number as usize).ok_or_else(unexpected)?;
                        let outcome = read(root, node, to)?;
                        send(to, &Message::Done(outcome))?;
                    }
                    to.flush()?;
                }
                Message::Make { .. } | Message::Piece { .. } => {
                    making.get_or_insert_with(|| Maker::start(scope, root)).take(message)?;
                }
                Message::Finish => {
                    let (files, notes) = making.take().map(Maker::finish).transpose()?.unwrap_or_default();
                    send(to, &Message::Made { files, notes })?;
                    to.flush()?;
                }
                Message::Bye => return Ok(()),
                _ => return Err(unexpected()),
            }
        }
    })
}

/// A thread that makes what is asked for, so that the next bytes are received meanwhile.
struct Maker<'scope> {
    messages: SyncSender<Message>,
    thread: ScopedJoinHandle<'scope, io::Result<(u64, Notes)>>,
}

impl<'scope> Maker<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, root: &'env Path) -> Self {
        let (messages, received) = sync_channel(WAITING);
        let thread = scope.spawn(move || {
            let mut making = Making::new(root);
            for message in received {
                match message {
                    Message::Make { number, node } => {
                        let path = node.path.clone();
                        if let Err(error) = making.begin(number, node) {
                            making.notes.add(&path, &error);
                        }
                    }
                    Message::Piece { number, offset, bytes } => making.add(number, offset, &bytes)?,
                    _ => return Err(unexpected()),
                }
            }
            Ok(making.finish())
        });
        Self { messages, thread }
    }

    fn take(&self, message: Message) -> io::Result<()> {
        // It has ended early only where it was told what it may not be.
        self.messages.send(message).map_err(|_| unexpected())
    }

    /// Waits until all is made; what was made, and what not.
    fn finish(self) -> io::Result<(u64, Notes)> {
        drop(self.messages);
        self.thread.join().unwrap_or_else(|_| Err(unexpected()))
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other side said what it may not")
}

fn send_nodes(to: &mut impl Write, nodes: &[FoundNode]) -> io::Result<()> {
    let mut frame = Vec::new();
    let mut size = 0;
    for node in nodes {
        frame.push(node.clone());
        size += size_of(node);
        if size > NODES {
            send(to, &Message::Nodes(std::mem::take(&mut frame)))?;
            size = 0;
        }
    }
    if frame.is_empty() { Ok(()) } else { send(to, &Message::Nodes(frame)) }
}

/// A list that is being made.
struct Walk<'a> {
    root: &'a Path,
    found: Vec<FoundNode>,
    notes: Notes,
    /// The first path of each file with several names.
    linked: HashMap<(u64, u64), OsString>,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, found: Vec::new(), notes: Notes::default(), linked: HashMap::new() }
    }

    fn enter(&mut self, directory: &Path, path: &OsStr) {
        let names = fs::read_dir(directory)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>());
        let mut names = match names {
            Ok(names) => names,
            Err(error) => return self.notes.add(path, &error),
        };
        names.sort_unstable();
        for name in names {
            if path.is_empty() && name.as_bytes().starts_with(STAGING.as_bytes()) {
                continue;
            }
            let mut below = path.to_owned();
            if !path.is_empty() {
                below.push("/");
            }
            below.push(&name);
            match self.add(&below) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.notes.add(&below, &error),
                Ok(()) => {}
            }
        }
    }

    fn add(&mut self, path: &OsStr) -> io::Result<()> {
        let place = self.root.join(path);
        let metadata = fs::symlink_metadata(&place)?;
        if path.len() > protocol::LONGEST_PATH || self.found.len() == MOST_NODES {
            return Err(io::Error::other("it is beyond what is listed"));
        }
        let kind = if metadata.is_dir() {
            FoundKind::Directory
        } else if metadata.is_symlink() {
            FoundKind::Symlink(fs::read_link(&place)?.into_os_string())
        } else if metadata.is_file() {
            self.file(path, &place, &metadata)?
        } else {
            // A socket, a pipe or a device is of no use to another builder.
            return Ok(());
        };
        let is_directory = kind == FoundKind::Directory;
        self.found.push(node(path, kind, &metadata));
        if is_directory {
            self.enter(&place, path);
        }
        Ok(())
    }

    fn file(&mut self, path: &OsStr, place: &Path, metadata: &Metadata) -> io::Result<FoundKind> {
        if metadata.nlink() > 1 {
            let inode = (metadata.dev(), metadata.ino());
            if let Some(first) = self.linked.get(&inode) {
                return Ok(FoundKind::HardLink(first.clone()));
            }
            self.linked.insert(inode, path.to_owned());
        }
        if accessed(metadata) != modified(metadata) {
            forget_use(&open(place, metadata)?, modified(metadata))?;
        }
        Ok(FoundKind::File(metadata.len()))
    }
}

fn owner(root: &Path) -> io::Result<Owner> {
    let found = fs::symlink_metadata(root)?;
    Ok(Owner { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777 })
}

fn node(path: &OsStr, kind: FoundKind, metadata: &Metadata) -> FoundNode {
    FoundNode {
        kind,
        path: path.to_owned(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified: modified(metadata),
        used: accessed(metadata),
    }
}

fn modified(metadata: &Metadata) -> Moment {
    moment(metadata.mtime(), metadata.mtime_nsec())
}

fn accessed(metadata: &Metadata) -> Moment {
    moment(metadata.atime(), metadata.atime_nsec())
}

fn moment(seconds: i64, nanoseconds: i64) -> Moment {
    Moment { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or_default() }
}

/// As the clock tells it; what is beyond its reach is its beginning.
fn time(moment: Moment) -> SystemTime {
    let fraction = Duration::from_nanos(u64::from(moment.nanoseconds));
    let whole = Duration::from_secs(moment.seconds.unsigned_abs());
    let seconds =
        if moment.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    seconds.and_then(|seconds| seconds.checked_add(fraction)).unwrap_or(UNIX_EPOCH)
}

/// Opens the file that was looked at; something else in its place is an error.
fn open(place: &Path, expected: &Metadata) -> io::Result<File> {
    let file = File::open(place)?;
    let found = file.metadata()?;
    if (found.dev(), found.ino()) == (expected.dev(), expected.ino()) {
        return Ok(file);
    }
    Err(io::Error::other("it changed meanwhile"))
}

/// Whether reading a file changes its time of use.
fn notes_uses(root: &Path) -> bool {
    let path = root.join(format!("{STAGING}probe-{}", unique()));
    let try_it = || -> io::Result<bool> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(b"x")?;
        let old = UNIX_EPOCH + Duration::from_secs(1);
        file.set_times(FileTimes::new().set_accessed(old).set_modified(old))?;
        File::open(&path)?.read_exact(&mut [0])?;
        Ok(fs::symlink_metadata(&path)?.atime() != 1)
    };
    let noted = try_it().unwrap_or(false);
    let _ = fs::remove_file(&path);
    noted
}

/// A name that no other courier has taken.
fn unique() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}

/// Sends the bytes of a file that was listed.
fn read(root: &Path, node: &FoundNode, to: &mut impl Write) -> io::Result<ReadOutcome> {
    let FoundKind::File(size) = node.kind else { return Err(unexpected()) };
    let place = root.join(&node.path);
    let opened = fs::symlink_metadata(&place).and_then(|found| Ok((open(&place, &found)?, found)));
    let (mut file, found) = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ReadOutcome::Changed),
        Err(_) => return Ok(ReadOutcome::Unreadable),
    };
    let is_same =
        |found: &Metadata| found.is_file() && found.len() == size && modified(found) == node.modified;
    if !is_same(&found) {
        return Ok(ReadOutcome::Changed);
    }
    let mut left = size;
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(PIECE).min(PIECE)];
    while left > 0 {
        let bytes = &mut buffer[..usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
        match file.read_exact(bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(ReadOutcome::Changed),
            Err(_) => return Ok(ReadOutcome::Unreadable),
        }
        left -= bytes.len() as u64;
        send_content(to, bytes)?;
    }
    let is_whole = is_same(&file.metadata()?);
    // It was not the build that read it just now. Where that cannot be undone it counts as used once more.
    let _ = forget_use(&file, node.modified);
    Ok(if is_whole { ReadOutcome::Whole } else { ReadOutcome::Changed })
}

/// Makes a file look as if nobody had read it since it was written.
fn forget_use(file: &File, modified: Moment) -> io::Result<()> {
    file.set_times(FileTimes::new().set_accessed(time(modified)))
}

/// What is being made.
struct Making<'a> {
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
    notes: Notes,
}

struct Incoming {
    node: FoundNode,
    file: Option<File>,
    left: u64,
}

impl<'a> Making<'a> {
    fn new(root: &'a Path) -> Self {
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

    fn begin(&mut self, number: u32, node: FoundNode) -> io::Result<()> {
        match &node.kind {
            FoundKind::Directory => {
                let place = self.root.join(&node.path);
                match self.way(&place) {
                    Ok(()) => {
                        self.directories.push(node);
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
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
                if left == 0 { self.complete(number) } else { Ok(()) }
            }
        }
    }

    /// Takes bytes of a file; only what nobody may say is an error.
    fn add(&mut self, number: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
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
            && let Some(incoming) = self.open.remove(&number)
        {
            self.notes.add(&incoming.node.path, &error);
            self.given_up.insert(number);
            let _ = fs::remove_file(self.staging.join(number.to_string()));
        }
        Ok(())
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
    fn finish(mut self) -> (u64, Notes) {
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
