//! Which entries of a context count, for what a build names of it.
//!
//! An entry counts for a build's key if it counts for the content checksums by
//! which BuildKit finds a COPY, an ADD or a bind mount in its cache
//! (`cache/contenthash/checksum.go`), and under the name that it has there:
//!
//! - a source's own name and what is below it, the links on its way followed,
//!   so neither such a link nor its target's place counts, only what is there;
//! - a directory counts with its mode, but neither the root nor a parent does;
//! - a link inside a copied directory counts as the link that it is;
//! - wildcards match whole paths, none of them matches a slash;
//! - the name of a single match is the pattern's, if its last part is literal.
//!
//! Where BuildKit's checksums leave out what the step really copies, it counts
//! here all the same: what is behind a link that `--parents` starts from, a
//! file that is a source of its own though a pattern would exclude it, and
//! (before BuildKit 0.10) what a wildcard matches behind a link. Where they
//! hold what the step does not copy, it does not count: what is behind a link
//! right below the root under `--exclude`, and (before 0.13) behind links inside.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::error::ContextError;
use super::file_digest::FileDigest;
use super::filter::Filter;
use super::glob;
use super::patterns::{MatchState, PatternError, PatternMatcher};
use super::tree::{Shape, Tree, parents};
use super::walk::{Entry, Unread, walk};
use crate::dockerfile::{ContextPaths, ContextSelector};

/// The entries that count, by their paths and under their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// `None` where all of them count under their own paths.
    names: Option<BTreeMap<String, Vec<String>>>,
    /// The paths that would count if they were not withheld.
    pub(crate) withheld: Vec<String>,
}

/// Decides which of a context's entries count for `paths`.
///
/// All of them do where that cannot be told: for a malformed pattern, and
/// where an entry lies in another one that is no directory.
pub(crate) fn select<'a>(
    entries: impl IntoIterator<Item = (&'a str, Shape<'a>)>,
    paths: &ContextPaths,
) -> Selected {
    if paths.is_everything() {
        return Selected::default();
    }
    let Some(tree) = Tree::of(entries) else { return Selected::default() };
    let mut found = Found::default();
    for selector in paths.selectors() {
        let Ok(filters) = Filters::of(selector) else { return Selected::default() };
        if selector.is_pattern && glob::validate(&selector.path).is_err() {
            return Selected::default();
        } else if selector.is_pattern {
            wildcard(&tree, selector, &filters, &mut found);
        } else if let Some(base) = tree.resolve(&selector.path) {
            found.extend(taken(&tree, &selector.path, &base, &filters));
        }
    }
    Selected { names: Some(found.by_path()), withheld: Vec::new() }
}

/// Walks what `filter` selects of the directory `root`, and keeps what counts for `paths`.
///
/// # Errors
///
/// Fails as a [`walk`] does, but not for an entry that does not count.
pub(crate) fn walk_selected(
    root: &Path,
    filter: &Filter,
    paths: &ContextPaths,
) -> Result<(Vec<Entry>, Selected), ContextError> {
    let mut walk = walk(root, filter)?.tolerant();
    let mut entries = walk.by_ref().collect::<Result<Vec<Entry>, _>>()?;
    let unread = walk.unread();
    let unread_shapes = unread.iter().map(|unread| {
        (unread.path.as_str(), if unread.is_directory { Shape::Directory } else { Shape::Other })
    });
    let mut selected = select(entries.iter().map(Entry::shape).chain(unread_shapes), paths);
    // A source that is named as something in it is not to be taken for one that is missing.
    let holds_source = |directory: &Unread| {
        paths.selectors().any(|selector| {
            let below = selector.path.strip_prefix(&directory.path);
            !selector.is_pattern && below.is_some_and(|rest| rest.starts_with('/'))
        })
    };
    let mut withheld = Vec::new();
    for unread in unread {
        let counts = selected.holds(&unread.path) || holds_source(&unread);
        match unread.error {
            Some(error) if counts => return Err(error),
            None if counts => withheld.push(unread.path),
            _ => {}
        }
    }
    selected.withheld = withheld;
    entries.retain(|entry| selected.holds(&entry.path));
    Ok((entries, selected))
}

