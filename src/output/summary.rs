//! The summary at the end of a build.

use std::fmt::Write as _;
use std::time::Duration;

use super::table;
use super::table::Align::{Left, Right};
use crate::amounts::{count, size};
use crate::digest::shorten;
use crate::engine::PushProgress;
use crate::ledger::{
    BaseOutcome, BaseRecord, BuildOutcome, BuildRecord, LanesRecord, RemoteRecord, TierOutcome,
};

pub(crate) fn render(record: &BuildRecord) -> String {
    let rows: Vec<[String; 5]> = (record.tiers.iter())
        .map(|tier| {
            let outcome = match tier.outcome {
                TierOutcome::Hit => "hit",
                TierOutcome::Miss => "miss",
                TierOutcome::Skipped => "skipped",
            };
            let is_used = tier.outcome != TierOutcome::Skipped;
            [
                tier.tier.clone(),
                outcome.to_owned(),
                if tier.bytes == 0 { "-".to_owned() } else { size(tier.bytes) },
                if is_used { format_duration(tier.millis) } else { "-".to_owned() },
                tier.reason.clone(),
            ]
        })
        .collect();
    let columns = [("tier", Left), ("outcome", Left), ("bytes", Right), ("time", Right), ("why", Left)];
    let mut text = String::from("\nlarder\n");
    text.push_str(&table::render(columns, &rows));
    let steps = count(record.steps.total, "step", "steps");
    let steps = match record.outcome {
        BuildOutcome::ImageHit => format!("none of {steps} had to run"),
        _ => format!("{} of {steps} cached", record.steps.cached),
    };
    let (what, time) = (outcome_text(record), format_duration(record.millis));
    let _ = writeln!(text, "  {what} in {time}, {steps}");
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
    if let Some(BaseRecord { reference, outcome, millis, .. }) = &record.base {
        let how = match outcome {
            BaseOutcome::Found => "found",
            BaseOutcome::Built => "built",
        };
        let _ = writeln!(text, "  base {reference}, {how} in {}", format_duration(*millis));
    }
    if let Some(id) = &record.image_id {
        let names =
            if record.names.is_empty() { String::new() } else { format!(" as {}", record.names.join(", ")) };
        let _ = writeln!(text, "  {}{names}", shorten(id));
    }
    text
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
    use crate::ledger::{StepCountsRecord, TierRecord};

    fn tier(name: &str, outcome: TierOutcome, millis: u64, reason: &str) -> TierRecord {
        TierRecord { tier: name.into(), outcome, reason: reason.into(), bytes: 0, millis }
    }

    #[test]
    fn summaries_of_a_build_and_a_hit() {
        let mut record = BuildRecord {
            outcome: BuildOutcome::Built,
            image_id: Some(format!("sha256:{}", "0123456789".repeat(6))),
            names: vec!["app:1".to_owned()],
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
            steps: StepCountsRecord { total: 4, cached: 3, imported: 0 },
            tiers: vec![
                tier("engine", TierOutcome::Miss, 2, "no image of this key is known"),
                tier("layers", TierOutcome::Hit, 61_400, "3 of 4 steps cached"),
            ],
            millis: 61_530,
            ..BuildRecord::started(Timestamp::UNIX_EPOCH)
        };
        insta::assert_snapshot!("a_build", render(&record));
        record.outcome = BuildOutcome::ImageHit;
        record.remote = None;
        record.steps = StepCountsRecord { total: 4, cached: 4, imported: 0 };
        record.hit_tier = Some("engine".to_owned());
        record.millis = 31;
        record.tiers = vec![tier("engine", TierOutcome::Hit, 4, "the image is in the engine")];
        insta::assert_snapshot!("an_image_hit", render(&record));
    }
}
