//! Checks a whole listing before anything is restored from it.
//!
//! Pure. In a valid listing, each path is listed once, in order, after its parent directory. The bytes of each file are
//! within the content, and no byte belongs to two files. No node is below a link, and no link leads out of the
//! directory unless that is allowed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::listing::{FileData, Listing, MAX_NODES, Node, NodeKind};
use super::{STAGING, path};

/// The maximum size of a listing, in bytes.
pub(crate) const LARGEST_LISTING: u64 = 1 << 30;
/// The maximum size of a file including holes, in bytes.
const LARGEST_FILE: u64 = 1 << 40;
/// In bytes, as in Linux.
const LONGEST_NAME: usize = 255;
pub(super) const LONGEST_PATH: usize = 4095;

/// What a valid listing may contain.
#[derive(Debug, Clone, Copy)]
pub struct ListingLimits {
    /// The size of the entry's content, in bytes.
    pub content: u64,
    /// `true` if links may lead out of the directory.
    pub outside_links: bool,
}

/// An invalid node of a listing. Nothing is restored from the listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct InvalidListing {
    /// The path of the node, or a line of the listing.
    pub(crate) path: String,
    pub(crate) fault: ListingFault,
}

/// The reason why a node of a listing is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListingFault {
    #[error("{0}")]
    Malformed(String),
    #[error("unknown kind `{0}`")]
    Kind(String),
    #[error("the path is absolute")]
    Absolute,
    #[error("the path contains an empty name")]
    Empty,
    #[error("the path contains `.` or `..`")]
    Dots,
    #[error("the path or its target contains a zero byte")]
    Nul,
    #[error("the path or a name in it is too long")]
    LongName,
    #[error("the name is reserved for staging directories")]
    Reserved,
    #[error("the path is listed twice or out of order")]
    Order,
    #[error("its parent is not listed as a directory")]
    Parent,
    #[error("the target `{0}` of the hard link is not a file listed before it")]
    HardLink(String),
    #[error("the link leads out of the directory, to `{0}`")]
    LeadsOut(String),
    #[error("the link has no target")]
    NoTarget,
    #[error("the nanoseconds of its modification time are out of range")]
    Time,
    #[error("`{0}` is not a valid attribute name")]
    Attribute(String),
    #[error("its size of {0} bytes exceeds the limit")]
    TooLarge(u64),
    #[error("its data ranges overlap, are empty or exceed its size")]
    Segments,
    #[error("its bytes are not within the content of the entry")]
    OutsideContent,
    #[error("its bytes also belong to `{0}`")]
    Shared(String),
    #[error("the listing contains more than {MAX_NODES} nodes")]
    TooMany,
    #[error("the listing has {0} bytes, more than the limit of {LARGEST_LISTING}")]
    LargeListing(u64),
}

impl Listing {
    /// Checks all nodes.
    ///
    /// # Errors
    ///
    /// Fails at the first invalid node.
    pub fn validate(&self, limits: ListingLimits) -> Result<(), InvalidListing> {
        if self.nodes.len() > MAX_NODES {
            return Err(InvalidListing { path: String::new(), fault: ListingFault::TooMany });
        }
        // The directories on the path to the current node.
        let mut parents: Vec<&OsStr> = Vec::new();
        let mut before: Option<&OsStr> = None;
        for (place, node) in self.nodes.iter().enumerate() {
            let check = || {
                check_path(&node.path)?;
                if before.is_some_and(|before| path::compare(before, &node.path).is_ge()) {
                    return Err(ListingFault::Order);
                }
                if node.mtime.1 >= 1_000_000_000 {
                    return Err(ListingFault::Time);
                }
                for name in node.xattrs.keys() {
                    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
                        return Err(ListingFault::Attribute(name.escape_debug().to_string()));
                    }
                }
                check_kind(node, &self.nodes[..place], limits)
            };
            check().map_err(|fault| node.refused(fault))?;
            let parent = path::split(&node.path).0;
            while parents.last().is_some_and(|last| *last != parent) {
                parents.pop();
            }
            if parents.is_empty() && !parent.is_empty() {
                return Err(node.refused(ListingFault::Parent));
            }
            if node.kind == NodeKind::Directory {
                parents.push(&node.path);
            }
            before = Some(&node.path);
        }
        self.check_overlaps()
    }

    /// Checks that no byte of the content belongs to two files. Otherwise a small entry could become a large directory.
    fn check_overlaps(&self) -> Result<(), InvalidListing> {
        let mut spans: Vec<(u64, u64, &Node)> = Vec::new();
        for node in &self.nodes {
            if let Some(file) = node.file()
                && let Some(stored @ 1..) = file.stored_bytes()
            {
                spans.push((file.at, stored, node));
            }
        }
        spans.sort_by_key(|(at, ..)| *at);
        for pair in spans.windows(2) {
            let [(at, stored, one), (next, _, other)] = pair else { continue };
            if at.saturating_add(*stored) > *next {
                return Err(other.refused(ListingFault::Shared(path::escaped(&one.path))));
            }
        }
        Ok(())
    }
}

