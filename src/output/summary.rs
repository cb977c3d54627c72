//! The summary at the end of a build.

use std::fmt::Write as _;
use std::time::Duration;

use crate::amounts::{count, size};
use crate::digest::shorten;
use crate::engine::PushProgress;
use crate::ledger::{
    BaseOutcome, BaseRecord, BuildOutcome, BuildRecord, LanesRecord, MountRecord, RemoteRecord,
    StepCountsRecord, TierOutcome, TierRecord,
};

/// A difference of less than this many milliseconds is not reported.
const WORTH_MENTIONING: u64 = 100;

/// Renders the end of a build: how long it took, what it would have taken, and what each tier did for it. A tier that did
/// nothing has no line.
pub(crate) fn render(record: &BuildRecord) -> String {
    let mut text = format!("\nlarder\n  {}\n", headline(record));
    if let Some(first) = record.changes.first().filter(|_| record.outcome != BuildOutcome::ImageHit) {
        let more = match record.changes.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        let _ = writeln!(text, "  because {first}{more}");
    }
    if let Some(reason) = &record.no_key {
        let _ = writeln!(text, "  no image is a hit: {reason}");
    }
    let rows = rows(record);
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    for (label, row) in &rows {
        let _ = writeln!(text, "  {label:<width$}  {row}");
    }
    if let Some(lanes) = &record.lanes {
        let LanesRecord { own, own_from, trunk, trunk_from } = lanes;
        let trunk = trunk.join(" or ");
        let _ = writeln!(text, "  lane {own} ({own_from}), trunk {trunk} ({trunk_from})");
    }
    if let Some(RemoteRecord { place, fault }) = &record.remote {
        let _ = writeln!(
            text,
            "  {place} failed: {fault}; the next save or `larder cache push` sends the missing entries"
        );
    }
    if let Some(id) = &record.image_id {
        let names =
            if record.names.is_empty() { String::new() } else { format!(" as {}", record.names.join(", ")) };
        let _ = writeln!(text, "  {}{names}", shorten(id));
    }
    text
}

/// Returns the outcome, the duration, and how that compares with a build without larder.
pub(crate) fn headline(record: &BuildRecord) -> String {
    let mut text = format!("{} in {}", outcome_text(record), format_duration(record.millis));
    let saving = record.saving_millis();
    if saving >= WORTH_MENTIONING {
        let _ = write!(text, ", {} of it for saving", format_duration(saving));
    }
    match record.saved_millis() {
        _ if matches!(record.outcome, BuildOutcome::Failed | BuildOutcome::Interrupted) => {}
        None => text.push_str("; the time saved is not known"),
        Some(saved) if saved.unsigned_abs() < WORTH_MENTIONING => {
            text.push_str("; it would have taken as long without larder");
        }
        Some(saved) => {
            let than = if saved < 0 { "slower" } else { "faster" };
            let saved = format_duration(saved.unsigned_abs());
            let _ = write!(text, "; {saved} {than} than without larder");
        }
    }
    text
}

/// Returns a labelled line for the steps, for each tier that did something, and for what was saved.
pub(crate) fn rows(record: &BuildRecord) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if let Some(BaseRecord { reference, outcome, millis, .. }) = &record.base {
        let how = match outcome {
            BaseOutcome::Found => "found",
            BaseOutcome::Built => "built",
        };
        rows.push(("base".to_owned(), format!("{reference}, {how} in {}", format_duration(*millis))));
    }
    let StepCountsRecord { total, cached, .. } = record.steps;
    let steps = match record.outcome {
        BuildOutcome::ImageHit => format!("none of {total} had to run"),
        _ => format!("{cached} of {total} cached"),
    };
    if total > 0 {
        rows.push(("steps".to_owned(), steps));
    }
    let is_shown = |tier: &&TierRecord| match tier.tier.as_str() {
        _ if tier.failed && tier.outcome != TierOutcome::Hit || tier.loses_time => true,
        _ if tier.outcome != TierOutcome::Hit => false,
        // Steps that the builder itself had cached are in the line above.
        "layers" => record.steps.imported > 0,
        // An image that was in the engine was not transferred.
        "engine" => false,
        // The builder had what the mounts need.
        "mounts" => tier.bytes > 0,
        _ => true,
    };
    rows.extend(record.tiers.iter().filter(is_shown).map(|tier| (tier.tier.clone(), tier_row(record, tier))));
    let saved = saved(record);
    if !saved.is_empty() {
        rows.push(("saved".to_owned(), saved.join(", ")));
    }
    rows
}

