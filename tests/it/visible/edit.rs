//! Trees of files, and what happens to them between two builds.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use Edit::{Alias, Attribute, Dockerfile, Mode, Move, Overwrite, Plant, Remove, Replace, Touch};

/// What happens between two builds. Paths are seen from the case's directory.
#[derive(Clone, Copy)]
pub(super) enum Edit {
    /// The file gets another content, and stays the same file.
    Overwrite(&'static str),
    /// The file or directory gets this mode.
    Mode(&'static str, u32),
    /// The file gets another time.
    Touch(&'static str),
    /// It goes away.
    Remove(&'static str),
    /// It gets another name.
    Move(&'static str, &'static str),
    /// These entries are new.
    Plant(&'static str),
    /// It goes away, and these entries are new.
    Replace(&'static str, &'static str),
    /// The second becomes another name of the first.
    Alias(&'static str, &'static str),
    /// The file gets this value of an extended attribute.
    Attribute(&'static str, &'static str),
    /// The case's step gets other words.
    Dockerfile(&'static str, &'static str),
}

/// Makes what the lines say: a file, `file = content`, `directory/`, or `link -> target`.
pub(super) fn plant(root: &Path, lines: &str) {
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

/// What a file holds: an archive where its name says so.
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
    /// Makes it, for the case that has this directory of the project.
    pub(super) fn make(self, project: &Path, directory: &str) {
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
            Plant(lines) => plant(&project.join(directory), lines),
            Replace(name, lines) => {
                remove(&at(name)).unwrap();
                plant(&project.join(directory), lines);
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
