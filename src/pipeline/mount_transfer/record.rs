//! Creates the records of mounts for reports.

use crate::mounts::{CacheKind, MountOutcome, MountReportEntry, SkippedMount, Tally, TargetMount};
use crate::store::Entry;

/// Returns the record of a mount that has not been saved or restored yet.
pub(super) fn record(mount: &TargetMount) -> MountReportEntry {
    let mut targets: Vec<String> = mount.uses.iter().map(|used| used.target.clone()).collect();
    targets.dedup();
    MountReportEntry {
        id: mount.id.to_string(),
        kind: mount.kind.to_string(),
        targets,
        lines: mount.uses.iter().map(|used| used.line).collect(),
        ..MountReportEntry::default()
    }
}

pub(super) fn skipped_record(passed: &SkippedMount) -> MountReportEntry {
    let target = passed.used.target.clone();
    MountReportEntry {
        id: target.clone(),
        kind: CacheKind::Other.to_string(),
        targets: vec![target],
        lines: vec![passed.used.line],
        outcome: MountOutcome::Passed,
        reason: Some(passed.reason.to_owned()),
        ..MountReportEntry::default()
    }
}

pub(super) fn set_entry(record: &mut MountReportEntry, entry: &Entry) {
    record.entry = Some(entry.id.hex());
    record.lane = Some(entry.manifest.address.lane.to_string());
    record.created = Some(entry.manifest.created);
    record.kept = Tally { files: entry.manifest.subject.files, bytes: entry.manifest.subject.bytes };
}
