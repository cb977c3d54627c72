//! The report of saving or restoring cache mounts: one record for each mount, for text output, JSON and the ledger.

use jiff::Timestamp;
use serde::Serialize;

use super::Tally;
use crate::store::FaultRecord;

/// What was requested for cache mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MountAction {
    List,
    Restore,
    Save,
}

/// The result of an action for one mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MountOutcome {
    /// There is a usable entry, which was restored if that was requested.
    Hit,
    /// There is no usable entry.
    Miss,
    Saved,
    /// The store has the same entry already.
    Unchanged,
    /// The mount is empty.
    Empty,
    /// The mount was not saved, because it has far less content than the earlier entry.
    Refused,
    /// The mount cannot be saved and restored.
    Passed,
}

/// The record of one mount.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MountReportEntry {
    /// The identity in BuildKit.
    pub(crate) id: String,
    /// The kind of cache: `pip`, `apt`, …, `plain`.
    pub(crate) kind: String,
    /// The targets in RUN instructions.
    pub(crate) targets: Vec<String>,
    /// The lines of these instructions in the Dockerfile.
    pub(crate) lines: Vec<usize>,
    pub(crate) outcome: MountOutcome,
    pub(crate) entry: Option<String>,
    /// The lane of the entry.
    pub(crate) lane: Option<String>,
    /// When the entry was saved.
    pub(crate) created: Option<Timestamp>,
    /// The content of the entry.
    pub(crate) kept: Tally,
    /// The files that were sent to the builder or read from it.
    pub(crate) moved: Tally,
    /// The files that existed before and that the build used; `None` if the builder does not record access times.
    pub(crate) used: Option<Tally>,
    /// The files that the build added.
    pub(crate) added: Option<Tally>,
    /// Packages, such as wheels, that the build used from the mount; `None` if `used` is `None`.
    pub(crate) packages_used: Option<Tally>,
    /// Packages that the build added.
    pub(crate) packages_added: Option<Tally>,
    /// The files that were left out of the entry, because they are unused or the entry would be too large.
    pub(crate) trimmed: Option<Tally>,
    /// Bytes that the entry added to the store.
    pub(crate) added_bytes: u64,
    /// Why there is no hit, or why nothing was saved.
    pub(crate) reason: Option<String>,
}

/// All mounts of a build; serialized as the JSON output.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MountsReport {
    schema: &'static str,
    pub(crate) action: MountAction,
    /// The mounts, in the order of the Dockerfile.
    pub(crate) mounts: Vec<MountReportEntry>,
    /// Warnings about settings and commands that make mounts useless.
    pub(crate) warnings: Vec<String>,
    /// Errors of the cache.
    pub(crate) faults: Vec<FaultRecord>,
    /// The duration in milliseconds.
    pub(crate) millis: u64,
}

impl MountsReport {
    /// Creates an empty report.
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

impl MountReportEntry {
    /// Creates the record of a mount without an entry.
    pub(crate) fn new(id: String, kind: String, targets: Vec<String>, lines: Vec<usize>) -> Self {
        Self {
            id,
            kind,
            targets,
            lines,
            outcome: MountOutcome::Miss,
            entry: None,
            lane: None,
            created: None,
            kept: Tally::default(),
            moved: Tally::default(),
            used: None,
            added: None,
            packages_used: None,
            packages_added: None,
            trimmed: None,
            added_bytes: 0,
            reason: None,
        }
    }
}
