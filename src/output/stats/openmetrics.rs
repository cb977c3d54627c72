//! `larder stats` in the `OpenMetrics` text format. Every metric is a gauge over the counted builds.

use std::fmt::Write as _;

use super::Stats;

pub(super) fn render(stats: &Stats<'_>) -> String {
    let Stats { sums, cache, .. } = stats;
    let mut text = String::new();
    let outcomes = [
        ("image-hit", sums.image_hits),
        ("built", sums.built),
        ("failed", sums.failed),
        ("interrupted", sums.interrupted),
    ];
    metric(&mut text, "larder_builds", "Builds that are counted, by outcome.");
    for (outcome, count) in outcomes {
        let _ = writeln!(text, "larder_builds{{outcome=\"{outcome}\"}} {count}");
    }
    metric(&mut text, "larder_steps", "RUN, COPY and ADD steps of successful builds.");
    for (state, count) in
        [("cached", sums.steps.cached), ("run", sums.steps.total.saturating_sub(sums.steps.cached))]
    {
        let _ = writeln!(text, "larder_steps{{state=\"{state}\"}} {count}");
    }
    #[expect(clippy::cast_precision_loss, reason = "a duration needs no more than 52 bits")]
    let seconds = |millis: u64| millis as f64 / 1000.0;
    #[expect(clippy::cast_precision_loss, reason = "a duration needs no more than 52 bits")]
    let saved = sums.saved_millis.map(|millis| millis as f64 / 1000.0);
    // A figure that is not known has no sample.
    let figures = [
        (
            "larder_image_hit_ratio",
            "Builds that were not needed because the image existed.",
            sums.image_hit_rate,
        ),
        ("larder_step_hit_ratio", "Steps that were cached.", sums.step_hit_rate),
        (
            "larder_step_time_hit_ratio",
            "Steps that were cached, weighted by their last known duration.",
            sums.time_weighted_hit_rate,
        ),
        (
            "larder_mount_hit_ratio",
            "Files of cache mounts that were used and not added.",
            sums.mount_hit_rate,
        ),
        ("larder_image_hit_seconds", "Median duration of an image hit.", sums.median_hit_millis.map(seconds)),
        ("larder_build_seconds", "Median duration of a build.", sums.median_built_millis.map(seconds)),
        (
            "larder_longest_restore_seconds",
            "Longest time that a build spent on taking what it used from the caches.",
            sums.longest_restore_millis.map(seconds),
        ),
        ("larder_saved_seconds", "Time saved by all builds for which that is known.", saved),
    ];
    for (name, help, value) in figures {
        if let Some(value) = value {
            metric(&mut text, name, help);
            let _ = writeln!(text, "{name} {value}");
        }
    }
    metric(&mut text, "larder_cache_bytes", "Size of the local cache.");
    let _ = writeln!(text, "larder_cache_bytes {}", cache.bytes_stored);
    text.push_str("# EOF\n");
    text
}

fn metric(text: &mut String, name: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
}
