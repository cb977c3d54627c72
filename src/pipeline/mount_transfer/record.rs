//! Creates the records of mounts for reports.

use crate::mounts::{CacheKind, MountOutcome, MountReportEntry, SkippedMount, Tally, TargetMount};
use crate::store::Entry;

/// Returns the record of a mount that has not been saved or restored yet.
pub(super) fn record(mount: &TargetMount) -> MountReportEntry {
    let mut targets: Vec<String> = mount.uses.iter().map(|used| used.target.clone()).collect();
    targets.dedup();
    let lines = mount.uses.iter().map(|used| used.line).collect();
    MountReportEntry::new(mount.id.to_string(), mount.kind.to_string(), targets, lines)
}

pub(super) fn skipped_record(passed: &SkippedMount) -> MountReportEntry {
    let target = passed.used.target.clone();
    MountReportEntry {
        outcome: MountOutcome::Passed,
        reason: Some(passed.reason.to_owned()),
        ..MountReportEntry::new(
            target.clone(),
            CacheKind::Other.to_string(),
            vec![target],
            vec![passed.used.line],
        )
    }
}

pub(super) fn set_entry(record: &mut MountReportEntry, entry: &Entry) {
    record.entry = Some(entry.id.hex());
    record.lane = Some(entry.manifest.address.lane.to_string());
    record.created = Some(entry.manifest.created);
    record.kept = Tally { files: entry.manifest.subject.files, bytes: entry.manifest.subject.bytes };
}
