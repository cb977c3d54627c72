//! What is told of a mount.

use crate::mounts::{Passed, Tally, TargetMount};
use crate::output::mounts::{Amount, MountOutcome, MountRecord};
use crate::store::Entry;

pub(super) fn amount(Tally { files, bytes }: Tally) -> Amount {
    Amount { files, bytes }
}

/// A mount of which nothing is known yet.
pub(super) fn record(mount: &TargetMount) -> MountRecord {
    let mut targets: Vec<String> = mount.uses.iter().map(|used| used.target.clone()).collect();
    targets.dedup();
    MountRecord {
        id: mount.id.to_string(),
        kind: mount.kind.to_string(),
        targets,
        lines: mount.uses.iter().map(|used| used.line).collect(),
        outcome: MountOutcome::Miss,
        entry: None,
        lane: None,
        created: None,
        kept: Amount::default(),
        moved: Amount::default(),
        used: None,
        added: None,
        packages_used: None,
        packages_added: None,
        trimmed: None,
        added_bytes: 0,
        reason: None,
    }
}

pub(super) fn passed(passed: &Passed) -> MountRecord {
    MountRecord {
        id: passed.used.target.clone(),
        kind: "plain".to_owned(),
        targets: vec![passed.used.target.clone()],
        lines: vec![passed.used.line],
        outcome: MountOutcome::Passed,
        entry: None,
        lane: None,
        created: None,
        kept: Amount::default(),
        moved: Amount::default(),
        used: None,
        added: None,
        packages_used: None,
        packages_added: None,
        trimmed: None,
        added_bytes: 0,
        reason: Some(passed.reason.to_owned()),
    }
}

pub(super) fn names(record: &mut MountRecord, entry: &Entry) {
    record.entry = Some(entry.id.hex());
    record.lane = Some(entry.manifest.address.lane.to_string());
    record.created = Some(entry.manifest.created);
    record.kept = Amount { files: entry.manifest.subject.files, bytes: entry.manifest.subject.bytes };
}
