//! What is left out of an entry that may not grow beyond a size: the least recently used files.
//!
//! Pure. What belongs together goes together: the names of one file, and the
//! header and body that pip keeps of a response (`X` and `X.body`).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::listing::NodeKind;
use super::walk::Found;

/// What was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Files, each counted once.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Files that stay or go together.
#[derive(Debug, Default)]
struct Group<'a> {
    used: i64,
    bytes: u64,
    files: Vec<&'a OsStr>,
}

/// Leaves out files until the rest has no more than `limit` bytes; `by_use` says that times of use are kept.
///
/// The least recently used go first; where use is not kept, the least recently modified.
pub fn trim(found: &mut Vec<Found>, limit: u64, by_use: bool) -> Trimmed {
    let mut groups: BTreeMap<&OsStr, Group<'_>> = BTreeMap::new();
    let paths: BTreeSet<&OsStr> = found.iter().map(|found| found.node.path.as_os_str()).collect();
    let mut total = 0_u64;
    for one in found.iter() {
        if let Some(file) = one.file() {
            let path = one.node.path.as_os_str();
            let head = path.as_bytes().strip_suffix(b".body").map(OsStr::from_bytes);
            let group = groups.entry(head.filter(|head| paths.contains(head)).unwrap_or(path)).or_default();
            // Holes are not kept; but some file systems do not tell what a file takes.
            let bytes = if one.allocated == 0 { file.size } else { file.size.min(one.allocated) };
            let used = if by_use { file.used.max(one.node.mtime.0) } else { one.node.mtime.0 };
            group.used = group.used.max(used);
            group.bytes = group.bytes.saturating_add(bytes);
            group.files.push(path);
            total = total.saturating_add(bytes);
        }
    }
    let mut order: Vec<(&OsStr, Group<'_>)> = groups.into_iter().collect();
    order
        .sort_by(|(one, a), (other, b)| a.used.cmp(&b.used).then(b.bytes.cmp(&a.bytes)).then(one.cmp(other)));
    let mut gone: BTreeSet<OsString> = BTreeSet::new();
    let mut trimmed = Trimmed::default();
    for (_, group) in order {
        if total <= limit {
            break;
        }
        if group.bytes == 0 {
            continue;
        }
        total = total.saturating_sub(group.bytes);
        trimmed.files += group.files.len() as u64;
        trimmed.bytes += group.bytes;
        gone.extend(group.files.into_iter().map(OsStr::to_owned));
    }
    found.retain(|one| match &one.node.kind {
        NodeKind::File(_) => !gone.contains(&one.node.path),
        NodeKind::HardLink { target } => !gone.contains(target),
        _ => true,
    });
    trimmed
}
