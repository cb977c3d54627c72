//! `larder stats` as text.

use std::fmt::Write as _;

use super::{Stats, cached_steps, origin, signed_duration, transferred};
use crate::amounts::{count, size};
use crate::ledger::{BuildRecord, TierOutcome, TierRecord};
use crate::output::summary::{format_duration, outcome_text};
use crate::output::table;
use crate::output::table::Align::{Left, Right};

const MAX_LISTED_BUILDS: usize = 10;

pub(super) fn render(stats: &Stats<'_>) -> String {
    let Stats { cache, sums, builds, .. } = stats;
    let mut text = format!("Cache: {} in {}\n", size(cache.bytes_stored), cache.directory.display());
    let Some(last) = builds.last() else {
        text.push_str("No build has been recorded yet\n");
        return text;
    };
    let _ = writeln!(
        text,
        "Builds: {} ({}, {} built, {} failed, {} interrupted)",
        sums.builds,
        count(sums.image_hits, "image hit", "image hits"),
        sums.built,
        sums.failed,
        sums.interrupted
    );
    for (label, value) in stats.figures() {
        let _ = writeln!(text, "{label}: {}", value.as_deref().unwrap_or("unknown"));
    }
    for trend in &stats.trends {
        let _ = writeln!(text, "Trend: {}", trend.text);
    }
    let listed = builds.len().min(MAX_LISTED_BUILDS);
    let _ = writeln!(text, "Last {}:", count(listed, "build", "builds"));
    let columns = [
        ("started", Left),
        ("build", Left),
        ("outcome", Left),
        ("steps cached", Right),
        ("time", Right),
        ("saved", Right),
        ("image", Left),
    ];
    let rows: Vec<[String; 7]> = builds[builds.len() - listed..].iter().map(row).collect();
    text.push_str(&table::render(columns, &rows));
    text.push_str("Tiers of the last build:\n");
    let columns = [
        ("tier", Left),
        ("outcome", Left),
        ("bytes", Right),
        ("time", Right),
        ("saving", Right),
        ("spared", Right),
        ("why", Left),
    ];
    let rows: Vec<[String; 7]> = last.tiers.iter().map(tier_row).collect();
    text.push_str(&table::render(columns, &rows));
    text
}

fn row(build: &BuildRecord) -> [String; 7] {
    let started = build.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let saved = build.saved_millis().map_or_else(|| "unknown".to_owned(), signed_duration);
    let time = format_duration(build.millis);
    [started, origin(build), outcome_text(build), cached_steps(build), time, saved, build.names.join(", ")]
}

fn tier_row(tier: &TierRecord) -> [String; 7] {
    let outcome = match tier.outcome {
        TierOutcome::Hit => "hit",
        TierOutcome::Miss => "miss",
        TierOutcome::Skipped => "skipped",
    };
    let dash = || "-".to_owned();
    let is_used = tier.outcome != TierOutcome::Skipped;
    [
        tier.tier.clone(),
        outcome.to_owned(),
        transferred(tier.bytes),
        if is_used { format_duration(tier.millis) } else { dash() },
        if tier.saving_millis > 0 { format_duration(tier.saving_millis) } else { dash() },
        tier.spared_millis.map_or_else(dash, format_duration),
        tier.reason.clone(),
    ]
}
