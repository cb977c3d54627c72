//! Operations on the paths of an entry: bytes, separated by slashes, relative to the directory. Does not access the
//! file system.
//!
//! Paths need not be UTF-8. JSON therefore has two fields: `path` for text, and `path_base64` otherwise.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Compares paths by component, the order of an entry's nodes: a directory comes right before its content.
pub(crate) fn compare(one: &OsStr, other: &OsStr) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    one.as_bytes().iter().map(rank).cmp(other.as_bytes().iter().map(rank))
}

/// Splits a path into its parent, which is empty at the top, and its last component.
pub(crate) fn split(path: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (OsStr::from_bytes(&bytes[..slash]), OsStr::from_bytes(&bytes[slash + 1..])),
        None => (OsStr::new(""), path),
    }
}

pub(crate) fn components(path: &OsStr) -> impl Iterator<Item = &OsStr> {
    path.as_bytes().split(|byte| *byte == b'/').map(OsStr::from_bytes)
}

pub(crate) fn join(directory: &OsStr, name: &OsStr) -> OsString {
    if directory.is_empty() {
        return name.to_owned();
    }
    let mut path = OsString::with_capacity(directory.len() + 1 + name.len());
    path.push(directory);
    path.push("/");
    path.push(name);
    path
}

/// Formats a path on a single line for messages.
pub(crate) fn escaped(path: &OsStr) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Returns the path as text, or in base64 if it is not UTF-8: exactly one of the two is `Some`.
pub(super) fn to_text(path: &OsStr) -> (Option<String>, Option<String>) {
    match path.to_str() {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(STANDARD.encode(path.as_bytes()))),
    }
}

/// Returns the path from either text or base64. Returns `None` if both or neither are given, or if the base64 is
/// invalid.
pub(super) fn from_text(text: Option<String>, base64: Option<String>) -> Option<OsString> {
    match (text, base64) {
        (Some(text), None) => Some(OsString::from(text)),
        (None, Some(base64)) => STANDARD.decode(base64).ok().map(OsString::from_vec),
        _ => None,
    }
}
