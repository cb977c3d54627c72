//! Checks a whole listing before anything is written.
//!
//! Pure. In a valid listing, each path is listed once, in order, below a directory of the listing. The bytes of its
//! files are within the content, and no byte is in two files. No node is below a link, and no link leads outside unless
//! that is allowed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::listing::{FileData, Listing, MOST_NODES, Node, NodeKind, Time};
use super::{STAGING, path};

/// The limit of a listing, in bytes.
pub(crate) const LARGEST_LISTING: u64 = 1 << 30;
/// The limit of a file including holes, in bytes.
const LARGEST_FILE: u64 = 1 << 40;
/// The limits of a name and of a path, in bytes.
const LONGEST_NAME: usize = 255;
const LONGEST_PATH: usize = 4095;

/// The limits of a listing.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the entry's content.
    pub content: u64,
    /// `true` if links may lead out of the directory.
    pub outside_links: bool,
}

/// An invalid listing; nothing is restored from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct Refused {
    /// The path of a node, or a line of the listing.
    pub(crate) path: String,
    pub(crate) fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// A line is not a valid node.
    #[error("{0}")]
    Malformed(String),
    /// The kind is not file, directory or link.
    #[error("`{0}` is no kind that is restored")]
    Kind(String),
    #[error("the path is absolute")]
    Absolute,
    #[error("the path has an empty name")]
    Empty,
    #[error("the path has `.` or `..` in it")]
    Dots,
    #[error("a zero byte stands in it")]
    Nul,
    #[error("the name is too long")]
    LongName,
    /// The path is that of a staging directory.
    #[error("the name is larder's own")]
    Reserved,
    /// The path was listed already, or out of order.
    #[error("it is listed twice or out of order")]
    Order,
    /// The parent was not listed as a directory.
    #[error("no directory of the list is its parent")]
    Parent,
    /// The target of a hard link is not a file that is listed earlier.
    #[error("the hard link's target `{0}` is no file listed before it")]
    HardLink(String),
    #[error("the link leads out of the directory, to `{0}`")]
    LeadsOut(String),
    #[error("the link has no target")]
    NoTarget,
    /// The nanoseconds are out of range.
    #[error("the time is none")]
    Time,
    /// The name of an extended attribute is invalid.
    #[error("`{0}` is no name of an attribute")]
    Attribute(String),
    #[error("{0} bytes are more than a file may have")]
    TooLarge(u64),
    /// The parts between holes overlap or exceed the file.
    #[error("the parts of the file overlap or do not lie in it")]
    Segments,
    /// The bytes of a file exceed the content.
    #[error("its bytes do not lie in the content")]
    OutsideContent,
    /// A byte belongs to two files.
    #[error("its bytes are those of `{0}`, too")]
    Shared(String),
    #[error("the list has more than {MOST_NODES} nodes")]
    TooMany,
    #[error("the list has {0} bytes, more than {LARGEST_LISTING}")]
    LargeListing(u64),
}