impl Node {
    fn refused(&self, fault: ListingFault) -> InvalidListing {
        InvalidListing { path: path::escaped(&self.path), fault }
    }
}

fn check_path(path: &OsStr) -> Result<(), ListingFault> {
    let bytes = path.as_bytes();
    if bytes.starts_with(b"/") {
        return Err(ListingFault::Absolute);
    }
    if bytes.contains(&0) {
        return Err(ListingFault::Nul);
    }
    if bytes.len() > LONGEST_PATH {
        return Err(ListingFault::LongName);
    }
    for name in path::components(path) {
        match name.as_bytes() {
            b"" => return Err(ListingFault::Empty),
            b"." | b".." => return Err(ListingFault::Dots),
            name if name.len() > LONGEST_NAME => return Err(ListingFault::LongName),
            _ => {}
        }
    }
    if bytes.starts_with(STAGING.as_bytes()) { Err(ListingFault::Reserved) } else { Ok(()) }
}

fn check_kind(node: &Node, before: &[Node], limits: ListingLimits) -> Result<(), ListingFault> {
    match &node.kind {
        NodeKind::Directory => Ok(()),
        NodeKind::File(file) => check_file(file, limits),
        NodeKind::Symlink { target } => match target.as_bytes() {
            b"" => Err(ListingFault::NoTarget),
            bytes if bytes.contains(&0) => Err(ListingFault::Nul),
            bytes if bytes.len() > LONGEST_PATH => Err(ListingFault::LongName),
            _ if limits.outside_links || !leads_out(&node.path, target) => Ok(()),
            _ => Err(ListingFault::LeadsOut(path::escaped(target))),
        },
        NodeKind::HardLink { target } => {
            let found = before.binary_search_by(|node| path::compare(&node.path, target));
            match found.map(|place| &before[place].kind) {
                Ok(NodeKind::File(_)) => Ok(()),
                _ => Err(ListingFault::HardLink(path::escaped(target))),
            }
        }
    }
}

fn check_file(file: &FileData, limits: ListingLimits) -> Result<(), ListingFault> {
    if file.size > LARGEST_FILE {
        return Err(ListingFault::TooLarge(file.size));
    }
    let mut end = 0;
    for (offset, size) in file.segments() {
        let behind = offset.checked_add(size).filter(|behind| *behind <= file.size);
        match behind {
            Some(behind) if offset >= end && size > 0 => end = behind,
            _ => return Err(ListingFault::Segments),
        }
    }
    let stored = file.stored_bytes().ok_or(ListingFault::Segments)?;
    let within = file.at.checked_add(stored).is_some_and(|end| end <= limits.content);
    if within || stored == 0 { Ok(()) } else { Err(ListingFault::OutsideContent) }
}

/// Returns `true` if the link at `path` leads out of the directory, judging by its text alone.
pub(super) fn leads_out(path: &OsStr, target: &OsStr) -> bool {
    if target.as_bytes().starts_with(b"/") {
        return true;
    }
    let mut depth = path::components(path).count() - 1;
    for name in path::components(target) {
        match name.as_bytes() {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}
