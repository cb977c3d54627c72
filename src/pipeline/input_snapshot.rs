//! Detects whether the inputs changed after the key was computed from them.
//!
//! The engine reads the context after the key is known. A file that is edited in between would record the new image
//! under the old key, and the next build of the old files would use that image. An image is therefore only recorded if
//! the stamps (size, times, inode) of all digested files are unchanged, and if the Dockerfile and the ignore files have
//! the same content.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::context::{self, ContextEntry, Filter, SelectedEntries, Stamp, WalkedContext};
use crate::digest::Digest;
use crate::dockerfile::ContextPaths;

#[derive(Debug, Default)]
pub(crate) struct InputSnapshot {
    directories: Vec<DirectoryState>,
    /// The digest of each file's content; `None` if it could not be read.
    files: BTreeMap<PathBuf, Option<Digest>>,
}

/// The state of a directory: the stamp of each entry, by the entry's name in the build.
#[derive(Debug)]
struct DirectoryState {
    directory: PathBuf,
    filter: Filter,
    paths: ContextPaths,
    stamps: BTreeMap<String, Stamp>,
}

impl InputSnapshot {
    pub(crate) fn record_directory(
        &mut self,
        directory: &Path,
        filter: Filter,
        paths: ContextPaths,
        entries: &[ContextEntry],
        selected: &SelectedEntries,
    ) {
        let stamps = stamps(entries, selected);
        self.directories.push(DirectoryState { directory: directory.to_owned(), filter, paths, stamps });
    }

    /// Records the content of a file, or that it is missing. Only the first call for a path has an effect.
    pub(crate) fn record_file(&mut self, path: PathBuf, content: Option<&[u8]>) {
        self.files.entry(path).or_insert_with(|| content.map(Digest::of));
    }

    pub(crate) fn changed_inputs(&self) -> Vec<String> {
        let digest = |path: &Path| std::fs::read(path).ok().map(|content| Digest::of(&content));
        let files = self.files.iter().filter(|(path, before)| digest(path) != **before);
        let mut changed: Vec<String> = files.map(|(path, _)| path.display().to_string()).collect();
        for state in &self.directories {
            match context::walk_selected(&state.directory, &state.filter, &state.paths) {
                Ok(WalkedContext { entries, selected, .. }) => {
                    changed.extend(changed_names(&state.stamps, &stamps(&entries, &selected)));
                }
                Err(_) => changed.push(state.directory.display().to_string()),
            }
        }
        changed
    }
}

/// Returns the names whose stamps differ, except directories that changed only because their entries did.
fn changed_names(before: &BTreeMap<String, Stamp>, after: &BTreeMap<String, Stamp>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let names: Vec<&String> =
        names.into_iter().filter(|name| before.get(*name) != after.get(*name)).collect();
    let contains_changed = |name: &str| {
        let inside = format!("{name}/");
        names.iter().any(|other| other.starts_with(&inside))
    };
    names.iter().filter(|name| !contains_changed(name)).map(|name| (*name).clone()).collect()
}

fn stamps(entries: &[ContextEntry], selected: &SelectedEntries) -> BTreeMap<String, Stamp> {
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
    fn relevant_edits_additions_and_removals_are_noticed() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        std::fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        for name in ["real/a", "real/b", "log"] {
            std::fs::write(at(name), name).unwrap();
        }
        let none: [&str; 0] = [];
        let snapshot = |source: &str| {
            let text = format!("FROM scratch\nCOPY {source} /\n");
            let resolution = crate::dockerfile::Dockerfile::parse(&text).unwrap();
            let paths = resolution.resolve(&crate::dockerfile::Options::default()).unwrap().context;
            let WalkedContext { entries, selected, .. } =
                context::walk_selected(base.path(), &Filter::default(), &paths).unwrap();
            let mut snapshot = InputSnapshot::default();
            snapshot.record_directory(base.path(), Filter::default(), paths, &entries, &selected);
            snapshot
        };
        for (source, counted) in [("real", "real"), ("link", "link"), ("l*k", "link"), ("real/* log", "real")]
        {
            let mut seen = snapshot(source);
            assert_eq!(seen.changed_inputs(), none, "{source}");
            std::fs::write(at("other.log"), "new").unwrap();
            assert_eq!(seen.changed_inputs(), none, "what the build cannot see does not count: {source}");
            std::fs::write(at("real/c"), "new").unwrap();
            assert_eq!(
                seen.changed_inputs(),
                ["real/c"].map(|name| name.replace("real", counted)),
                "{source}"
            );
            std::fs::remove_file(at("real/c")).unwrap();
            seen = snapshot(source);
            std::fs::write(at("real/b"), source).unwrap();
            assert_eq!(
                seen.changed_inputs(),
                ["real/b"].map(|name| name.replace("real", counted)),
                "{source}"
            );
        }
        let removed = snapshot("link/a");
        std::fs::remove_file(at("real/a")).unwrap();
        assert_eq!(removed.changed_inputs(), ["link/a"]);
    }
}