fn tier_row(record: &BuildRecord, tier: &TierRecord) -> String {
    if tier.failed && tier.outcome != TierOutcome::Hit {
        return format!("failed: {}", tier.reason);
    }
    // The line above has the number of cached steps.
    let without_count = tier.reason.split_once("; ").filter(|_| tier.tier == "layers").map(|(_, more)| more);
    if tier.loses_time {
        let loss = without_count.unwrap_or(&tier.reason);
        return format!("not used: {loss} (--tiers overrules this)");
    }
    let mut parts = vec![without_count.unwrap_or(&tier.reason).to_owned()];
    if tier.tier == "mounts" {
        let sum = |packages: fn(&MountRecord) -> Option<u64>| -> u64 {
            record.mounts.iter().filter_map(packages).sum()
        };
        let (used, added) = (sum(|mount| mount.used_packages), sum(|mount| mount.added_packages));
        if used + added > 0 {
            parts.push(format!("{} used, {added} added", count(used, "package", "packages")));
        }
    }
    let time = format_duration(tier.millis);
    parts.push(if tier.bytes > 0 { format!("{} in {time}", size(tier.bytes)) } else { format!("in {time}") });
    let spared = tier.spared_millis.filter(|spared| *spared > 0);
    parts.extend(spared.map(|spared| format!("spared {}", format_duration(spared))));
    parts.join(", ")
}

/// Returns what the build has saved for later builds.
fn saved(record: &BuildRecord) -> Vec<String> {
    let mut saved = Vec::new();
    let mounts: u64 = record.tiers.iter().map(|tier| tier.saved_bytes).sum();
    if mounts > 0 {
        saved.push(format!("{} of cache mounts", size(mounts)));
    }
    if let Some(archived) = &record.kept {
        saved.push(format!("the image ({} added)", size(archived.added_bytes)));
    }
    if let Some(exported) = &record.kept_layers {
        saved.push(format!("its layers as {}", exported.references.join(" and ")));
    }
    saved
}

pub(super) fn outcome_text(record: &BuildRecord) -> String {
    match (record.outcome, record.hit_tier.as_deref()) {
        (BuildOutcome::ImageHit, tier) => format!("image hit ({})", tier.unwrap_or("?")),
        (BuildOutcome::Built, _) => "built".to_owned(),
        (BuildOutcome::Failed, _) => "failed".to_owned(),
        (BuildOutcome::Interrupted, _) => "interrupted".to_owned(),
    }
}

pub(crate) fn pushed_message(name: &str, progress: PushProgress, elapsed: Duration) -> String {
    let PushProgress { sent, present } = progress;
    let seconds = elapsed.as_secs_f64();
    let sent = count(sent, "layer", "layers");
    format!("pushed {name} in {seconds:.1}s: {sent} sent, {present} already there\n")
}

