//! The entries of a context as a tree in which links can be followed. Does not access the file system.
//!
//! Links are followed as BuildKit's content checksums follow them (`cache/contenthash/checksum.go`): a target is
//! relative to the directory of the link, and an absolute target to the context. `..` never leads out of the context. A
//! path with too many links does not exist.

use std::collections::BTreeMap;
use std::ops::Bound;

/// The kind of an entry, as far as it matters for resolving paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape<'a> {
    Directory,
    /// A symbolic link and its target.
    Link(&'a str),
    Other,
}

/// The maximum number of links in one path.
const MAX_LINKS: usize = 255;

#[derive(Debug)]
pub(super) struct ContextTree<'a>(BTreeMap<&'a str, Shape<'a>>);

impl<'a> ContextTree<'a> {
    /// Creates the tree of `entries` and the directories that they imply. Returns `None` if an entry is below a path
    /// that is not a directory.
    pub(super) fn of(entries: impl IntoIterator<Item = (&'a str, Shape<'a>)>) -> Option<Self> {
        // An archive may contain its root.
        let mut tree: BTreeMap<&str, Shape<'_>> =
            entries.into_iter().filter(|(path, _)| !path.is_empty()).collect();
        let paths: Vec<&str> = tree.keys().copied().collect();
        for path in paths {
            for parent in parents(path) {
                match *tree.entry(parent).or_insert(Shape::Directory) {
                    Shape::Directory => {}
                    Shape::Link(_) | Shape::Other => return None,
                }
            }
        }
        Some(Self(tree))
    }

    /// Resolves `path`, including a link at its end. Returns `None` if the result does not exist. The empty path is the
    /// root.
    pub(super) fn resolve(&self, path: &str) -> Option<String> {
        follow(path, |path| self.shape(path)).filter(|path| self.shape(path).is_some())
    }

    pub(super) fn shape(&self, path: &str) -> Option<Shape<'a>> {
        if path.is_empty() { Some(Shape::Directory) } else { self.0.get(path).copied() }
    }

    /// Returns everything below `directory`, with paths relative to it; parents come first.
    pub(super) fn below(&self, directory: &str) -> impl Iterator<Item = (&'a str, Shape<'a>)> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let from = self.0.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        from.map_while(move |(path, shape)| Some((path.strip_prefix(&prefix)?, *shape)))
    }
}

/// Returns the parents of `path`, nearest first, without the root.
pub(crate) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(at, _)| &path[..at])
}

/// Resolves the links in `path`, including one at its end. Parts that do not exist are unchanged. Returns `None` if
/// there are too many links. `shape` returns the kind of an entry, or `None` if it does not exist.
pub(crate) fn follow<'a>(path: &str, shape: impl Fn(&str) -> Option<Shape<'a>>) -> Option<String> {
    let mut current = String::new();
    let mut rest = path.to_owned();
    let mut links = 0;
    while !rest.is_empty() {
        let (part, behind) = rest.split_once('/').unwrap_or((&rest, ""));
        let next = step(&current, part);
        if let Some(Shape::Link(target)) = shape(&next) {
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            if target.starts_with('/') {
                current.clear();
            }
            rest = format!("{target}/{behind}");
        } else {
            current = next;
            rest = behind.to_owned();
        }
    }
    Some(current)
}

/// Returns the path of `part` in the directory `current`, without following a link.
fn step(current: &str, part: &str) -> String {
    match part {
        "" | "." => current.to_owned(),
        ".." => parents(current).next().unwrap_or_default().to_owned(),
        _ => join(current, part),
    }
}

/// Joins two paths without cleaning them. The empty directory is the root.
pub(super) fn join(directory: &str, path: &str) -> String {
    if directory.is_empty() { path.to_owned() } else { format!("{directory}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_as_in_the_engine() {
        let tree = ContextTree::of([
            ("real/deep/file", Shape::Other),
            ("real/up", Shape::Link("../../../real/deep")),
            ("link", Shape::Link("real")),
            ("absolute", Shape::Link("/real/deep/")),
            ("chain", Shape::Link("link/deep")),
            ("here", Shape::Link(".")),
            ("a", Shape::Link("b")),
            ("b", Shape::Link("a")),
            ("dangling", Shape::Link("nowhere")),
            ("over", Shape::Link("nowhere/../real")),
        ])
        .unwrap();
        for (path, leads) in [
            ("", Some("")),
            ("real", Some("real")),
            ("link/deep/file", Some("real/deep/file")),
            ("link/up/file", Some("real/deep/file")),
            ("absolute/file", Some("real/deep/file")),
            ("chain", Some("real/deep")),
            ("here", Some("")),
            ("here/here/link", Some("real")),
            ("over/deep", Some("real/deep")),
            ("a", None),
            ("dangling", None),
            ("real/deep/file/more", None),
        ] {
            assert_eq!(tree.resolve(path).as_deref(), leads, "{path}");
        }
        assert!(ContextTree::of([("a", Shape::Link("b")), ("a/x", Shape::Other)]).is_none());
    }
}
