//! The most important figures of the selected builds.

use crate::amounts::{count, size};
use crate::output::stats::{Stats, Threshold, signed_duration};
use crate::output::summary::format_duration;

const UNKNOWN: &str = "unknown";

/// A figure, shown large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) label: &'static str,
    pub(super) value: String,
    /// What the figure is made of.
    pub(super) note: String,
    /// The class for its colour.
    pub(super) class: &'static str,
}

pub(super) fn tiles(stats: &Stats<'_>) -> Vec<Tile> {
    let sums = &stats.sums;
    let figures = stats.figures();
    let tile = |label: &'static str, note: String| {
        let value = figures.iter().find(|(name, _)| *name == label).and_then(|(_, value)| value.clone());
        let class = if value.is_some() { "" } else { UNKNOWN };
        Tile { label, value: value.unwrap_or_else(|| UNKNOWN.to_owned()), note, class }
    };
    let hit = sums.median_hit_millis.map_or_else(|| UNKNOWN.to_owned(), format_duration);
    vec![
        time_saved(stats),
        tile(
            "Image hit rate",
            format!(
                "{} of {} needed no build",
                sums.image_hits,
                count(sums.image_hits + sums.built, "build", "builds")
            ),
        ),
        tile(
            "Step hit rate",
            format!("{} of {} cached", sums.steps.cached, count(sums.steps.total, "step", "steps")),
        ),
        tile("Median build", format!("median image hit: {hit}")),
        Tile {
            label: "Cache size",
            value: size(stats.cache.bytes_stored),
            note: format!("in {}", stats.cache.directory.display()),
            class: "",
        },
    ]
}

fn time_saved(stats: &Stats<'_>) -> Tile {
    let sums = &stats.sums;
    let counted = sums.image_hits + sums.built;
    let of = match sums.builds_with_known_worth {
        known if known == counted => format!("in {}", count(known, "build", "builds")),
        known => format!("in {known} of {}; not known for the others", count(counted, "build", "builds")),
    };
    let (value, note, class) = match sums.saved_millis {
        None => (UNKNOWN.to_owned(), "no build has a known duration without larder".to_owned(), UNKNOWN),
        Some(saved) if saved < 0 => {
            (signed_duration(saved), format!("larder cost more than it spared, {of}"), "bad")
        }
        Some(saved) => (signed_duration(saved), of, "good"),
    };
    Tile { label: "Time saved", value, note, class }
}

/// Returns the figures that have no tile.
pub(super) fn others(stats: &Stats<'_>) -> Vec<(&'static str, String)> {
    let has_tile = ["Time saved", "Image hit rate", "Step hit rate", "Median build", "Median image hit"];
    let others = stats.figures().into_iter().filter(|(label, _)| !has_tile.contains(label));
    others.map(|(label, value)| (label, value.unwrap_or_else(|| UNKNOWN.to_owned()))).collect()
}

/// Returns whether a threshold is met: in words, and as the class for its colour.
pub(super) fn verdict(threshold: &Threshold) -> (&'static str, &'static str) {
    match threshold.is_met {
        Some(true) => ("met", "good"),
        Some(false) => ("not met", "bad"),
        None => ("not checked", "caution"),
    }
}