impl Selected {
    /// Whether the entry at `path` counts.
    pub(crate) fn holds(&self, path: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains_key(path))
    }

    /// The names that the entry at `path` counts under.
    pub(crate) fn names<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.names.is_none().then_some(path);
        let given = self.names.as_ref().and_then(|names| names.get(path));
        own.into_iter().chain(given.into_iter().flatten().map(String::as_str))
    }

    /// The entries that count, under their names and sorted by them.
    pub(crate) fn named(&self, digests: Vec<FileDigest>) -> Vec<FileDigest> {
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

/// Name → the paths of the entries that have it. One name can have two: a link
/// that is a source of its own and lies in a copied directory as well.
#[derive(Debug, Default)]
struct Found(BTreeMap<String, BTreeSet<String>>);

impl Found {
    fn extend(&mut self, taken: Vec<(String, String)>) {
        for (name, path) in taken {
            self.0.entry(name).or_default().insert(path);
        }
    }

    fn by_path(self) -> BTreeMap<String, Vec<String>> {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, paths) in self.0 {
            // The entry that is really called so keeps the name.
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

/// What a source is narrowed to.
struct Filters {
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
}

/// What is known of a directory by both lists.
#[derive(Default)]
struct Known {
    include: MatchState,
    exclude: MatchState,
}

impl Filters {
    fn of(selector: &ContextSelector) -> Result<Self, PatternError> {
        let exclude = (!selector.exclude.is_empty()).then(|| PatternMatcher::new(&selector.exclude));
        Ok(Self {
            include: selector.include.as_ref().map(|pattern| PatternMatcher::new([pattern])).transpose()?,
            exclude: exclude.transpose()?,
        })
    }

    /// Whether what is at `path`, seen from the source, is taken.
    fn take(&self, path: &str, parent: &Known) -> (bool, Known) {
        let mut known = Known::default();
        if let Some(include) = &self.include {
            let (matched, state) = include.matches_below(path, &parent.include);
            known.include = state;
            if !matched {
                return (false, known);
            }
        }
        if let Some(exclude) = &self.exclude {
            let (matched, state) = exclude.matches_below(path, &parent.exclude);
            known.exclude = state;
            return (!matched, known);
        }
        (true, known)
    }

    fn take_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }
}

/// Name and path of what the source called `name`, which is at `base`, stands for.
fn taken(tree: &Tree<'_>, name: &str, base: &str, filters: &Filters) -> Vec<(String, String)> {
    let below = |directory: &str, rest: &str| {
        if directory.is_empty() { rest.to_owned() } else { format!("{directory}/{rest}") }
    };
    let mut taken = Vec::new();
    if !base.is_empty() {
        taken.push((name.to_owned(), base.to_owned()));
    }
    if tree.shape(base) != Some(Shape::Directory) {
        return taken;
    }
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    if filters.take_all() {
        wanted.extend(tree.below(base).map(|(rest, _)| rest));
    } else {
        let top = if base.is_empty() { Known::default() } else { filters.take("", &Known::default()).1 };
        let mut known: HashMap<&str, Known> = HashMap::new();
        for (rest, shape) in tree.below(base) {
            let parent = parents(rest).next().and_then(|parent| known.get(parent)).unwrap_or(&top);
            let (wants, state) = filters.take(rest, parent);
            if wants {
                // What is not taken itself is made for what is taken in it.
                wanted.extend(parents(rest).chain([rest]));
            }
            if shape == Shape::Directory {
                known.insert(rest, state);
            }
        }
    }
    taken.extend(wanted.into_iter().map(|rest| (below(name, rest), below(base, rest))));
    taken
}

/// Adds what a pattern matches.
fn wildcard(tree: &Tree<'_>, selector: &ContextSelector, filters: &Filters, found: &mut Found) {
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
        let name = if prefix.is_empty() { rest.to_owned() } else { format!("{prefix}/{rest}") };
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
        let taken = taken(tree, pattern, base, filters);
        // Of a directory every entry is listed by name, so its own place counts.
        if *shape != Shape::Directory || taken.len() == 1 {
            found.extend(taken);
            return;
        }
    }
    for (name, base, _) in matches {
        found.extend(taken(tree, &name, &base, filters));
    }
}
