//! The build context as the source of copies.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::path::Path;

use super::refusal::Refusal;
use super::tail::PlannedLayer;
use super::tree::follow_links;
use crate::context::{ContextEntry, Filter, Shape, glob, walk_selected};
use crate::dockerfile::{ContextPaths, ContextSelector};

/// The entries of a context that the last instructions can copy.
pub(crate) struct CopySources {
    entries: BTreeMap<String, ContextEntry>,
    /// The names in each directory, in byte order.
    names: HashMap<String, Vec<String>>,
    pub(super) root: Metadata,
}

impl CopySources {
    /// Lists the directory `root`, without the entries that `filter` excludes.
    ///
    /// Fails if an entry that one of the instructions copies cannot be read.
    pub(crate) fn walk(root: &Path, filter: &Filter, layers: &[PlannedLayer]) -> Result<Self, Refusal> {
        let copied = layers.iter().flat_map(|layer| match layer {
            PlannedLayer::Copy(copy) => copy.sources.as_slice(),
            PlannedLayer::Workdir { .. } => &[],
        });
        let paths: ContextPaths =
            copied.map(|source| ContextSelector::of_copy(source, false, Vec::new())).collect();
        let unreadable = |error: &dyn std::error::Error| Refusal::UnreadableContext(error.to_string());
        let metadata = fs::metadata(root).map_err(|error| unreadable(&error))?;
        let walked = walk_selected(root, filter, &paths).map_err(|error| unreadable(&error))?;
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        let mut entries = BTreeMap::new();
        for entry in walked.into_entries() {
            let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
            names.entry(parent.to_owned()).or_default().push(name.to_owned());
            entries.insert(entry.path.clone(), entry);
        }
        for names in names.values_mut() {
            names.sort_unstable();
        }
        Ok(Self { entries, names, root: metadata })
    }

    /// Returns the entry at `path`, or `None` for the root and for a path that does not exist.
    pub(super) fn entry(&self, path: &str) -> Option<&ContextEntry> {
        self.entries.get(path)
    }

    pub(super) fn shape(&self, path: &str) -> Option<Shape<'_>> {
        if path.is_empty() {
            return Some(Shape::Directory);
        }
        self.entries.get(path).map(|entry| entry.shape().1)
    }

    pub(super) fn names(&self, directory: &str) -> &[String] {
        self.names.get(directory).map(Vec::as_slice).unwrap_or_default()
    }

    /// Resolves the links in `path`. Fails if the result does not exist.
    pub(super) fn follow(&self, path: &str) -> Result<String, String> {
        let followed = follow_links(path, |path| self.shape(path))?;
        let is_there = self.shape(&followed).is_some();
        is_there.then_some(followed).ok_or_else(|| format!("`{path}` does not exist"))
    }

    /// Returns the paths that match a source with wildcards, in order. A source without wildcards is returned as it is.
    ///
    /// Fails if the part before the first wildcard does not exist.
    pub(super) fn expand(&self, source: &str) -> Result<Vec<String>, String> {
        let parts: Vec<&str> = source.split('/').collect();
        let literal = parts.iter().take_while(|part| !glob::has_wildcards(part)).count();
        if literal == parts.len() {
            return Ok(vec![source.to_owned()]);
        }
        let base = self.follow(&parts[..literal].join("/"))?;
        let pattern = parts[literal..].join("/");
        let mut matches = Vec::new();
        self.add_matches(&pattern, &base, "", &mut matches);
        Ok(matches)
    }

    /// Adds the matches in the directory `base/below`. Nothing inside a matching directory is added.
    fn add_matches(&self, pattern: &str, base: &str, below: &str, matches: &mut Vec<String>) {
        let directory = join(base, below);
        for name in self.names(&directory) {
            let relative = join(below, name);
            let path = join(base, &relative);
            if glob::matches(pattern, relative.as_bytes()).unwrap_or(false) {
                matches.push(path);
            } else if self.shape(&path) == Some(Shape::Directory) {
                self.add_matches(pattern, base, &relative, matches);
            }
        }
    }
}

/// Returns the path of `name` in the directory `directory`; both may be empty.
pub(super) fn join(directory: &str, name: &str) -> String {
    match (directory, name) {
        ("", path) | (path, "") => path.to_owned(),
        (directory, name) => format!("{directory}/{name}"),
    }
}
