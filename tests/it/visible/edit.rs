//! Trees of files, and edits of them between two builds.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use Edit::{Alias, Attribute, Dockerfile, Mode, Move, Overwrite, Plant, Remove, Replace, Touch};

/// An edit between two builds. Paths are relative to the directory of the case.
#[derive(Clone, Copy)]
pub(super) enum Edit {
    /// Changes the content of a file in place.
    Overwrite(&'static str),
    /// Sets the mode of a file or directory.
    Mode(&'static str, u32),
    /// Changes the modification time of a file.
    Touch(&'static str),
    /// Removes an entry.
    Remove(&'static str),
    /// Renames an entry.
    Move(&'static str, &'static str),
    /// Creates entries, in the notation of [`plant`].
    Plant(&'static str),
    /// Removes an entry and creates entries.
    Replace(&'static str, &'static str),
    /// Makes the second path a hard link to the first.
    Alias(&'static str, &'static str),
    /// Sets an extended attribute of a file.
    Attribute(&'static str, &'static str),
    /// Replaces text in the step of the case.
    Dockerfile(&'static str, &'static str),
}

/// Creates an entry for each line: `file`, `file = content`, `directory/`, or `link -> target`.
pub(super) fn create_entries(root: &Path, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, target) = match line.split_once(" -> ") {
            Some((name, target)) => (name, Some(target)),
            None => (line, None),
        };
        let (name, text) = name.split_once(" = ").unwrap_or((name, name));
        let path = root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(&path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Some(target) = target {
            symlink(target, &path).unwrap();
        } else {
            fs::write(&path, content(&path, text)).unwrap();
            set_mode(&path, 0o644);
        }
    }
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Returns the content of a file: an archive if the name ends in `.tar`.
fn content(path: &Path, text: &str) -> Vec<u8> {
    if path.extension().is_none_or(|extension| extension != "tar") {
        return text.as_bytes().to_vec();
    }
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "inside", text.as_bytes()).unwrap();
    archive.into_inner().unwrap()
}

impl Edit {
    /// Applies the edit for the case in this directory of the project.
    pub(super) fn apply(self, project: &Path, directory: &str) {
        let at = |name: &str| project.join(directory).join(name);
        let remove = |path: &Path| {
            if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
        };
        match self {
            Overwrite(name) => fs::write(at(name), content(&at(name), "something else")).unwrap(),
            Mode(name, mode) => set_mode(&at(name), mode),
            Touch(name) => {
                filetime::set_file_mtime(at(name), filetime::FileTime::from_unix_time(1_000_000_000, 7))
                    .unwrap();
            }
            Remove(name) => remove(&at(name)).unwrap(),
            Move(from, to) => fs::rename(at(from), at(to)).unwrap(),
            Plant(lines) => create_entries(&project.join(directory), lines),
            Replace(name, lines) => {
                remove(&at(name)).unwrap();
                create_entries(&project.join(directory), lines);
            }
            Alias(first, second) => {
                fs::remove_file(at(second)).unwrap();
                fs::hard_link(at(first), at(second)).unwrap();
            }
            Attribute(name, value) => xattr::set(at(name), "user.larder", value.as_bytes()).unwrap(),
            Dockerfile(from, to) => {
                let path = project.join("Dockerfile");
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.lines().map(|line| {
                    if line.contains(&format!(" {directory}/")) {
                        line.replace(from, to)
                    } else {
                        line.to_owned()
                    }
                });
                let lines: Vec<String> = lines.collect();
                fs::write(path, lines.join("\n") + "\n").unwrap();
            }
        }
    }
}
