//! The report on the save or restore of a directory, whose JSON form is a stable interface.

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
    Hit,
    /// The newest entry of the directory was restored.
    Fallback,
    /// Nothing was restored or saved: there was no usable entry, or the cache failed.
    Miss,
    Saved,
    /// The entry of the key already had the content of the directory.
    Unchanged,
    /// Nothing was done because it could have lost or damaged files.
    Refused,
}

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
    /// The number of files and links in the entry.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) written: u64,
    pub(crate) unchanged: u64,
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
