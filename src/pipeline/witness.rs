//! Whether the inputs are still those that the key was computed from.
//!
//! The engine reads the context on its own, after the key is known. A file
//! that is edited in between would put the new image under the old key, and
//! the next build of the old files would get it. So an image is noted only if
//! no stamp (size, times, inode) of what was digested has moved meanwhile, and
//! the Dockerfile and the ignore files have the same content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::context::{self, ContextError, Entry, Filter, Selected, Stamp};
use crate::digest::Digest;
use crate::dockerfile::ContextPaths;

/// The inputs as they were.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    directories: Vec<Sight>,
    /// By path, the digest of the content; `None` where there was no file that can be read.
    files: BTreeMap<PathBuf, Option<Digest>>,
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
    pub(crate) fn directory(
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

    /// Remembers a file by its content, or that it is missing. What was seen of it first counts.
    pub(crate) fn file(&mut self, path: PathBuf, content: Option<&[u8]>) {
        self.files.entry(path).or_insert_with(|| content.map(Digest::of));
    }

    /// Returns the names of what is not as it was.
    pub(crate) fn changed(&self) -> Vec<String> {
        let digest = |path: &Path| std::fs::read(path).ok().map(|content| Digest::of(&content));
        let files = self.files.iter().filter(|(path, before)| digest(path) != **before);
        let mut changed: Vec<String> = files.map(|(path, _)| path.display().to_string()).collect();
        for sight in &self.directories {
            match sight.changed() {
                Ok(names) => changed.extend(names),
                Err(_) => changed.push(sight.directory.display().to_string()),
            }
        }
        changed
    }
}

impl Sight {
    fn changed(&self) -> Result<Vec<String>, ContextError> {
        let (entries, selected) = context::walk_selected(&self.directory, &self.filter, &self.paths)?;
        Ok(moved(&self.stamps, &stamps(&entries, &selected)))
    }
}

/// Returns the names whose stamps differ, without the directories that changed because of what is in them.
fn moved(before: &BTreeMap<String, Stamp>, after: &BTreeMap<String, Stamp>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let names: Vec<&String> =
        names.into_iter().filter(|name| before.get(*name) != after.get(*name)).collect();
    let holds_another = |name: &str| {
        let inside = format!("{name}/");
        names.iter().any(|other| other.starts_with(&inside))
    };
    names.iter().filter(|name| !holds_another(name)).map(|name| (*name).clone()).collect()
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
        let none: [&str; 0] = [];
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
        for (source, counted) in [("real", "real"), ("link", "link"), ("l*k", "link"), ("real/* log", "real")]
        {
            let mut seen = witness(source);
            assert_eq!(seen.changed(), none, "{source}");
            std::fs::write(at("other.log"), "new").unwrap();
            assert_eq!(seen.changed(), none, "what the build cannot see does not count: {source}");
            std::fs::write(at("real/c"), "new").unwrap();
            assert_eq!(seen.changed(), ["real/c"].map(|name| name.replace("real", counted)), "{source}");
            std::fs::remove_file(at("real/c")).unwrap();
            seen = witness(source);
            std::fs::write(at("real/b"), source).unwrap();
            assert_eq!(seen.changed(), ["real/b"].map(|name| name.replace("real", counted)), "{source}");
        }
        let gone = witness("link/a");
        std::fs::remove_file(at("real/a")).unwrap();
        assert_eq!(gone.changed(), ["link/a"]);
    }
}
