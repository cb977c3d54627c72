//! The address of an entry: lane, kind, family and key.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::Lane;
use crate::digest::Digest;

/// The length above which [`path_name`] abbreviates a name.
const MAX_NAME_LENGTH: usize = 100;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// A whole image.
    Image,
    /// An image with the first layers of a different image. Both share the content of these layers.
    Prefix,
    /// The content of a cache mount.
    Mount,
    /// A directory of this machine.
    Dir,
}

impl EntryKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Prefix => "prefix",
            Self::Mount => "mount",
            Self::Dir => "dir",
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Everything that identifies an entry, except its age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    pub(crate) lane: Lane,
    pub kind: EntryKind,
    /// The group within which entries of one kind can substitute for each other: a directory's path or a mount's id.
    pub(crate) family: String,
    /// The digest of everything that the content depends on.
    pub(crate) key: Digest,
}

impl Address {
    /// Returns the prefix of all entries of `kind` and `family` in `lane`, without a trailing slash.
    pub(crate) fn directory_of(lane: &Lane, kind: EntryKind, family: &str) -> String {
        format!("entries/{}/{kind}/{}", path_name(&lane.to_string()), path_name(family))
    }

    pub(crate) fn directory(&self) -> String {
        Self::directory_of(&self.lane, self.kind, &self.family)
    }
}

/// Encodes a name as one path component that is valid on disks and in buckets.
///
/// Letters, digits, `-`, `_` and inner dots are kept. Other bytes become `~` and two hex digits. A long name is cut and
/// ends in a digest of the whole name.
pub(super) fn path_name(name: &str) -> String {
    let mut path = String::new();
    for (place, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && place > 0) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "~{byte:02x}");
        }
    }
    if path.len() > MAX_NAME_LENGTH {
        path.truncate(MAX_NAME_LENGTH - 33);
        let _ = write!(path, "~{}", &Digest::of(name.as_bytes()).hex()[..32]);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_paths_below_the_store() {
        let long = "x".repeat(300);
        let longer = "x".repeat(301);
        let names =
            ["main", "feature/x", "feature-x", "feature~2fx", "..", ".", "a.b", "ü", " ", &long, &longer];
        let paths: std::collections::BTreeSet<String> = names.iter().map(|name| path_name(name)).collect();
        assert_eq!(paths.len(), names.len());
        for path in &paths {
            assert!(!path.starts_with('.') && !path.contains('/') && path.len() <= MAX_NAME_LENGTH, "{path}");
        }
        assert_eq!(path_name("feature/x"), "feature~2fx");
    }
}
