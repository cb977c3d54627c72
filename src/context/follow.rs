//! Resolves paths through symbolic links into patterns that include everything on the way, as `fsutil`'s `FollowLinks`
//! does. Reads links, but no files.
//!
//! Targets are relative to the context, even absolute ones, and never lead out of it. Each link is followed once, under
//! its name: a second path through the same link adds nothing, as in the original. Wildcards are expanded only in the
//! current element, and only to links.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::error::{ContextError, if_present};
use super::glob;
use super::lexical::{clean, decode_lossy, join, split};

/// Returns the sorted patterns that include `paths` and the targets of the links on the way, or `None` if one of them
/// is the context itself.
pub(super) fn follow_links(root: &Path, paths: &[String]) -> Result<Option<Vec<String>>, ContextError> {
    let mut resolved = BTreeSet::new();
    let mut open: Vec<String> = paths.iter().rev().cloned().collect();
    while let Some(path) = open.pop() {
        let path = join(".", &path);
        let mut current = String::from(".");
        let mut rest = path.as_str();
        loop {
            let (element, behind) = rest.split_once('/').unwrap_or((rest, ""));
            current = join(&current, element);
            rest = behind;
            let targets = targets_of(root, &current)?;
            if targets.is_empty() && !rest.is_empty() {
                continue;
            }
            if resolved.insert(current) {
                open.extend(targets.iter().rev().map(|target| join(target, rest)));
            }
            break;
        }
    }
    Ok(without_nested(resolved.into_iter().collect()))
}

/// Removes each path that is below the last path kept before it. Returns `None` if the list contains the context
/// itself, because everything is included then.
pub(super) fn without_nested(paths: Vec<String>) -> Option<Vec<String>> {
    let mut kept: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        if path == "." {
            return None;
        }
        let last = kept.last().map_or("", String::as_str);
        if !path.strip_prefix(last).is_some_and(|rest| rest.starts_with('/')) {
            kept.push(path);
        }
    }
    Some(kept)
}

/// Returns the targets of the links that match `path`, whose last element may contain wildcards.
fn targets_of(root: &Path, path: &str) -> Result<Vec<String>, ContextError> {
    let (directory, base) = split(path);
    if !glob::has_wildcards(base) {
        return Ok(target_of(&root.join(path), directory)?.into_iter().collect());
    }
    let absolute = root.join(directory);
    let failed = |error| ContextError::unreadable(&absolute, error);
    let metadata = if_present(fs::symlink_metadata(&absolute)).map_err(failed)?;
    if !metadata.is_some_and(|metadata| metadata.is_dir()) {
        return Ok(Vec::new());
    }
    let mut links = Vec::new();
    for entry in fs::read_dir(&absolute).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if glob::matches(base, entry.file_name().as_bytes()).unwrap_or(false) {
            links.push(entry.path());
        }
    }
    links.sort();
    links.iter().filter_map(|link| target_of(link, directory).transpose()).collect()
}

/// Returns the target of the link at `absolute`, which is in `directory`, or `None` if it is not a link.
fn target_of(absolute: &Path, directory: &str) -> Result<Option<String>, ContextError> {
    let target = match fs::symlink_metadata(absolute) {
        Ok(metadata) if !metadata.is_symlink() => return Ok(None),
        found => found.and_then(|_| fs::read_link(absolute)),
    };
    let target = if_present(target).map_err(|error| ContextError::unreadable(absolute, error))?;
    Ok(target.map(|target| {
        let target = clean(&decode_lossy(target.as_os_str().as_bytes()));
        if target.starts_with('/') { target } else { join("/", &join(directory, &target)) }
    }))
}
