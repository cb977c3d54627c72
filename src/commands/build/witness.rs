//! Whether the inputs are still those that the key was computed from.
//!
//! The engine reads the context on its own, after the key is known. A file
//! that is edited in between would put the new image under the old key, and
//! the next build of the old files would get it. So an image is noted only if
//! no stamp (size, times, inode) of what was digested has moved meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::context::{self, ContextError, Entry, Filter, Selected, Stamp};
use crate::digest::Digest;
use crate::dockerfile::ContextPaths;

/// The inputs as they were.
#[derive(Debug, Default)]
pub(super) struct Witness {
    directories: Vec<Sight>,
    files: Vec<(PathBuf, Digest)>,
}

/// What was seen of a directory: by the name that it counts under, the stamp of each entry.
#[derive(Debug)]
struct Sight {
    directory: PathBuf,
    filter: Filter,
    paths: ContextPaths,
    stamps: BTreeMap<String, Stamp>,
}

impl Witness {
    /// Remembers the entries of a directory that were digested.
    pub(super) fn directory(
        &mut self,
        directory: &Path,
        filter: Filter,
        paths: ContextPaths,
        entries: &[Entry],
        selected: &Selected,
    ) {
        let stamps = stamps(entries, selected);
        self.directories.push(Sight { directory: directory.to_owned(), filter, paths, stamps });
    }

    /// Remembers a file by its content.
    pub(super) fn file(&mut self, path: PathBuf, content: &[u8]) {
        self.files.push((path, Digest::of(content)));
    }

    /// Whether everything is as it was.
    pub(super) fn still_holds(&self) -> bool {
        let same_file = |(path, digest): &(PathBuf, Digest)| {
            std::fs::read(path).is_ok_and(|content| Digest::of(&content) == *digest)
        };
        self.files.iter().all(same_file)
            && self.directories.iter().all(|sight| sight.is_the_same().unwrap_or_default())
    }
}

impl Sight {
    fn is_the_same(&self) -> Result<bool, ContextError> {
        let (entries, selected) = context::walk_selected(&self.directory, &self.filter, &self.paths)?;
        Ok(stamps(&entries, &selected) == self.stamps)
    }
}

fn stamps(entries: &[Entry], selected: &Selected) -> BTreeMap<String, Stamp> {
    let named = entries.iter().flat_map(|entry| {
        let stamp = Stamp::of(&entry.metadata);
        selected.names(&entry.path).map(move |name| (name.to_owned(), stamp))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_an_addition_and_a_removal_that_count_are_noticed() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        for name in ["real/a", "real/b", "log"] {
            std::fs::write(at(name), name).unwrap();
        }
        let witness = |source: &str| {
            let text = format!("FROM scratch\nCOPY {source} /\n");
            let resolution = crate::dockerfile::Dockerfile::parse(&text).unwrap();
            let paths = resolution.resolve(&crate::dockerfile::Options::default()).unwrap().context;
            let (entries, selected) =
                context::walk_selected(base.path(), &Filter::default(), &paths).unwrap();
            let mut witness = Witness::default();
            witness.directory(base.path(), Filter::default(), paths, &entries, &selected);
            witness
        };
        for source in ["real", "link", "l*k", "real/* log"] {
            let seen = witness(source);
            assert!(seen.still_holds(), "{source}");
            std::fs::write(at("other.log"), "new").unwrap();
            assert!(seen.still_holds(), "what the build cannot see does not count: {source}");
            std::fs::write(at("real/c"), "new").unwrap();
            assert!(!seen.still_holds(), "{source}");
            std::fs::remove_file(at("real/c")).unwrap();
            assert!(seen.still_holds(), "{source}");
            std::fs::write(at("real/b"), source).unwrap();
            assert!(!seen.still_holds(), "{source}");
        }
        let gone = witness("link/a");
        std::fs::remove_file(at("real/a")).unwrap();
        assert!(!gone.still_holds());
    }
}
