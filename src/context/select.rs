//! Selects the entries of a context that count for the sources of a build. Reads no content.
//!
//! An entry counts for the key of a build if it counts for the content checksums with which BuildKit finds a COPY, an
//! ADD or a bind mount in its cache (`cache/contenthash/checksum.go`), and under the name that it has there:
//!
//! - A source counts under its own name, with everything below it. Links on the way are followed; neither the links nor
//!   the location of their targets count.
//! - A directory counts with its mode, but the root and parents do not count.
//! - A link inside a copied directory counts as a link.
//! - Wildcards match whole paths and do not match a slash.
//! - A single match has the name of the pattern if the last part of the pattern is literal.
//!
//! Some files are copied but missing from BuildKit's checksums. They count here: files behind a link from which
//! `--parents` starts, a file that is a source itself although a pattern excludes it, and (before BuildKit 0.10)
//! matches of a wildcard behind a link. Some files are in the checksums but not copied. They do not count here: files
//! behind a link directly below the root with `--exclude`, and (before BuildKit 0.13) files behind links inside a
//! copied directory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::error::ContextError;
use super::file_digest::FileDigest;
use super::filter::{CompiledFilter, Filter, FilterState};
use super::glob;
use super::tree::{ContextTree, Shape, join, parents};
use super::walk::{ContextEntry, UnreadPath, walk};
use crate::dockerfile::{ContextPaths, ContextSelector};

/// The entries that count, with the names under which they count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SelectedEntries {
    /// The names by path; `None` if all entries count under their own paths.
    names: Option<BTreeMap<String, Vec<String>>>,
    /// The paths that would count if the filter did not withhold them.
    pub(crate) withheld: Vec<String>,
}

/// Selects the entries of a context that count for `paths`.
///
/// All entries count if the selection cannot be computed: if a pattern is malformed, or if an entry is below a path
/// that is not a directory.
pub(crate) fn select<'a>(
    entries: impl IntoIterator<Item = (&'a str, Shape<'a>)>,
    paths: &ContextPaths,
) -> SelectedEntries {
    if paths.is_everything() {
        return SelectedEntries::default();
    }
    let Some(tree) = ContextTree::of(entries) else { return SelectedEntries::default() };
    let mut found = NamedEntries::default();
    for selector in paths.selectors() {
        let filters = CompiledFilter::compile(selector.include.as_slice(), &selector.exclude);
        let Ok(filters) = filters else { return SelectedEntries::default() };
        if selector.is_pattern && glob::validate(&selector.path).is_err() {
            return SelectedEntries::default();
        } else if selector.is_pattern {
            add_wildcard_matches(&tree, selector, &filters, &mut found);
        } else if let Some(base) = tree.resolve(&selector.path) {
            found.extend(source_entries(&tree, &selector.path, &base, &filters));
        }
    }
    SelectedEntries { names: Some(found.by_path()), withheld: Vec::new() }
}

/// A walked directory and the entries that count for some paths.
#[derive(Debug)]
pub(crate) struct WalkedContext {
    pub(crate) entries: Vec<ContextEntry>,
    pub(crate) selected: SelectedEntries,
    /// The other entries, including links on the way to an entry that counts.
    others: Vec<ContextEntry>,
    /// The paths that could not be read, each with `true` if it is a directory.
    unread: Vec<(String, bool)>,
}

impl WalkedContext {
    /// Selects the entries that count for `paths`, which must be a subset of the paths of the walk.
    pub(crate) fn select(&self, paths: &ContextPaths) -> SelectedEntries {
        let entries = self.entries.iter().chain(&self.others).map(ContextEntry::shape);
        select(entries.chain(unread_shapes(&self.unread)), paths)
    }

    /// Returns all entries that could be read, in no particular order.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = ContextEntry> {
        self.entries.into_iter().chain(self.others)
    }
}

fn unread_shapes(unread: &[(String, bool)]) -> impl Iterator<Item = (&str, Shape<'_>)> {
    let shape = |is_directory: bool| if is_directory { Shape::Directory } else { Shape::Other };
    unread.iter().map(move |(path, is_directory)| (path.as_str(), shape(*is_directory)))
}

/// Walks the entries of the directory `root` that `filter` selects, and finds those that count for `paths`. Fails like
/// [`walk`], but ignores entries that cannot be read and do not count.
pub(crate) fn walk_selected(
    root: &Path,
    filter: &Filter,
    paths: &ContextPaths,
) -> Result<WalkedContext, ContextError> {
    let mut walk = walk(root, filter)?.continue_after_errors();
    let entries = walk.by_ref().collect::<Result<Vec<ContextEntry>, _>>()?;
    let faults = walk.unread();
    let unread: Vec<(String, bool)> =
        faults.iter().map(|unread| (unread.path.clone(), unread.is_directory)).collect();
    let mut selected = select(entries.iter().map(ContextEntry::shape).chain(unread_shapes(&unread)), paths);
    // If a source is inside an unreadable directory, the error must be reported instead of a missing source.
    let holds_source = |directory: &UnreadPath| {
        paths.selectors().any(|selector| {
            let below = selector.path.strip_prefix(&directory.path);
            !selector.is_pattern && below.is_some_and(|rest| rest.starts_with('/'))
        })
    };
    let mut withheld = Vec::new();
    for unread in faults {
        let counts = selected.contains(&unread.path) || holds_source(&unread);
        match unread.error {
            Some(error) if counts => return Err(error),
            None if counts => withheld.push(unread.path),
            _ => {}
        }
    }
    selected.withheld = withheld;
    let (entries, others) = entries.into_iter().partition(|entry| selected.contains(&entry.path));
    Ok(WalkedContext { entries, selected, others, unread })
}

