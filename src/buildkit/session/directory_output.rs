//! Writes a tree received from BuildKit below one directory.
//!
//! The engine is not trusted: cap-std resolves every path below the open directory, so neither `..` nor a link in the
//! tree leads out of it. Existing files that are not in the result must not be removed. The owner is the user who runs
//! larder; mode, times, links and extended attributes come from the result.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use bollard_buildkit_proto::fsutil::types::Stat;
use cap_fs_ext::{DirExt, OpenOptionsMaybeDirExt, SystemTimeSpec};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use rustix::fs::{FileType, Mode};

use crate::context::{mode_bits, set_xattrs};

pub(super) struct DirectoryOutput {
    root: Dir,
    pending: HashMap<u32, (PathBuf, Stat, Option<File>)>,
    /// Directories whose modes and times are set at the end, deepest first.
    directories: Vec<(PathBuf, Stat)>,
}

impl DirectoryOutput {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let root = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Self { root, pending: HashMap::new(), directories: Vec::new() })
    }

    /// Creates the entry. Returns `true` if its content must be requested.
    pub(super) fn add(&mut self, id: u32, stat: Stat) -> io::Result<bool> {
        let path = relative(&stat.path)?;
        let existing = self.root.symlink_metadata(&path).ok();
        let is_directory = stat.mode & mode_bits::DIRECTORY != 0;
        match existing {
            Some(metadata) if metadata.is_dir() && is_directory => {}
            Some(metadata) if metadata.is_dir() => self.root.remove_dir_all(&path)?,
            Some(_) => self.root.remove_file(&path)?,
            None => {}
        }
        if is_directory {
            if !self.root.is_dir(&path) {
                self.root.create_dir(&path)?;
            }
            self.directories.push((path, stat));
            return Ok(false);
        }
        if stat.mode & mode_bits::SYMLINK != 0 {
            self.root.symlink_contents(&stat.linkname, &path)?;
            let modified = cap_std::time::SystemTime::from_std(modified_time(&stat));
            self.root.set_symlink_times(&path, None, Some(SystemTimeSpec::Absolute(modified)))?;
            return Ok(false);
        }
        if !stat.linkname.is_empty() {
            self.root.hard_link(relative(&stat.linkname)?, &self.root, &path)?;
            return Ok(false);
        }
        if stat.mode & mode_bits::TYPE != 0 {
            self.make_node(&path, &stat)?;
            return Ok(false);
        }
        // Hard links to the file may arrive before its content.
        self.root.create(&path)?;
        self.pending.insert(id, (path, stat, None));
        Ok(true)
    }

    /// Writes a piece of a file; an empty one ends it. Returns `true` if the file is complete.
    pub(super) fn write(&mut self, id: u32, data: &[u8]) -> io::Result<bool> {
        let unknown = || io::Error::other("the engine sent a file that was not requested");
        let (path, _, file) = self.pending.get_mut(&id).ok_or_else(unknown)?;
        let file = match file {
            Some(file) => file,
            None => file.insert(self.root.open_with(path, OpenOptions::new().write(true))?.into_std()),
        };
        if !data.is_empty() {
            file.write_all(data)?;
            return Ok(false);
        }
        let Some((_, stat, Some(file))) = self.pending.remove(&id) else { return Err(unknown()) };
        set_metadata(&file, &stat)?;
        Ok(true)
    }

    /// Sets the modes and times of directories after all entries were written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let mut readable = OpenOptions::new();
        readable.read(true).maybe_dir(true);
        for (path, stat) in std::mem::take(&mut self.directories).into_iter().rev() {
            set_metadata(&self.root.open_with(&path, &readable)?.into_std(), &stat)?;
        }
        Ok(())
    }

    fn make_node(&self, path: &Path, stat: &Stat) -> io::Result<()> {
        let kind = match stat.mode & mode_bits::TYPE {
            mode_bits::NAMED_PIPE => FileType::Fifo,
            mode if mode & mode_bits::CHAR_DEVICE != 0 => FileType::CharacterDevice,
            mode if mode & mode_bits::DEVICE != 0 => FileType::BlockDevice,
            _ => return Err(io::Error::other(format!("{} has an unknown file type", stat.path))),
        };
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.root.open_dir(parent)?,
            _ => self.root.try_clone()?,
        };
        let number = |number: i64| u32::try_from(number).map_err(io::Error::other);
        let device = rustix::fs::makedev(number(stat.devmajor)?, number(stat.devminor)?);
        let mode = Mode::from_raw_mode(stat.mode & 0o777);
        Ok(rustix::fs::mknodat(parent.as_fd(), name, kind, mode, device)?)
    }
}

