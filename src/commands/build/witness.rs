//! Whether the inputs are still those that the key was computed from.
//!
//! The engine reads the context on its own, after the key is known. A file
//! that is edited in between would put the new image under the old key, and
//! the next build of the old files would get it. So an image is noted only if
//! no stamp (size, times, inode) of what was digested has moved meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::context::{self, ContextError, Entry, Filter, Stamp};
use crate::digest::Digest;

/// The inputs as they were.
#[derive(Debug, Default)]
pub(super) struct Witness {
    directories: Vec<(PathBuf, Filter, BTreeMap<String, Stamp>)>,
    files: Vec<(PathBuf, Digest)>,
}

impl Witness {
    /// Remembers the entries of a directory that were digested.
    pub(super) fn directory(&mut self, directory: &Path, filter: Filter, entries: &[Entry]) {
        let stamps = entries.iter().map(|entry| (entry.path.clone(), Stamp::of(&entry.metadata))).collect();
        self.directories.push((directory.to_owned(), filter, stamps));
    }

    /// Remembers a file by its content.
    pub(super) fn file(&mut self, path: PathBuf, content: &[u8]) {
        self.files.push((path, Digest::of(content)));
    }

    /// Whether everything is as it was. `seen` tells which entries of a context count.
    pub(super) fn still_holds(&self, seen: impl Fn(&str) -> bool) -> bool {
        let same_file = |(path, digest): &(PathBuf, Digest)| {
            std::fs::read(path).is_ok_and(|content| Digest::of(&content) == *digest)
        };
        let same_directory = |(directory, filter, stamps): &(PathBuf, Filter, BTreeMap<String, Stamp>)| {
            same_entries(directory, filter, stamps, &seen).unwrap_or_default()
        };
        self.files.iter().all(same_file) && self.directories.iter().all(same_directory)
    }
}

fn same_entries(
    directory: &Path,
    filter: &Filter,
    stamps: &BTreeMap<String, Stamp>,
    seen: &dyn Fn(&str) -> bool,
) -> Result<bool, ContextError> {
    let mut found = 0;
    for entry in context::walk(directory, filter)? {
        let entry = entry?;
        match stamps.get(&entry.path) {
            Some(then) if *then == Stamp::of(&entry.metadata) => found += 1,
            Some(_) => return Ok(false),
            None if seen(&entry.path) => return Ok(false),
            None => {}
        }
    }
    Ok(found == stamps.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_an_addition_and_a_removal_that_count_are_noticed() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        for name in ["a", "b", "log"] {
            std::fs::write(at(name), name).unwrap();
        }
        let seen = |path: &str| path != "log" && path != "other.log";
        let witness = |names: &[&str]| {
            let entries: Vec<Entry> = context::walk(base.path(), &Filter::default())
                .unwrap()
                .map(Result::unwrap)
                .filter(|entry| names.contains(&entry.path.as_str()))
                .collect();
            let mut witness = Witness::default();
            witness.directory(base.path(), Filter::default(), &entries);
            witness
        };
        let both = witness(&["a", "b"]);
        assert!(both.still_holds(seen));
        std::fs::write(at("log"), "more").unwrap();
        std::fs::write(at("other.log"), "new").unwrap();
        assert!(both.still_holds(seen), "what the build cannot see does not count");
        std::fs::write(at("c"), "new").unwrap();
        assert!(!both.still_holds(seen));
        std::fs::remove_file(at("c")).unwrap();
        assert!(both.still_holds(seen));
        std::fs::write(at("b"), "B").unwrap();
        assert!(!both.still_holds(seen));
        let a = witness(&["a"]);
        std::fs::remove_file(at("b")).unwrap();
        std::fs::remove_file(at("a")).unwrap();
        assert!(!a.still_holds(seen));
    }
}