impl SelectedEntries {
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains_key(path))
    }

    /// Returns the names under which the entry at `path` counts.
    pub(crate) fn names<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.names.is_none().then_some(path);
        let given = self.names.as_ref().and_then(|names| names.get(path));
        own.into_iter().chain(given.into_iter().flatten().map(String::as_str))
    }

    /// Returns the digests of the entries that count, sorted by and under the names under which they count.
    pub(crate) fn renamed(&self, digests: Vec<FileDigest>) -> Vec<FileDigest> {
        if self.names.is_none() {
            return digests;
        }
        let mut named: Vec<FileDigest> = digests
            .iter()
            .flat_map(|file| {
                self.names(&file.path).map(|name| FileDigest { path: name.to_owned(), ..file.clone() })
            })
            .collect();
        named.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        named
    }
}

/// The paths of the entries by name. A name can have two: if a link is a source itself and is in a copied directory as
/// well.
#[derive(Debug, Default)]
struct NamedEntries(BTreeMap<String, BTreeSet<String>>);

impl NamedEntries {
    fn extend(&mut self, taken: Vec<(String, String)>) {
        for (name, path) in taken {
            self.0.entry(name).or_default().insert(path);
        }
    }

    fn by_path(self) -> BTreeMap<String, Vec<String>> {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, paths) in self.0 {
            // The entry whose path is the name keeps the name.
            let (own, led_to): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| *path == name);
            let mut name = name;
            for path in own.into_iter().chain(led_to) {
                names.entry(path).or_default().push(name.clone());
                name.push_str("/.");
            }
        }
        names
    }
}

/// Returns name and path of each entry of the source `name`, which is located at `base`.
fn source_entries(
    tree: &ContextTree<'_>,
    name: &str,
    base: &str,
    filters: &CompiledFilter,
) -> Vec<(String, String)> {
    let mut taken = Vec::new();
    if !base.is_empty() {
        taken.push((name.to_owned(), base.to_owned()));
    }
    if tree.shape(base) != Some(Shape::Directory) {
        return taken;
    }
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    if filters.is_unrestricted() {
        wanted.extend(tree.below(base).map(|(rest, _)| rest));
    } else {
        let mut top = FilterState::default();
        if !base.is_empty() {
            top = filters.match_path("", &top).1;
        }
        let mut known: HashMap<&str, FilterState> = HashMap::new();
        for (rest, shape) in tree.below(base) {
            let parent = parents(rest).next().and_then(|parent| known.get(parent)).unwrap_or(&top);
            let (wants, state) = filters.match_path(rest, parent);
            if wants {
                // The parents of a copied entry are created even if they do not match.
                wanted.extend(parents(rest).chain([rest]));
            }
            if shape == Shape::Directory {
                known.insert(rest, state);
            }
        }
    }
    taken.extend(wanted.into_iter().map(|rest| (join(name, rest), join(base, rest))));
    taken
}

fn add_wildcard_matches(
    tree: &ContextTree<'_>,
    selector: &ContextSelector,
    filters: &CompiledFilter,
    found: &mut NamedEntries,
) {
    let pattern = selector.path.as_str();
    let literal: Vec<&str> = pattern.split('/').take_while(|part| !glob::has_wildcards(part)).collect();
    let prefix = literal.join("/");
    let Some(top) = tree.resolve(&prefix) else { return };
    let mut tops: HashSet<&str> = HashSet::new();
    let mut matches = Vec::new();
    for (rest, shape) in tree.below(&top) {
        if parents(rest).any(|parent| tops.contains(parent)) {
            continue;
        }
        let name = join(&prefix, rest);
        if glob::matches(pattern, name.as_bytes()).unwrap_or(false) {
            tops.insert(rest);
            if let Some(base) = tree.resolve(&name) {
                matches.push((name, base, shape));
            }
        }
    }
    let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
    if let [(name, base, shape)] = matches.as_slice()
        && last(name) == last(pattern)
    {
        let taken = source_entries(tree, pattern, base, filters);
        // The entries of a directory are listed by name, so the location of the directory counts.
        if *shape != Shape::Directory || taken.len() == 1 {
            found.extend(taken);
            return;
        }
    }
    for (name, base, _) in matches {
        found.extend(source_entries(tree, &name, &base, filters));
    }
}
