//! The files that a directory's key is made of.
//!
//! A pattern's `*`, `?` and `[…]` match within a name, `**` any directories.
//! As in a shell, none of them matches a name that begins with a dot; and what
//! is in the directory that is kept is no part of its own key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::context::{clean_path, glob};
use crate::key::DirectoryInputs;
use crate::requirements::{FileUse, Format, Found, View, is_requirements_name};

/// A key file cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFileError {
    /// Nothing has that name.
    #[error("--key-files: {0} matches no file")]
    None(String),
    /// The pattern's syntax is wrong.
    #[error("--key-files: `{0}` is no pattern: it has an unclosed class or ends in a backslash")]
    Pattern(String),
    /// A file cannot be read.
    #[error("--key-files: cannot read {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Reads the files that `names` and patterns stand for, with what requirement files among them include.
pub(super) fn read(names: &[String], kept: &Path, inputs: &mut DirectoryInputs) -> Result<(), KeyFileError> {
    for path in expand(names, kept)? {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let content =
            std::fs::read(&path).map_err(|source| KeyFileError::Unreadable { path: path.clone(), source })?;
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
    Ok(())
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

/// The files, sorted, each once.
fn expand(names: &[String], kept: &Path) -> Result<BTreeSet<String>, KeyFileError> {
    let kept = clean_path(&kept.to_string_lossy());
    let mut files = BTreeSet::new();
    for name in names {
        let path = clean_path(name);
        if Path::new(&path).exists() || !glob::has_wildcards(name) {
            if !Path::new(&path).is_file() {
                return Err(KeyFileError::None(name.clone()));
            }
            files.insert(path);
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
            return Err(KeyFileError::None(name.clone()));
        }
        files.extend(found);
    }
    Ok(files)
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
            found.map(|found| {
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
        for pattern in ["gone.txt", "*.toml", "a", "**/gone"] {
            assert!(matches!(expanded(pattern), Err(KeyFileError::None(_))), "{pattern}");
        }
        assert!(matches!(expanded("[a"), Err(KeyFileError::Pattern(_))));
    }
}
