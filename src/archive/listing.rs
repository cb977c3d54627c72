//! The listing of an entry: JSON, one object on each line, readable with `jq`. Does not check what the nodes mean.
//!
//! ```text
//!  {"schema":"larder.dir-listing.v1"}
//!  {"path":"a","kind":"directory","mode":"0755","uid":0,"gid":0,"mtime":[1772355164,0]}
//!  {"path":"a/b","kind":"file",…,"used":1772355170,"size":10,"at":0}
//!  {"path":"a/c","kind":"file",…,"size":1048576,"at":10,"data":[[0,4096],[65536,4096]]}
//!  {"path":"a/d","kind":"hard-link",…,"target":"a/b"}
//!  {"path_base64":"/w==","kind":"symlink",…,"target":"a/b","xattrs":{"user.x":"dmFsdWU="}}
//! ```
//!
//! The bytes of a file start at offset `at` of the entry's content and exclude its holes. `data` contains offset and
//! size of each part between the holes; it is absent if there are no holes.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::path;
use super::validate::{InvalidListing, ListingFault};

pub(crate) const SCHEMA: &str = "larder.dir-listing.v1";
/// The maximum number of nodes in a listing.
pub(crate) const MAX_NODES: usize = 10_000_000;

/// The nodes of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The nodes, sorted by path components, so that a directory comes before its children.
    pub nodes: Vec<Node>,
}

/// A file, directory or link of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub path: OsString,
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky; 0 for a hard link, whose mode is that of its target.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: NodeTime,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct NodeTime(pub(crate) i64, pub(crate) u32);

/// The kind of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory,
    /// A regular file.
    File(FileData),
    /// A symbolic link.
    Symlink {
        /// The text of the link, which is not resolved.
        target: OsString,
    },
    /// An additional name of a file.
    HardLink {
        /// The path of the file, which is listed earlier.
        target: OsString,
    },
}

/// The size of a file and the location of its bytes in the content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileData {
    /// The size in bytes, including holes.
    pub(crate) size: u64,
    /// The access time, in seconds since 1970.
    pub(crate) used: i64,
    /// The offset of the first byte in the entry's content.
    pub(crate) at: u64,
    /// Offset and size in the file of each part between holes; `None` if the file has no holes.
    pub(crate) data: Option<Vec<(u64, u64)>>,
    /// The number of consecutive builds that did not read the file; for cache mounts only.
    pub(crate) unused: u32,
    /// `true` if the content is a package, such as a wheel; for cache mounts only.
    pub(crate) package: bool,
}

impl NodeTime {
    /// Converts seconds and nanoseconds as the system returns them.
    pub(crate) fn of(seconds: i64, nanos: i64) -> Self {
        Self(seconds, u32::try_from(nanos).unwrap_or_default())
    }
}

impl Node {
    pub(crate) fn file(&self) -> Option<&FileData> {
        match &self.kind {
            NodeKind::File(file) => Some(file),
            _ => None,
        }
    }
}

impl FileData {
    /// Returns the number of bytes in the content, or `None` if the sum overflows.
    pub fn stored_bytes(&self) -> Option<u64> {
        match &self.data {
            None => Some(self.size),
            Some(data) => data.iter().try_fold(0_u64, |sum, (_, size)| sum.checked_add(*size)),
        }
    }

    /// Returns offset and size of each part between holes. A file without holes has one part, and an empty file has
    /// none.
    pub(crate) fn segments(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let dense = self.data.is_none().then_some((0, self.size)).filter(|(_, size)| *size > 0);
        dense.into_iter().chain(self.data.iter().flatten().copied())
    }
}

#[derive(Deserialize)]
struct ListingHeader {
    schema: String,
}

#[derive(Default, Serialize, Deserialize)]
struct NodeLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    kind: String,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: NodeTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Vec<(u64, u64)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unused: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    package: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target_base64: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
}

