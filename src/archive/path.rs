//! Paths of an entry: bytes, separated by slashes, relative to the directory.
//!
//! They need not be UTF-8, so JSON has two fields for one: `path` for text,
//! `path_base64` for anything else.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The order of an entry's nodes: by component, so that a directory comes right before what is in it.
pub(crate) fn order(one: &OsStr, other: &OsStr) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    one.as_bytes().iter().map(rank).cmp(other.as_bytes().iter().map(rank))
}

/// The directory that a path stands in, empty at the top, and its name there.
pub(crate) fn split(path: &OsStr) -> (&OsStr, &OsStr) {
    let bytes = path.as_bytes();
    match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (OsStr::from_bytes(&bytes[..slash]), OsStr::from_bytes(&bytes[slash + 1..])),
        None => (OsStr::new(""), path),
    }
}

/// The components of a path.
pub(crate) fn components(path: &OsStr) -> impl Iterator<Item = &OsStr> {
    path.as_bytes().split(|byte| *byte == b'/').map(OsStr::from_bytes)
}

/// The path of `name` in `directory`.
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

/// A path as people read it, on one line.
pub(crate) fn shown(path: &OsStr) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// The text of a path, or its bytes in base64 where it is none.
pub(super) fn to_text(path: &OsStr) -> (Option<String>, Option<String>) {
    match path.to_str() {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(STANDARD.encode(path.as_bytes()))),
    }
}

/// The path that just one of text and base64 gives.
pub(super) fn of_text(text: Option<String>, base64: Option<String>) -> Option<OsString> {
    match (text, base64) {
        (Some(text), None) => Some(OsString::from(text)),
        (None, Some(base64)) => STANDARD.decode(base64).ok().map(OsString::from_vec),
        _ => None,
    }
}
