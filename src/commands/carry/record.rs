//! What is told of a mount.

use crate::mounts::{Kind, Passed, Tally, TargetMount};
use crate::output::mounts::{Amount, CarriedMount, MountOutcome};
use crate::store::Entry;

pub(super) fn amount(Tally { files, bytes }: Tally) -> Amount {
    Amount { files, bytes }
}

/// A mount of which nothing is known yet.
pub(super) fn record(mount: &TargetMount) -> CarriedMount {
    let mut targets: Vec<String> = mount.uses.iter().map(|used| used.target.clone()).collect();
    targets.dedup();
    let lines = mount.uses.iter().map(|used| used.line).collect();
    CarriedMount::new(mount.id.to_string(), mount.kind.to_string(), targets, lines)
}

/// A mount that is not carried.
pub(super) fn passed(passed: &Passed) -> CarriedMount {
    let target = passed.used.target.clone();
    CarriedMount {
        outcome: MountOutcome::Passed,
        reason: Some(passed.reason.to_owned()),
        ..CarriedMount::new(target.clone(), Kind::Plain.to_string(), vec![target], vec![passed.used.line])
    }
}

/// Tells which entry there is of a mount.
pub(super) fn names(record: &mut CarriedMount, entry: &Entry) {
    record.entry = Some(entry.id.hex());
    record.lane = Some(entry.manifest.address.lane.to_string());
    record.created = Some(entry.manifest.created);
    record.kept = Amount { files: entry.manifest.subject.files, bytes: entry.manifest.subject.bytes };
}