impl Listing {
    /// Checks the whole listing.
    ///
    /// # Errors
    ///
    /// Fails at the first invalid node.
    pub fn validate(&self, limits: Limits) -> Result<(), Refused> {
        if self.nodes.len() > MOST_NODES {
            return Err(Refused { path: String::new(), fault: Fault::TooMany });
        }
        // The directories on the path to the current node.
        let mut parents: Vec<&OsStr> = Vec::new();
        let mut before: Option<&OsStr> = None;
        for (place, node) in self.nodes.iter().enumerate() {
            let check = || {
                check_path(&node.path)?;
                if before.is_some_and(|before| path::order(before, &node.path).is_ge()) {
                    return Err(Fault::Order);
                }
                if node.mtime.1 >= 1_000_000_000 {
                    return Err(Fault::Time);
                }
                for name in node.xattrs.keys() {
                    if name.is_empty() || name.len() > LONGEST_NAME || name.contains('\0') {
                        return Err(Fault::Attribute(name.escape_debug().to_string()));
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
                return Err(node.refused(Fault::Parent));
            }
            if node.kind == NodeKind::Directory {
                parents.push(&node.path);
            }
            before = Some(&node.path);
        }
        self.check_shared()
    }

    /// Checks that no byte of the content is in two files, so that a small entry cannot become a large directory.
    fn check_shared(&self) -> Result<(), Refused> {
        let mut spans: Vec<(u64, u64, &Node)> = Vec::new();
        for node in &self.nodes {
            if let NodeKind::File(file) = &node.kind
                && let Some(stored @ 1..) = file.stored()
            {
                spans.push((file.at, stored, node));
            }
        }
        spans.sort_by_key(|(at, ..)| *at);
        for pair in spans.windows(2) {
            let [(at, stored, one), (next, _, other)] = pair else { continue };
            if at.saturating_add(*stored) > *next {
                return Err(other.refused(Fault::Shared(path::shown(&one.path))));
            }
        }
        Ok(())
    }
}

impl Node {
    fn refused(&self, fault: Fault) -> Refused {
        Refused { path: path::shown(&self.path), fault }
    }
}

fn check_path(path: &OsStr) -> Result<(), Fault> {
    let bytes = path.as_bytes();
    if bytes.starts_with(b"/") {
        return Err(Fault::Absolute);
    }
    if bytes.contains(&0) {
        return Err(Fault::Nul);
    }
    if bytes.len() > LONGEST_PATH {
        return Err(Fault::LongName);
    }
    for name in path::components(path) {
        match name.as_bytes() {
            b"" => return Err(Fault::Empty),
            b"." | b".." => return Err(Fault::Dots),
            name if name.len() > LONGEST_NAME => return Err(Fault::LongName),
            _ => {}
        }
    }
    if bytes.starts_with(STAGING.as_bytes()) { Err(Fault::Reserved) } else { Ok(()) }
}

fn check_kind(node: &Node, before: &[Node], limits: Limits) -> Result<(), Fault> {
    match &node.kind {
        NodeKind::Directory => Ok(()),
        NodeKind::File(file) => check_file(file, limits),
        NodeKind::Symlink { target } => {
            check_target(target)?;
            if !limits.outside_links && leads_out(&node.path, target) {
                return Err(Fault::LeadsOut(path::shown(target)));
            }
            Ok(())
        }
        NodeKind::HardLink { target } => {
            let found = before.binary_search_by(|node| path::order(&node.path, target));
            match found.map(|place| &before[place].kind) {
                Ok(NodeKind::File(_)) => Ok(()),
                _ => Err(Fault::HardLink(path::shown(target))),
            }
        }
    }
}

fn check_target(target: &OsStr) -> Result<(), Fault> {
    match target.as_bytes() {
        b"" => Err(Fault::NoTarget),
        bytes if bytes.contains(&0) => Err(Fault::Nul),
        bytes if bytes.len() > LONGEST_PATH => Err(Fault::LongName),
        _ => Ok(()),
    }
}

fn check_file(file: &FileData, limits: Limits) -> Result<(), Fault> {
    if file.size > LARGEST_FILE {
        return Err(Fault::TooLarge(file.size));
    }
    let mut end = 0;
    for (offset, size) in file.segments() {
        let behind = offset.checked_add(size).filter(|behind| *behind <= file.size);
        match behind {
            Some(behind) if offset >= end && size > 0 => end = behind,
            _ => return Err(Fault::Segments),
        }
    }
    let stored = file.stored().ok_or(Fault::Segments)?;
    let within = file.at.checked_add(stored).is_some_and(|end| end <= limits.content);
    if within || stored == 0 { Ok(()) } else { Err(Fault::OutsideContent) }
}

/// Returns `true` if the link at `path` leads out of the directory, by its text alone.
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

impl Time {
    /// Converts seconds and nanoseconds as the system returns them.
    pub(crate) fn of(seconds: i64, nanos: i64) -> Self {
        Self(seconds, u32::try_from(nanos).unwrap_or_default())
    }
}
