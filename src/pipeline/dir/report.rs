//! What became of a directory that was to be saved or restored.

use jiff::Timestamp;
use serde::Serialize;

use crate::store::FaultRecord;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirAction {
    Save,
    Restore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirOutcome {
    /// Restored from the entry of this key.
    Hit,
    /// Restored from the newest entry of the directory.
    Fallback,
    /// Not restored, or not saved: there is no entry that can be used, or the cache is at fault.
    Miss,
    Saved,
    /// The entry of this key already has the content of the directory.
    Unchanged,
    /// Not done because it could do harm.
    Refused,
}

/// The result of a save or restore; serializes to the JSON that users get.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DirReport {
    schema: &'static str,
    pub(crate) action: DirAction,
    pub(crate) outcome: DirOutcome,
    /// The directory, as typed.
    pub(crate) path: String,
    pub(crate) key: String,
    /// The entry's id.
    pub(crate) entry: Option<String>,
    /// The entry's lane.
    pub(crate) lane: Option<String>,
    /// When the entry was saved.
    pub(crate) created: Option<Timestamp>,
    #[serde(flatten)]
    pub(crate) amounts: DirAmounts,
    /// Why there is no hit.
    pub(crate) reason: Option<String>,
    /// What the cache did wrong.
    pub(crate) faults: Vec<FaultRecord>,
    /// How long it took.
    pub(crate) millis: u64,
}

/// Numbers of files, and their bytes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct DirAmounts {
    /// Files and links of the entry.
    pub(crate) files: u64,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Files that were written into the entry or the directory.
    pub(crate) written: u64,
    /// Files that were left as they are.
    pub(crate) unchanged: u64,
    /// Files of the directory that are not in the entry though they could be.
    pub(crate) skipped: u64,
    /// Bytes that the entry added to the store.
    pub(crate) added_bytes: u64,
}

impl DirReport {
    /// Returns a report on the directory typed as `path`, with this key and no result yet.
    pub(crate) fn new(action: DirAction, path: String, key: String) -> Self {
        Self {
            schema: "larder.dir.v1",
            action,
            outcome: DirOutcome::Miss,
            path,
            key,
            entry: None,
            lane: None,
            created: None,
            amounts: DirAmounts::default(),
            reason: None,
            faults: Vec::new(),
            millis: 0,
        }
    }
}
