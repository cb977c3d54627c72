//! The resolved settings of `larder dir`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A directory and the key of its entry.
#[derive(Debug, Clone)]
pub(crate) struct DirSettings {
    /// The path as given.
    pub(crate) path: PathBuf,
    /// The common name of all entries of the directory.
    pub(crate) family: String,
    /// Names and patterns of the files in the key.
    pub(crate) key_files: Vec<String>,
    /// User-defined inputs of the key.
    pub(crate) key_extra: BTreeMap<String, String>,
    /// `true` if cache failures fail the command.
    pub(crate) strict: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct DirSaveSettings {
    pub(crate) dir: DirSettings,
    /// In bytes.
    pub(crate) max_size: Option<u64>,
    /// `true` if the directory is saved even if it has shrunk.
    pub(crate) allow_shrink: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct DirRestoreSettings {
    pub(crate) dir: DirSettings,
    /// `true` if the newest entry of the family may be restored.
    pub(crate) fallback: bool,
    /// `true` if links may point outside the directory.
    pub(crate) outside_links: bool,
}
