//! The files that a directory's key is made of.
//!
//! A pattern's `*`, `?` and `[…]` match within a name, `**` any directories.
//! As in a shell, none of them matches a name that begins with a dot; and what
//! is in the directory that is kept is no part of its own key.
//!
//! A file that is not there yet, as a lock file that the build makes, is no
//! mistake: then there is no key, and the names are reported.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::context::{clean_path, glob};
use crate::dockerfile::nearest;
use crate::error_chain::chain;
use crate::key::DirectoryInputs;
use crate::requirements::{FileUse, Format, Found, View, is_requirements_name};

/// A name that cannot be that of a key file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// A directory has that name.
    #[error("--key-files: {0} is a directory")]
    Directory(String),
    /// The pattern's syntax is wrong.
    #[error("--key-files: `{0}` is no pattern: it has an unclosed class or ends in a backslash")]
    Pattern(String),
}

/// A name or pattern without a file that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// As typed, or the path of the file.
    pub(super) name: String,
    /// Why a file that is there cannot be read.
    reason: Option<String>,
    /// A file beside it with a similar name.
    similar: Option<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, reason, similar } = self;
        match reason {
            Some(reason) => write!(f, "{name} cannot be read: {reason}"),
            None if glob::has_wildcards(name) => write!(f, "no file matches {name}"),
            None => write!(f, "{name} does not exist"),
        }?;
        similar.as_ref().map_or(Ok(()), |similar| write!(f, " ({similar} does)"))
    }
}

/// Reads the files that `names` and patterns match, with what requirement files among them include. Also returns the names
/// that match nothing.
pub(super) fn read(
    names: &[String],
    kept: &Path,
    inputs: &mut DirectoryInputs,
) -> Result<Vec<Missing>, KeyFileError> {
    let (files, mut missing) = expand(names, kept)?;
    for path in files {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) => {
                missing.push(Missing { name: path, reason: Some(chain(&error)), similar: None });
                continue;
            }
        };
        if is_requirements_name(name) {
            inputs.requirements.add(&[FileUse::requirements(path)], &WorkingDirectory);
        } else {
            // Files of other names may be lists of requirements, too: then what they include counts, and every byte of them.
            let extension = Path::new(&path).extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("txt" | "in")) {
                inputs.requirements.add(&[FileUse::requirements(path.clone())], &WorkingDirectory);
            }
            inputs.files.insert(path, content);
        }
    }
    Ok(missing)
}

/// The working directory, as the commands see it that read requirement files.
struct WorkingDirectory;

impl View for WorkingDirectory {
    fn find(&self, path: &str, _: Option<&str>, _: Format) -> Vec<Found> {
        let path = clean_path(path);
        // What cannot be read counts as missing.
        let content = Path::new(&path).is_file().then(|| std::fs::read(&path).ok()).flatten();
        content.into_iter().map(|content| Found { path: path.clone(), seen: path.clone(), content }).collect()
    }
}

/// Returns the files, sorted, each once, and the names that match nothing.
fn expand(names: &[String], kept: &Path) -> Result<(BTreeSet<String>, Vec<Missing>), KeyFileError> {
    let kept = clean_path(&kept.to_string_lossy());
    let mut files = BTreeSet::new();
    let mut missing = Vec::new();
    for name in names {
        let path = clean_path(name);
        if Path::new(&path).exists() || !glob::has_wildcards(name) {
            if Path::new(&path).is_dir() {
                return Err(KeyFileError::Directory(name.clone()));
            }
            match std::fs::metadata(&path) {
                Ok(found) if found.is_file() => _ = files.insert(path),
                Ok(_) => {
                    let reason = Some("it is not a regular file".to_owned());
                    missing.push(Missing { name: path, reason, similar: None });
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    let similar = similar(&path);
                    missing.push(Missing { name: name.clone(), reason: None, similar });
                }
                Err(error) => {
                    missing.push(Missing { name: path, reason: Some(chain(&error)), similar: None });
                }
            }
            continue;
        }
        let (root, relative) = match path.strip_prefix('/') {
            Some(relative) => ("/", relative),
            None => ("", path.as_str()),
        };
        let parts: Vec<&str> = relative.split('/').collect();
        let mut found = BTreeSet::new();
        matching(Path::new(root), &parts, &kept, &mut found)
            .map_err(|_| KeyFileError::Pattern(name.clone()))?;
        if found.is_empty() {
            missing.push(Missing { name: name.clone(), reason: None, similar: None });
        }
        files.extend(found);
    }
    Ok((files, missing))
}

