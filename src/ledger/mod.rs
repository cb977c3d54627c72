//! The ledger: the history of builds. Each build is one JSON object, which is appended to a file and never changed.
//!
//! An unreadable line is skipped and counted. [`appraise`] estimates what a build was worth, [`BuildStatistics`] sums up
//! several builds.

mod file;
mod judge;
mod record;
mod shared;
mod statistics;
mod trend;
mod worth;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use file::{append, read};
pub(crate) use judge::{Loss, loss};
pub(crate) use record::{
    ArchivedImageRecord, BaseOutcome, BaseRecord, BuildOutcome, BuildRecord, CiJobRecord,
    ExportedLayersRecord, LanesRecord, MountRecord, MountState, Phase, PhaseRecord, Prediction, RemoteRecord,
    SolveRecord, StepCountsRecord, StepEntry, TierOutcome, TierRecord,
};
pub(crate) use shared::{MAX_PACKED_SIZE, SharedScope, pack, unknown_builds, unpack};
pub(crate) use statistics::BuildStatistics;
pub(crate) use trend::{Figure, Trend, trends};
pub(crate) use worth::{History, appraise};

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the ledger {}", .path.display())]
pub(crate) struct LedgerError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// The builds, oldest first.
    pub(crate) builds: Vec<BuildRecord>,
    /// The number of lines that could not be read.
    pub(crate) unreadable: usize,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_record_can_be_read() {
        let mut record = serde_json::to_value(BuildRecord::for_tests("a")).unwrap();
        record["added_later"] = serde_json::json!({ "files": 3 });
        let read: BuildRecord = serde_json::from_value(record.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), record);
    }
}
