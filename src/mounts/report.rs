//! What carrying cache mounts came to: one record per mount, for people, for programs and for the ledger.

use jiff::Timestamp;
use serde::Serialize;

use super::Tally;
use crate::store::FaultRecord;

/// What was to be done with cache mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MountAction {
    /// To list them.
    List,
    /// To bring them into the builder.
    Restore,
    /// To keep what the builder has.
    Save,
}

/// What became of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MountOutcome {
    /// There is an entry of it; restored where that was to be done.
    Hit,
    /// There is none, or it cannot be used.
    Miss,
    /// Saved.
    Saved,
    /// The store has just that.
    Unchanged,
    /// There is nothing in it.
    Empty,
    /// Not saved since far less is in it than before.
    Refused,
    /// It is not carried.
    Passed,
}

/// One mount.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CarriedMount {
    /// What BuildKit knows it by.
    pub(crate) id: String,
    /// Whose cache it is: `pip`, `apt`, …, `plain`.
    pub(crate) kind: String,
    /// Where RUNs mount it.
    pub(crate) targets: Vec<String>,
    /// The lines of those RUNs in the Dockerfile.
    pub(crate) lines: Vec<usize>,
    /// What became of it.
    pub(crate) outcome: MountOutcome,
    /// The entry.
    pub(crate) entry: Option<String>,
    /// The entry's lane.
    pub(crate) lane: Option<String>,
    /// When the entry was saved.
    pub(crate) created: Option<Timestamp>,
    /// What the entry holds.
    pub(crate) kept: Tally,
    /// What was sent to the builder, or read from it.
    pub(crate) moved: Tally,
    /// What the build used of what was there before; `None` where the builder does not note what is read.
    pub(crate) used: Option<Tally>,
    /// What the build added.
    pub(crate) added: Option<Tally>,
    /// Packages, such as wheels, that the build took from the mount; `None` as for `used`.
    pub(crate) packages_used: Option<Tally>,
    /// Packages that the build added.
    pub(crate) packages_added: Option<Tally>,
    /// What is left out of the entry: nobody used it, or it would be too large.
    pub(crate) trimmed: Option<Tally>,
    /// Bytes that the entry added to the store.
    pub(crate) added_bytes: u64,
    /// Why there is no hit, or why nothing is saved.
    pub(crate) reason: Option<String>,
}

/// All mounts of a build; serializes to its JSON.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MountsReport {
    schema: &'static str,
    /// What was to be done.
    pub(crate) action: MountAction,
    /// The mounts, in the order of the Dockerfile.
    pub(crate) mounts: Vec<CarriedMount>,
    /// What keeps mounts from being of use, for people.
    pub(crate) warnings: Vec<String>,
    /// What the cache did wrong.
    pub(crate) faults: Vec<FaultRecord>,
    /// How long it took.
    pub(crate) millis: u64,
}

impl MountsReport {
    /// A report on which nothing is known yet.
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

impl CarriedMount {
    /// A record of which nothing is known yet but what is mounted, and where.
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