impl Listing {
    /// Encodes the listing as JSON lines.
    #[expect(clippy::missing_panics_doc, reason = "every field can be encoded as JSON")]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{{\"schema\":\"{SCHEMA}\"}}\n").into_bytes();
        for node in &self.nodes {
            serde_json::to_writer(&mut text, &NodeLine::of(node))
                .expect("every field can be encoded as JSON");
            text.push(b'\n');
        }
        text
    }

    /// Parses a listing and checks its format.
    ///
    /// # Errors
    ///
    /// Fails if the schema is unknown, if there are more than ten million nodes, or at the first malformed node.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidListing> {
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let malformed =
            |path: String, reason: String| InvalidListing { path, fault: ListingFault::Malformed(reason) };
        let head: ListingHeader = serde_json::from_slice(lines.next().unwrap_or_default())
            .map_err(|error| malformed("line 1".to_owned(), error.to_string()))?;
        if head.schema != SCHEMA {
            return Err(malformed("line 1".to_owned(), format!("the schema `{}` is unknown", head.schema)));
        }
        let mut nodes = Vec::new();
        for (number, line) in lines.enumerate() {
            let place = || format!("line {}", number + 2);
            if nodes.len() == MAX_NODES {
                return Err(InvalidListing { path: place(), fault: ListingFault::TooMany });
            }
            if !line.ends_with(b"\n") {
                return Err(malformed(place(), "the listing ends within this line".to_owned()));
            }
            let line: NodeLine =
                serde_json::from_slice(line).map_err(|error| malformed(place(), error.to_string()))?;
            nodes.push(line.into_node(place)?);
        }
        Ok(Self { nodes })
    }

    /// Returns the number of files and links, and the total size of all files in bytes.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let files = self.nodes.iter().filter(|node| node.kind != NodeKind::Directory);
        files.fold((0, 0), |(files, bytes), node| {
            (files + 1, bytes.saturating_add(node.file().map_or(0, |file| file.size)))
        })
    }

    /// Returns the node at `path`.
    pub fn find(&self, path: &OsStr) -> Option<&Node> {
        self.index_of(path).map(|index| &self.nodes[index])
    }

    pub(super) fn index_of(&self, path: &OsStr) -> Option<usize> {
        self.nodes.binary_search_by(|node| path::compare(&node.path, path)).ok()
    }
}

impl NodeLine {
    fn of(node: &Node) -> Self {
        let (path, path_base64) = path::to_text(&node.path);
        let encode = |(name, value): (&String, &Vec<u8>)| (name.clone(), STANDARD.encode(value));
        let mut line = Self {
            path,
            path_base64,
            kind: node.kind.name().to_owned(),
            mode: format!("{:04o}", node.mode),
            uid: node.uid,
            gid: node.gid,
            mtime: node.mtime,
            xattrs: node.xattrs.iter().map(encode).collect(),
            ..Self::default()
        };
        match &node.kind {
            NodeKind::Directory => {}
            NodeKind::File(file) => {
                line.used = Some(file.used);
                line.size = Some(file.size);
                line.at = Some(file.at);
                line.data.clone_from(&file.data);
                line.unused = Some(file.unused).filter(|unused| *unused > 0);
                line.package = file.package;
            }
            NodeKind::Symlink { target } | NodeKind::HardLink { target } => {
                (line.target, line.target_base64) = path::to_text(target);
            }
        }
        line
    }

    fn into_node(self, place: impl Fn() -> String) -> Result<Node, InvalidListing> {
        let path = path::from_text(self.path, self.path_base64).ok_or_else(|| {
            let reason = "exactly one of `path` and `path_base64` is required".to_owned();
            InvalidListing { path: place(), fault: ListingFault::Malformed(reason) }
        })?;
        let fail = |fault: ListingFault| InvalidListing { path: path::escaped(&path), fault };
        let malformed = |reason: String| fail(ListingFault::Malformed(reason));
        let lacks = |field: &str| malformed(format!("a {} has no {field}", self.kind));
        let target = || path::from_text(self.target.clone(), self.target_base64.clone());
        let kind = match self.kind.as_str() {
            "directory" => NodeKind::Directory,
            "file" => NodeKind::File(FileData {
                size: self.size.ok_or_else(|| lacks("size"))?,
                used: self.used.unwrap_or_default(),
                at: self.at.ok_or_else(|| lacks("offset"))?,
                data: self.data.clone(),
                unused: self.unused.unwrap_or_default(),
                package: self.package,
            }),
            "symlink" => NodeKind::Symlink { target: target().ok_or_else(|| lacks("target"))? },
            "hard-link" => NodeKind::HardLink { target: target().ok_or_else(|| lacks("target"))? },
            _ => return Err(fail(ListingFault::Kind(self.kind.clone()))),
        };
        let digits = self.mode.len() <= 5 && self.mode.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(&self.mode, 8).ok().filter(|mode| digits && *mode <= 0o7777);
        let mode = mode.ok_or_else(|| malformed(format!("`{}` is not a mode", self.mode)))?;
        let mut xattrs = BTreeMap::new();
        for (name, value) in &self.xattrs {
            let value = STANDARD.decode(value).map_err(|_| {
                malformed(format!("the value of attribute `{}` is not base64", name.escape_debug()))
            })?;
            xattrs.insert(name.clone(), value);
        }
        Ok(Node { kind, mode, uid: self.uid, gid: self.gid, mtime: self.mtime, xattrs, path })
    }
}

impl NodeKind {
    /// Returns the name of the kind in listings.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File(_) => "file",
            Self::Symlink { .. } => "symlink",
            Self::HardLink { .. } => "hard-link",
        }
    }
}