/// Validates a path: no root, no `..`, not empty.
fn relative(path: &str) -> io::Result<PathBuf> {
    let path = PathBuf::from(path);
    let below = path.components().all(|component| matches!(component, Component::Normal(_)));
    if below && !path.as_os_str().is_empty() {
        return Ok(path);
    }
    let path = path.display();
    let message = format!("the engine sent the path {path}, which is outside the output directory");
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

fn set_metadata(file: &File, stat: &Stat) -> io::Result<()> {
    set_xattrs(file, &stat.xattrs)?;
    file.set_permissions(Permissions::from_mode(mode_bits::to_unix_permissions(stat.mode)))?;
    file.set_modified(modified_time(stat))
}

fn modified_time(stat: &Stat) -> SystemTime {
    let offset = Duration::from_nanos(stat.mod_time.unsigned_abs());
    let moved = if stat.mod_time < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(offset)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(offset)
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(path: &str, mode: u32, linkname: &str) -> Stat {
        Stat {
            path: path.into(),
            mode,
            linkname: linkname.into(),
            mod_time: 1_000_000_007,
            ..Stat::default()
        }
    }

    #[test]
    fn nothing_is_written_outside_the_directory_whatever_the_engine_sends() {
        let outside = tempfile::tempdir().unwrap();
        let inside = outside.path().join("out");
        let mut output = DirectoryOutput::open(&inside).unwrap();
        for path in ["../evil", "/evil", "a/../../evil", "", "."] {
            assert!(output.add(0, stat(path, 0o644, "")).is_err(), "{path}");
        }
        let link = stat("link", mode_bits::SYMLINK | 0o777, &outside.path().to_string_lossy());
        assert!(!output.add(1, link).unwrap());
        assert!(output.add(2, stat("link/evil", 0o644, "")).is_err());
        assert!(output.add(3, stat("hard", 0o644, "../out/link")).is_err());
        assert!(!outside.path().join("evil").exists());
    }

    #[test]
    fn modes_times_and_links_are_restored_and_other_files_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("stranger"), "mine").unwrap();
        std::fs::write(directory.path().join("d"), "was a file").unwrap();
        let mut output = DirectoryOutput::open(directory.path()).unwrap();
        assert!(!output.add(0, stat("d", mode_bits::DIRECTORY | 0o750, "")).unwrap());
        assert!(output.add(1, stat("d/run", 0o755, "")).unwrap());
        assert!(!output.add(2, stat("d/same", 0o755, "d/run")).unwrap());
        assert!(!output.write(1, b"#!").unwrap());
        assert!(output.write(1, b"").unwrap());
        assert!(!output.add(3, stat("l", mode_bits::SYMLINK | 0o777, "d/run")).unwrap());
        output.finish().unwrap();
        let at = |path: &str| directory.path().join(path);
        assert_eq!(std::fs::read(at("l")).unwrap(), b"#!");
        assert_eq!(std::fs::read(at("stranger")).unwrap(), b"mine");
        let expected = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_000_007);
        for (path, mode) in [("d", 0o750), ("d/same", 0o755)] {
            let metadata = std::fs::metadata(at(path)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
            assert_eq!(metadata.modified().unwrap(), expected, "{path}");
        }
    }
}