/// Formats a duration: `12ms`, `3.4s`, `2m 05s`.
pub(crate) fn format_duration(millis: u64) -> String {
    let seconds = Duration::from_millis(millis).as_secs();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{}.{}s", seconds, millis % 1000 / 100),
        _ => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::{ArchivedImageRecord, Phase, PhaseRecord};

    fn tier(name: &str, outcome: TierOutcome, millis: u64, reason: &str) -> TierRecord {
        TierRecord { millis, ..TierRecord::new(name, outcome, reason) }
    }

    #[test]
    fn summaries_of_a_build_and_a_hit() {
        let phase = PhaseRecord::new;
        let layers = TierRecord {
            bytes: 124_000_000,
            spared_millis: Some(21_000),
            ..tier("layers", TierOutcome::Hit, 3_210, "3 of 4 steps cached; 2 of them from shop:cache")
        };
        let mounts = TierRecord {
            bytes: 181_000_000,
            saved_bytes: 12_000_000,
            ..tier("mounts", TierOutcome::Hit, 640, "1 of 1 restored")
        };
        let pip = MountRecord {
            used_packages: Some(42),
            added_packages: Some(1),
            ..MountRecord::of("/root/.cache/pip".to_owned(), "/root/.cache/pip", "pip")
        };
        let loss = "it cost 31.0s and spared 2.5s in the last 12 builds that used it";
        let mut record = BuildRecord {
            outcome: BuildOutcome::Built,
            image_id: Some(format!("sha256:{}", "0123456789".repeat(6))),
            names: vec!["app:1".to_owned()],
            changes: vec!["requirements.txt: pandas 2.1.4 → 2.2.0".to_owned(), "app.py changed".to_owned()],
            lanes: Some(LanesRecord {
                own: "pr-7".to_owned(),
                own_from: "CHANGE_ID".to_owned(),
                trunk: vec!["main".to_owned(), "master".to_owned()],
                trunk_from: "not known".to_owned(),
            }),
            remote: Some(RemoteRecord {
                place: "s3://cache/v1".to_owned(),
                fault: "it answered 403 Forbidden (AccessDenied: Access Denied)".to_owned(),
            }),
            steps: StepCountsRecord { total: 4, cached: 3, imported: 2 },
            tiers: vec![
                tier("engine", TierOutcome::Miss, 2, "no image of this key is known"),
                TierRecord { loses_time: true, ..tier("archive", TierOutcome::Skipped, 0, loss) },
                layers,
                mounts,
            ],
            mounts: vec![pip],
            kept: Some(ArchivedImageRecord {
                entry: "0123".to_owned(),
                bytes: 400_000_000,
                added_bytes: 9_000_000,
                millis: 2_000,
            }),
            phases: vec![phase(Phase::Solve, 0, 30_000), phase(Phase::Save, 30_000, 4_000)],
            millis: 34_100,
            without_millis: Some(52_000),
            ..BuildRecord::started(Timestamp::UNIX_EPOCH)
        };
        insta::assert_snapshot!("a_build", render(&record));
        record.without_millis = None;
        record.steps.imported = 0;
        record.mounts.clear();
        record.tiers.truncate(2);
        insta::assert_snapshot!("a_build_of_unknown_worth", render(&record));
        record.outcome = BuildOutcome::ImageHit;
        (record.remote, record.kept, record.phases) = (None, None, Vec::new());
        record.steps = StepCountsRecord { total: 4, cached: 4, imported: 0 };
        record.hit_tier = Some("engine".to_owned());
        (record.millis, record.without_millis) = (31, Some(900));
        record.tiers = vec![tier("engine", TierOutcome::Hit, 4, "the image is in the engine")];
        insta::assert_snapshot!("an_image_hit", render(&record));
    }

    #[test]
    fn a_loss_is_reported_and_a_small_difference_is_not() {
        let headline = |millis, without| {
            headline(&BuildRecord {
                outcome: BuildOutcome::Built,
                millis,
                without_millis: Some(without),
                ..BuildRecord::started(Timestamp::UNIX_EPOCH)
            })
        };
        assert_eq!(headline(5_000, 3_800), "built in 5.0s; 1.2s slower than without larder");
        assert_eq!(headline(5_000, 4_950), "built in 5.0s; it would have taken as long without larder");
        assert_eq!(headline(100, 2_000), "built in 100ms; 1.9s faster than without larder");
    }
}
