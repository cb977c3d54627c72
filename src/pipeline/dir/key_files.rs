//! Reads the files that a directory's key is computed from.
//!
//! In a pattern, `*`, `?` and `[…]` match within a name, and `**` matches any number of directories. As in a shell,
//! they do not match names that begin with a dot. Files in the saved directory are not part of its key.
//!
//! A missing file, such as a lock file that the build creates, is not an error: the directory then has no key, and the
//! names of the missing files are reported.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::context::{clean_path, glob};
use crate::dockerfile::nearest_name;
use crate::error_chain::chain;
use crate::key::DirectoryInputs;
use crate::requirements::{DependencyFile, DependencyFormat, ProjectFile, ProjectView, is_requirements_name};

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("--key-files: {0} is a directory")]
    Directory(String),
    #[error("--key-files: `{0}` is not a valid pattern: it has an unclosed class or ends in a backslash")]
    Pattern(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MissingKeyFile {
    /// The name as typed, or the path of the file.
    pub(super) name: String,
    reason: Option<String>,
    similar: Option<String>,
}

impl std::fmt::Display for MissingKeyFile {
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

/// Reads the files that `names` match, and the files that requirement files among them include. Returns the names for
/// which there is no file.
pub(super) fn read(
    names: &[String],
    saved: &Path,
    inputs: &mut DirectoryInputs,
) -> Result<Vec<MissingKeyFile>, KeyFileError> {
    let (files, mut missing) = expand(names, saved)?;
    for path in files {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) => {
                missing.push(MissingKeyFile { name: path, reason: Some(chain(&error)), similar: None });
                continue;
            }
        };
        if is_requirements_name(name) {
            inputs.requirements.add(&[DependencyFile::requirements(path)], &WorkingDirectory);
        } else {
            // Other text files may also be lists of requirements. Then the files that they include are part of the key
            // too.
            let extension = Path::new(&path).extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("txt" | "in")) {
                inputs.requirements.add(&[DependencyFile::requirements(path.clone())], &WorkingDirectory);
            }
            inputs.files.insert(path, content);
        }
    }
    Ok(missing)
}

struct WorkingDirectory;

impl ProjectView for WorkingDirectory {
    fn find(&self, path: &str, _: Option<&str>, _: DependencyFormat) -> Vec<ProjectFile> {
        let path = clean_path(path);
        // An unreadable file is treated as missing.
        let content = Path::new(&path).is_file().then(|| std::fs::read(&path).ok()).flatten();
        content
            .into_iter()
            .map(|content| ProjectFile { path: path.clone(), seen_path: path.clone(), content })
            .collect()
    }
}

fn expand(names: &[String], saved: &Path) -> Result<(BTreeSet<String>, Vec<MissingKeyFile>), KeyFileError> {
    let saved = clean_path(&saved.to_string_lossy());
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
                    missing.push(MissingKeyFile { name: path, reason, similar: None });
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    let similar = similar(&path);
                    missing.push(MissingKeyFile { name: name.clone(), reason: None, similar });
                }
                Err(error) => {
                    missing.push(MissingKeyFile { name: path, reason: Some(chain(&error)), similar: None });
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
        add_matching(Path::new(root), &parts, &saved, &mut found)
            .map_err(|_| KeyFileError::Pattern(name.clone()))?;
        if found.is_empty() {
            missing.push(MissingKeyFile { name: name.clone(), reason: None, similar: None });
        }
        files.extend(found);
    }
    Ok((files, missing))
}

fn similar(path: &str) -> Option<String> {
    let path = Path::new(path);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = std::fs::read_dir(directory.unwrap_or(Path::new("."))).ok()?.flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let nearest = nearest_name(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(directory.unwrap_or(Path::new("")).join(nearest).to_string_lossy().into_owned())
}

fn add_matching(
    directory: &Path,
    parts: &[&str],
    saved: &str,
    found: &mut BTreeSet<String>,
) -> Result<(), glob::BadPattern> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if *part == "**" && !rest.is_empty() {
        add_matching(directory, rest, saved, found)?;
    } else if !glob::has_wildcards(part) {
        return add_path(&directory.join(part), rest, saved, found);
    }
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    // A directory that cannot be listed contains no key files.
    for entry in std::fs::read_dir(listed).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") && !part.starts_with('.') {
            continue;
        }
        let path: PathBuf = directory.join(&name);
        if *part == "**" {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && path.to_string_lossy() != *saved {
                add_matching(&path, parts, saved, found)?;
            } else if rest.is_empty() {
                add_path(&path, rest, saved, found)?;
            }
        } else if glob::matches(part, bytes)? {
            add_path(&path, rest, saved, found)?;
        }
    }
    Ok(())
}

fn add_path(
    path: &Path,
    rest: &[&str],
    saved: &str,
    found: &mut BTreeSet<String>,
) -> Result<(), glob::BadPattern> {
    if !rest.is_empty() {
        return if path.to_string_lossy() == *saved {
            Ok(())
        } else {
            add_matching(path, rest, saved, found)
        };
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
    fn names_and_patterns_match_files_outside_the_saved_directory() {
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
            let saved = base.path().join("kept");
            let found = expand(&[format!("{root}/{pattern}")], &saved);
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
