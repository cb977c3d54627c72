//! The resolved settings of `larder dir`.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, Clone)]
pub(crate) struct DirSettings {
    pub(crate) path: PathBuf,
    /// The common name of all entries of the directory.
    pub(crate) family: String,
    /// Names and patterns of the files in the key.
    pub(crate) key_files: Vec<String>,
    pub(crate) key_extra: BTreeMap<String, String>,
    /// `true` if cache failures fail the command.
    pub(crate) strict: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct DirSaveSettings {
    pub(crate) dir: DirSettings,
    /// In bytes.
    pub(crate) max_size: Option<u64>,
    pub(crate) allow_shrink: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct DirRestoreSettings {
    pub(crate) dir: DirSettings,
    /// `true` if the newest entry of the family may be restored.
    pub(crate) fallback: bool,
    pub(crate) outside_links: bool,
}
