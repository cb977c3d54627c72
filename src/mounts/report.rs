//! The report of saving or restoring cache mounts: one record for each mount, for text output, JSON and the ledger.

use jiff::Timestamp;
use serde::Serialize;

use super::Tally;
use crate::store::FaultRecord;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MountAction {
    List,
    Restore,
    Save,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MountOutcome {
    /// There is a usable entry, which was restored if that was requested.
    Hit,
    #[default]
    Miss,
    Saved,
    Unchanged,
    Empty,
    /// The mount was not saved, because it has far less content than the earlier entry.
    Refused,
    Passed,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct MountReportEntry {
    /// The identity in BuildKit.
    pub(crate) id: String,
    /// The kind of cache: `pip`, `apt`, …, `plain`.
    pub(crate) kind: String,
    pub(crate) targets: Vec<String>,
    pub(crate) lines: Vec<usize>,
    pub(crate) outcome: MountOutcome,
    pub(crate) entry: Option<String>,
    pub(crate) lane: Option<String>,
    pub(crate) created: Option<Timestamp>,
    /// The content of the entry.
    pub(crate) kept: Tally,
    /// The files that were sent to the builder or read from it.
    pub(crate) moved: Tally,
    /// The files that existed before and that the build used; `None` if the builder does not record access times.
    pub(crate) used: Option<Tally>,
    pub(crate) added: Option<Tally>,
    /// The modification time of the oldest added file, in seconds since 1970.
    #[serde(skip)]
    pub(crate) oldest_added: Option<i64>,
    /// Packages, such as wheels, that the build used from the mount; `None` if `used` is `None`.
    pub(crate) packages_used: Option<Tally>,
    pub(crate) packages_added: Option<Tally>,
    /// The files that were left out of the entry, because they are unused or the entry would be too large.
    pub(crate) trimmed: Option<Tally>,
    pub(crate) added_bytes: u64,
    /// Why there is no hit, or why nothing was saved.
    pub(crate) reason: Option<String>,
}

/// All mounts of a build; serialized as the JSON output.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MountsReport {
    schema: &'static str,
    pub(crate) action: MountAction,
    pub(crate) mounts: Vec<MountReportEntry>,
    pub(crate) warnings: Vec<String>,
    pub(crate) faults: Vec<FaultRecord>,
    pub(crate) millis: u64,
}

impl MountsReport {
    pub(crate) fn new(action: MountAction) -> Self {
        Self {
            schema: "larder.mounts.v1",
            action,
            mounts: Vec::new(),
            warnings: Vec::new(),
            faults: Vec::new(),
            millis: 0,
        }
    }
}
