//! Renders `larder stats`, the last builds and their sums, as text and JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::summary::{format_duration, outcome_text};
use super::table;
use super::table::Align::{Left, Right};
use crate::amounts::{count, size};
use crate::ledger::{BuildOutcome, BuildRecord, BuildStatistics};

const MAX_LISTED_BUILDS: usize = 10;

/// Serializes to the command's JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Stats<'a> {
    schema: &'static str,
    cache: CacheSize<'a>,
    sums: BuildStatistics,
    builds: &'a [BuildRecord],
}

#[derive(Debug, Serialize)]
struct CacheSize<'a> {
    directory: &'a Path,
    bytes_stored: u64,
}

impl<'a> Stats<'a> {
    /// Returns statistics of the `last` builds and of a cache of `bytes` in `directory`.
    pub(crate) fn new(builds: &'a [BuildRecord], last: usize, directory: &'a Path, bytes: u64) -> Self {
        Self {
            schema: "larder.stats.v1",
            cache: CacheSize { directory, bytes_stored: bytes },
            sums: BuildStatistics::of(builds, last),
            builds: &builds[builds.len().saturating_sub(last)..],
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self { cache, sums, builds, .. } = self;
        let size = size(cache.bytes_stored);
        let mut text = format!("Cache: {size} in {}\n", cache.directory.display());
        if builds.is_empty() {
            text.push_str("No build has been recorded yet\n");
            return text;
        }
        let _ = writeln!(
            text,
            "Builds: {} ({}, {} built, {} failed, {} interrupted)",
            sums.builds,
            count(sums.image_hits, "image hit", "image hits"),
            sums.built,
            sums.failed,
            sums.interrupted
        );
        let lines = [
            ("Image hit rate", sums.image_hit_rate.map(percent)),
            ("Step hit rate", sums.step_hit_rate.map(percent)),
            ("Time-weighted hit rate", sums.time_weighted_hit_rate.map(percent)),
            ("Mount hit rate", sums.mount_hit_rate.map(percent)),
            ("Median image hit", sums.median_hit_millis.map(format_duration)),
            ("Median build", sums.median_built_millis.map(format_duration)),
            ("Time saved", Some(signed_duration(sums.saved_millis))),
        ];
        for (label, value) in lines {
            let _ = writeln!(text, "{label}: {}", value.as_deref().unwrap_or("unknown"));
        }
        let listed = builds.len().min(MAX_LISTED_BUILDS);
        let _ = writeln!(text, "Last {}:", count(listed, "build", "builds"));
        let columns =
            [("started", Left), ("outcome", Left), ("steps cached", Right), ("time", Right), ("image", Left)];
        let rows: Vec<[String; 5]> =
            builds[builds.len().saturating_sub(MAX_LISTED_BUILDS)..].iter().map(row).collect();
        text.push_str(&table::render(columns, &rows));
        text
    }
}

fn row(build: &BuildRecord) -> [String; 5] {
    let steps = match build.outcome {
        BuildOutcome::ImageHit => "-".to_owned(),
        _ => format!("{}/{}", build.steps.cached, build.steps.total),
    };
    let started = build.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    [started, outcome_text(build), steps, format_duration(build.millis), build.names.join(", ")]
}

fn percent(rate: f64) -> String {
    format!("{:.1}%", rate * 100.0)
}

fn signed_duration(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    format!("{sign}{}", format_duration(millis.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::StepCountsRecord;

    #[test]
    fn statistics_are_rendered_as_text() {
        let built = BuildRecord {
            outcome: BuildOutcome::Built,
            names: vec!["app:1".to_owned()],
            steps: StepCountsRecord { total: 4, cached: 3, imported: 0 },
            millis: 61_530,
            ..BuildRecord::started(Timestamp::UNIX_EPOCH)
        };
        let hit = BuildRecord {
            outcome: BuildOutcome::ImageHit,
            hit_tier: Some("engine".to_owned()),
            millis: 31,
            ..built.clone()
        };
        let builds = [built, hit];
        insta::assert_snapshot!("two_builds", Stats::new(&builds, 20, Path::new("/cache"), 12_345).text());
        insta::assert_snapshot!("no_build", Stats::new(&[], 20, Path::new("/cache"), 0).text());
    }
}
