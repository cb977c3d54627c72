//! A layer in the making: what an instruction changes in the file system of an image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::accounts::FILES;
use super::refusal::Refusal;
use super::tree::{Attributes, Node, Tree, follow_links};
use crate::context::parents;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A file of this machine.
    Path {
        path: PathBuf,
        size: u64,
    },
    Text(String),
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Path { size, .. } => *size,
            Self::Text(text) => text.len() as u64,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Directory(Attributes),
    Link(String, Attributes),
    /// A file by its number in [`Layer::contents`]; files with the same number are hard links.
    File(usize, Attributes),
}

/// What an instruction changes.
pub(crate) struct Layer<'a> {
    base: &'a Tree,
    pub(super) changes: BTreeMap<String, Change>,
    pub(super) contents: Vec<Content>,
}

impl<'a> Layer<'a> {
    pub(super) fn new(base: &'a Tree) -> Self {
        Self { base, changes: BTreeMap::new(), contents: Vec::new() }
    }

    pub(super) fn get(&self, path: &str) -> Option<Node> {
        match self.changes.get(path) {
            Some(Change::Directory(directory)) => Some(Node::Directory(*directory)),
            Some(Change::Link(target, _)) => Some(Node::Link(target.clone())),
            Some(Change::File(..)) => Some(Node::File),
            None => self.base.get(path).cloned(),
        }
    }

    pub(super) fn directory(&self, path: &str) -> Option<Attributes> {
        match self.get(path) {
            Some(Node::Directory(directory)) => Some(directory),
            _ => None,
        }
    }

    /// Follows the links on `path`, including one at its end.
    pub(super) fn follow(&self, path: &str) -> Result<String, String> {
        let shape = |path: &str| match self.changes.get(path) {
            Some(Change::Directory(_)) => Some(crate::context::Shape::Directory),
            Some(Change::Link(target, _)) => Some(crate::context::Shape::Link(target)),
            Some(Change::File(..)) => Some(crate::context::Shape::Other),
            None => self.base.get(path).map(Node::shape),
        };
        let followed = follow_links(path, shape)?;
        let is_other = |parent: &&str| !matches!(self.get(parent), None | Some(Node::Directory(_)));
        let other = parents(&followed).find(is_other).map(str::to_owned);
        other.map_or(Ok(followed), |parent| Err(format!("/{parent} is not a directory")))
    }

    /// Ensures that `path` and its parents are directories. Returns an error if something else is there.
    pub(super) fn make_all(&mut self, path: &str, like: Attributes) -> Result<(), String> {
        let ways: Vec<&str> = parents(path).collect();
        let mut above = "";
        for way in ways.into_iter().rev().chain([path]) {
            match self.get(way) {
                Some(Node::Directory(_)) => {}
                Some(_) => return Err(format!("/{way} is not a directory")),
                // Up to Docker 28, the umask of the engine applies.
                None if like.mode & 0o022 != 0 => {
                    return Err(format!("engines do not agree on the mode of the new directory /{way}"));
                }
                None if self.directory(above).is_some_and(|above| above.mode & 0o2000 != 0) => {
                    return Err(format!("the new directory /{way} would get the group of the one above it"));
                }
                None => self.put(way.to_owned(), Change::Directory(like)),
            }
            above = way;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, path: String, change: Change) {
        self.changes.insert(path, change);
    }

    /// Adds the directories above the changes as they are, which is what a layer of an engine contains.
    ///
    /// Fails if a time is before 1970, for which archives have no form that every engine reads.
    pub(super) fn finish(mut self) -> Result<FinishedLayer, String> {
        let above: BTreeSet<String> =
            self.changes.keys().flat_map(|path| parents(path).map(str::to_owned)).collect();
        for path in above {
            if let (None, Some(directory)) = (self.changes.get(&path), self.directory(&path)) {
                self.changes.insert(path, Change::Directory(directory));
            }
        }
        let modified = |change: &Change| match change {
            Change::Directory(own) | Change::Link(_, own) | Change::File(_, own) => own.modified,
        };
        if let Some((path, _)) = self.changes.iter().find(|(_, change)| modified(change) < 0) {
            return Err(format!("the time of /{path} is before 1970"));
        }
        Ok(FinishedLayer { changes: self.changes, contents: self.contents })
    }

    /// Returns the reason for which a layer that was made on an empty image (`--link`) differs from this one.
    pub(super) fn difference_to_linked(&self, linked: &Layer<'_>) -> Option<String> {
        let differs = |path: &str| Some(format!("--link would make /{path} differently"));
        for (path, change) in &linked.changes {
            let is_same = match (change, self.changes.get(path)) {
                (Change::Directory(linked), _) => self
                    .directory(path)
                    .is_some_and(|own| (own.mode, own.uid, own.gid) == (linked.mode, linked.uid, linked.gid)),
                (_, Some(own)) => change == own,
                (_, None) => false,
            };
            if !is_same {
                return differs(path);
            }
        }
        self.changes.keys().find(|path| !linked.changes.contains_key(*path)).and_then(|path| differs(path))
    }
}

/// A complete layer.
pub(crate) struct FinishedLayer {
    pub(super) changes: BTreeMap<String, Change>,
    pub(super) contents: Vec<Content>,
}

impl FinishedLayer {
    /// Changes a tree to that of the image with the layer.
    pub(crate) fn apply_to(&self, tree: &mut Tree) {
        for (path, change) in &self.changes {
            let node = match change {
                Change::Directory(directory) => Node::Directory(*directory),
                Change::Link(target, _) => Node::Link(target.clone()),
                Change::File(..) => Node::File,
            };
            tree.insert(path.clone(), node);
        }
    }

    /// Returns `true` if it changes who the users are.
    pub(crate) fn changes_accounts(&self) -> bool {
        FILES.iter().any(|file| {
            self.changes.contains_key(*file)
                || parents(file).any(|parent| matches!(self.changes.get(parent), Some(Change::Link(..))))
        })
    }

    /// Returns the size in bytes of the files.
    pub(crate) fn size(&self) -> u64 {
        self.contents.iter().map(Content::size).sum()
    }
}

/// Returns a refusal of an instruction.
pub(super) fn refused(line: usize) -> impl Fn(String) -> Refusal {
    move |what| Refusal::at(line, what)
}
