//! The part of an image's file system that copies depend on: paths, links, and the attributes of directories.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::context::{Shape, follow};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// The permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The modification time in seconds since 1970.
    pub(crate) modified: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageNode {
    Directory(Attributes),
    /// A symbolic link and its target.
    Link(String),
    File,
}

impl ImageNode {
    pub(super) fn shape(&self) -> Shape<'_> {
        match self {
            Self::Directory(_) => Shape::Directory,
            Self::Link(target) => Shape::Link(target),
            Self::File => Shape::Other,
        }
    }
}

/// The nodes of an image by path, without a leading slash. The root is always a directory and has the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageTree(BTreeMap<String, ImageNode>);

impl Default for ImageTree {
    fn default() -> Self {
        let root = Attributes { mode: 0o755, uid: 0, gid: 0, modified: 0 };
        Self(BTreeMap::from([(String::new(), ImageNode::Directory(root))]))
    }
}

impl ImageTree {
    pub(crate) fn get(&self, path: &str) -> Option<&ImageNode> {
        self.0.get(path)
    }

    pub(crate) fn insert(&mut self, path: String, node: ImageNode) {
        self.0.insert(path, node);
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&str, &ImageNode)> {
        self.0.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Resolves the links in `path`, including one at its end.
    pub(crate) fn follow(&self, path: &str) -> Result<String, String> {
        follow_links(path, |path| self.get(path).map(ImageNode::shape))
    }
}

/// Resolves the links in `path`, including one at its end. Components that do not exist are not changed.
///
/// `BuildKit` resolves `..` lexically in paths that may still contain links (`containerd/continuity`, `RootPath`).
/// Therefore this fails if `path` goes through several links and the target of one of them contains `..`.
pub(super) fn follow_links<'a>(
    path: &str,
    shape: impl Fn(&str) -> Option<Shape<'a>>,
) -> Result<String, String> {
    let (links, leads_up) = (Cell::new(0), Cell::new(false));
    let followed = follow(path, |at| {
        let found = shape(at);
        if let Some(Shape::Link(target)) = found {
            links.set(links.get() + 1);
            leads_up.set(leads_up.get() || target.split('/').any(|part| part == ".."));
        }
        found
    });
    if links.get() > 1 && leads_up.get() {
        return Err(format!("`{path}` goes through several links, one of which contains `..`"));
    }
    followed.ok_or_else(|| format!("`{path}` goes through too many links"))
}
