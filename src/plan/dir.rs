//! What `larder dir` is to do, resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A directory and the key of its entry.
#[derive(Debug, Clone)]
pub(crate) struct DirSettings {
    /// As typed.
    pub(crate) path: PathBuf,
    /// What entries of the directory have in common.
    pub(crate) family: String,
    /// Names and patterns of the files that the key is made of.
    pub(crate) key_files: Vec<String>,
    /// The user's own inputs of the key.
    pub(crate) key_extra: BTreeMap<String, String>,
    /// A cache at fault fails the command.
    pub(crate) strict: bool,
}

/// `larder dir save`, resolved.
#[derive(Debug, Clone)]
pub(crate) struct DirSaveSettings {
    pub(crate) dir: DirSettings,
    /// Bytes that the entry may have.
    pub(crate) max_size: Option<u64>,
    /// Save whatever is left of the directory.
    pub(crate) allow_shrink: bool,
}

/// `larder dir restore`, resolved.
#[derive(Debug, Clone)]
pub(crate) struct DirRestoreSettings {
    pub(crate) dir: DirSettings,
    /// The newest entry of the family will do.
    pub(crate) fallback: bool,
    /// Links may lead out of the directory.
    pub(crate) outside_links: bool,
}
