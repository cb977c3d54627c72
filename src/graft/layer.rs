//! The changes that an instruction makes to the file system of an image. Reads no files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::accounts::FILES;
use super::tree::{Attributes, ImageNode, ImageTree, follow_links};
use crate::context::{Shape, parents};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileContent {
    Path { path: PathBuf, size: u64 },
    Text(String),
}

impl FileContent {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Path { size, .. } => *size,
            Self::Text(text) => text.len() as u64,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LayerChange {
    Directory(Attributes),
    Link(String, Attributes),
    /// A file by its number in [`LayerBuilder::contents`]; files with the same number are hard links.
    File(usize, Attributes),
}

impl LayerChange {
    fn node(&self) -> ImageNode {
        match self {
            Self::Directory(directory) => ImageNode::Directory(*directory),
            Self::Link(target, _) => ImageNode::Link(target.clone()),
            Self::File(..) => ImageNode::File,
        }
    }
}

/// The changes of an instruction, while they are being collected.
pub(crate) struct LayerBuilder<'a> {
    base: &'a ImageTree,
    pub(super) changes: BTreeMap<String, LayerChange>,
    pub(super) contents: Vec<FileContent>,
}

impl<'a> LayerBuilder<'a> {
    pub(super) fn new(base: &'a ImageTree) -> Self {
        Self { base, changes: BTreeMap::new(), contents: Vec::new() }
    }

    pub(super) fn get(&self, path: &str) -> Option<ImageNode> {
        self.changes.get(path).map(LayerChange::node).or_else(|| self.base.get(path).cloned())
    }

    pub(super) fn directory(&self, path: &str) -> Option<Attributes> {
        match self.get(path) {
            Some(ImageNode::Directory(directory)) => Some(directory),
            _ => None,
        }
    }

    /// Resolves the links in `path`, including one at its end. Fails if a parent of the result is not a directory.
    pub(super) fn follow(&self, path: &str) -> Result<String, String> {
        let shape = |path: &str| match self.changes.get(path) {
            Some(LayerChange::Directory(_)) => Some(Shape::Directory),
            Some(LayerChange::Link(target, _)) => Some(Shape::Link(target)),
            Some(LayerChange::File(..)) => Some(Shape::Other),
            None => self.base.get(path).map(ImageNode::shape),
        };
        let followed = follow_links(path, shape)?;
        let is_other = |parent: &&str| !matches!(self.get(parent), None | Some(ImageNode::Directory(_)));
        let other = parents(&followed).find(is_other).map(str::to_owned);
        other.map_or(Ok(followed), |parent| Err(format!("/{parent} is not a directory")))
    }

    /// Ensures that `path` and its parents are directories. Fails if something else exists there, or if engines would
    /// create one of the directories in different ways.
    pub(super) fn make_all(&mut self, path: &str, like: Attributes) -> Result<(), String> {
        let directories: Vec<&str> = parents(path).collect();
        let mut above = "";
        for directory in directories.into_iter().rev().chain([path]) {
            match self.get(directory) {
                Some(ImageNode::Directory(_)) => {}
                Some(_) => return Err(format!("/{directory} is not a directory")),
                // Up to Docker 28, the umask of the engine applies to new directories.
                None if like.mode & 0o022 != 0 => {
                    return Err(format!("the mode of the new directory /{directory} depends on the engine"));
                }
                None if self.directory(above).is_some_and(|above| above.mode & 0o2000 != 0) => {
                    return Err(format!("the new directory /{directory} would inherit its parent's group"));
                }
                None => self.put(directory.to_owned(), LayerChange::Directory(like)),
            }
            above = directory;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, path: String, change: LayerChange) {
        self.changes.insert(path, change);
    }

    /// Adds the unchanged directories above the changes, which the layers of an engine contain, too.
    ///
    /// Fails if a time is before 1970, because no form of it in a tar archive is understood by every engine.
    pub(super) fn finish(mut self) -> Result<FinishedLayer, String> {
        let above: BTreeSet<String> =
            self.changes.keys().flat_map(|path| parents(path).map(str::to_owned)).collect();
        for path in above {
            if let (None, Some(directory)) = (self.changes.get(&path), self.directory(&path)) {
                self.changes.insert(path, LayerChange::Directory(directory));
            }
        }
        let modified = |change: &LayerChange| match change {
            LayerChange::Directory(own) | LayerChange::Link(_, own) | LayerChange::File(_, own) => {
                own.modified
            }
        };
        if let Some((path, _)) = self.changes.iter().find(|(_, change)| modified(change) < 0) {
            return Err(format!("the time of /{path} is before 1970"));
        }
        Ok(FinishedLayer { changes: self.changes, contents: self.contents })
    }

    /// Returns why a layer that was made on an empty image (`--link`) differs from this one, or `None` if it does not.
    pub(super) fn difference_to_linked(&self, linked: &LayerBuilder<'_>) -> Option<String> {
        let differs = |path: &str| Some(format!("with --link, /{path} would be different"));
        for (path, change) in &linked.changes {
            let is_same = match (change, self.changes.get(path)) {
                (LayerChange::Directory(linked), _) => self
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

/// A layer with all changes of an instruction, and the directories above them.
pub(crate) struct FinishedLayer {
    pub(super) changes: BTreeMap<String, LayerChange>,
    pub(super) contents: Vec<FileContent>,
}

impl FinishedLayer {
    pub(crate) fn apply_to(&self, tree: &mut ImageTree) {
        for (path, change) in &self.changes {
            tree.insert(path.clone(), change.node());
        }
    }

    /// Returns `true` if the layer may change the users and groups of the image.
    pub(crate) fn changes_accounts(&self) -> bool {
        FILES.iter().any(|file| {
            self.changes.contains_key(*file)
                || parents(file).any(|parent| matches!(self.changes.get(parent), Some(LayerChange::Link(..))))
        })
    }

    /// Returns the total size of the files in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.contents.iter().map(FileContent::size).sum()
    }
}
