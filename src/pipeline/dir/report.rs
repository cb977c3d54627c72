//! The report on the save or restore of a directory.

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
    /// The entry of the key was restored.
    Hit,
    /// The newest entry of the directory was restored.
    Fallback,
    /// Nothing was restored or saved: there is no usable entry, or the cache failed.
    Miss,
    Saved,
    /// The entry of the key already has the content of the directory.
    Unchanged,
    /// Nothing was done because that could be harmful.
    Refused,
}

/// The result of a save or restore. Serializes to the JSON that users get.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DirReport {
    schema: &'static str,
    pub(crate) action: DirAction,
    pub(crate) outcome: DirOutcome,
    pub(crate) path: String,
    pub(crate) key: String,
    pub(crate) entry: Option<String>,
    pub(crate) lane: Option<String>,
    pub(crate) created: Option<Timestamp>,
    #[serde(flatten)]
    pub(crate) amounts: DirAmounts,
    pub(crate) reason: Option<String>,
    pub(crate) faults: Vec<FaultRecord>,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct DirAmounts {
    /// Files and links in the entry.
    pub(crate) files: u64,
    /// The size of the entry's files.
    pub(crate) bytes: u64,
    /// Files that were written to the entry or the directory.
    pub(crate) written: u64,
    /// Files that did not change.
    pub(crate) unchanged: u64,
    /// Files of the directory that were omitted from the entry.
    pub(crate) skipped: u64,
    pub(crate) added_bytes: u64,
}

impl DirReport {
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