/// Returns a file beside `path` with a similar name.
fn similar(path: &str) -> Option<String> {
    let path = Path::new(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = std::fs::read_dir(directory.unwrap_or(Path::new("."))).ok()?.flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let nearest = nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(directory.unwrap_or(Path::new("")).join(nearest).to_string_lossy().into_owned())
}

/// Adds the files below `directory` that match the parts of a pattern.
fn matching(
    directory: &Path,
    parts: &[&str],
    kept: &str,
    found: &mut BTreeSet<String>,
) -> Result<(), glob::BadPattern> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if *part == "**" && !rest.is_empty() {
        matching(directory, rest, kept, found)?;
    } else if !glob::has_wildcards(part) {
        return visit(&directory.join(part), rest, kept, found);
    }
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // What cannot be listed holds no key files.
    for entry in std::fs::read_dir(listed).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") && !part.starts_with('.') {
            continue;
        }
        let path: PathBuf = directory.join(&name);
        if *part == "**" {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && path.to_string_lossy() != *kept {
                matching(&path, parts, kept, found)?;
            } else if rest.is_empty() {
                visit(&path, rest, kept, found)?;
            }
        } else if glob::matches(part, bytes)? {
            visit(&path, rest, kept, found)?;
        }
    }
    Ok(())
}

fn visit(
    path: &Path,
    rest: &[&str],
    kept: &str,
    found: &mut BTreeSet<String>,
) -> Result<(), glob::BadPattern> {
    if !rest.is_empty() {
        return if path.to_string_lossy() == *kept { Ok(()) } else { matching(path, rest, kept, found) };
    }
    if path.is_file()
        && let Some(path) = path.to_str()
    {
        found.insert(path.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns_stand_for_files_and_never_for_what_is_kept() {
        let base = tempfile::tempdir().unwrap();
        for path in [
            "requirements.txt",
            "a/requirements.txt",
            "a/b/requirements.txt",
            "a/b/poetry.lock",
            ".venv/requirements.txt",
            "kept/requirements.txt",
        ] {
            let path = base.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let root = base.path().to_str().unwrap();
        let expanded = |pattern: &str| {
            let kept = base.path().join("kept");
            let found = expand(&[format!("{root}/{pattern}")], &kept);
            found.map(|(found, missing)| {
                assert_eq!(found.is_empty(), !missing.is_empty(), "{pattern}");
                found.iter().map(|path| path[root.len() + 1..].to_owned()).collect::<Vec<_>>().join(" ")
            })
        };
        for (pattern, files) in [
            ("requirements.txt", "requirements.txt"),
            ("./a/../requirements.txt", "requirements.txt"),
            ("**/requirements.txt", "a/b/requirements.txt a/requirements.txt requirements.txt"),
            ("*/requirements.txt", "a/requirements.txt"),
            ("a/**/*.lock", "a/b/poetry.lock"),
            ("a/**", "a/b/poetry.lock a/b/requirements.txt a/requirements.txt"),
            ("a/?/[p-r]*", "a/b/poetry.lock a/b/requirements.txt"),
            (".*/requirements.txt", ".venv/requirements.txt"),
        ] {
            assert_eq!(expanded(pattern).unwrap(), files, "{pattern}");
        }
        for pattern in ["gone.txt", "*.toml", "**/gone"] {
            assert_eq!(expanded(pattern).unwrap(), "", "{pattern}");
        }
        assert!(matches!(expanded("a"), Err(KeyFileError::Directory(_))));
        assert!(matches!(expanded("[a"), Err(KeyFileError::Pattern(_))));
    }
}
