//! Renders `larder stats`: the last builds and their statistics, in several formats.

mod comparison;
mod junit;
mod markdown;
mod openmetrics;
mod text;

use std::path::Path;

use serde::Serialize;

use super::summary::format_duration;
use crate::amounts::size;
use crate::ledger::{BuildRecord, BuildStatistics, Figure, Trend, trends};

pub(crate) use comparison::Comparison;
pub(super) use markdown::summary as summary_in_markdown;

/// Serializes to the command's JSON.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "larder stats --format json"))]
pub(crate) struct Stats<'a> {
    schema: &'static str,
    pub(super) cache: CacheSize<'a>,
    pub(super) sums: BuildStatistics,
    pub(super) trends: Vec<TrendReport>,
    thresholds: Vec<Threshold>,
    pub(super) builds: &'a [BuildRecord],
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct CacheSize<'a> {
    pub(super) directory: &'a Path,
    pub(super) bytes_stored: u64,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct TrendReport {
    #[serde(flatten)]
    trend: Trend,
    /// The trend in words.
    pub(super) text: String,
}

/// The limits to check, in the units of their flags.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) min_hit_rate: Option<f64>,
    pub(crate) max_cache_gb: Option<f64>,
    pub(crate) max_restore_seconds: Option<f64>,
    pub(crate) min_saved_seconds: Option<f64>,
}

/// A limit and the figure that it applies to.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Threshold {
    /// The flag without dashes.
    pub(crate) name: &'static str,
    pub(crate) limit: f64,
    /// In the unit of the limit; `None` if it is not known.
    pub(crate) figure: Option<f64>,
    /// `None` if the figure is not known.
    pub(crate) is_met: Option<bool>,
    /// The figure and the limit in words.
    pub(crate) text: String,
}

impl<'a> Stats<'a> {
    /// Returns statistics of `builds` and of a cache of `bytes` in `directory`.
    pub(crate) fn new(builds: &'a [BuildRecord], directory: &'a Path, bytes: u64, limits: Limits) -> Self {
        let sums = BuildStatistics::of(builds);
        let mut images: Vec<&[String]> = builds.iter().map(|build| build.repositories.as_slice()).collect();
        images.sort_unstable();
        images.dedup();
        let trends = images.iter().flat_map(|image| {
            let own: Vec<&BuildRecord> = builds.iter().filter(|build| build.repositories == *image).collect();
            let name = if images.len() > 1 { image.first() } else { None };
            let name = name.map(|name| format!("{name}: ")).unwrap_or_default();
            let report = |trend: Trend| TrendReport {
                text: format!("{name}{}", describe(&trend, own[trend.position])),
                trend,
            };
            trends(&own).into_iter().map(report).collect::<Vec<_>>()
        });
        Self {
            schema: "larder.stats.v1",
            trends: trends.collect(),
            thresholds: thresholds(&sums, bytes, limits),
            cache: CacheSize { directory, bytes_stored: bytes },
            sums,
            builds,
        }
    }

    pub(crate) fn thresholds(&self) -> &[Threshold] {
        &self.thresholds
    }

    pub(crate) fn text(&self) -> String {
        text::render(self)
    }

    pub(crate) fn markdown(&self) -> String {
        markdown::render(self)
    }

    pub(crate) fn junit(&self) -> String {
        junit::render(self)
    }

    pub(crate) fn openmetrics(&self) -> String {
        openmetrics::render(self)
    }

    /// Returns the figures with their labels; the value is `None` if it is not known.
    pub(super) fn figures(&self) -> Vec<(&'static str, Option<String>)> {
        let sums = &self.sums;
        vec![
            ("Image hit rate", sums.image_hit_rate.map(percent)),
            ("Step hit rate", sums.step_hit_rate.map(percent)),
            ("Time-weighted hit rate", sums.time_weighted_hit_rate.map(percent)),
            ("Mount hit rate", sums.mount_hit_rate.map(percent)),
            ("Median image hit", sums.median_hit_millis.map(format_duration)),
            ("Median build", sums.median_built_millis.map(format_duration)),
            ("Longest restore", sums.longest_restore_millis.map(format_duration)),
            ("Time saved", self.saved()),
        ]
    }

    fn saved(&self) -> Option<String> {
        let sums = &self.sums;
        let saved = signed_duration(sums.saved_millis?);
        let counted = sums.image_hits + sums.built;
        Some(match sums.builds_with_known_worth {
            known if known == counted => saved,
            known => format!("{saved} in {known} of {counted} builds, not known for the others"),
        })
    }
}

fn thresholds(sums: &BuildStatistics, bytes: u64, limits: Limits) -> Vec<Threshold> {
    #[expect(clippy::cast_precision_loss, reason = "amounts are shown with few digits")]
    let seconds = |millis: u64| millis as f64 / 1000.0;
    #[expect(clippy::cast_precision_loss, reason = "amounts are shown with few digits")]
    let (gigabytes, saved) = (bytes as f64 / 1e9, sums.saved_millis.map(|millis| millis as f64 / 1000.0));
    let at_least = |name, limit: Option<f64>, figure: Option<f64>, words: &str, unit: &str| {
        limit.map(|limit| {
            Threshold::new((name, limit), figure, |figure| figure >= limit, (words, "at least", unit))
        })
    };
    let at_most = |name, limit: Option<f64>, figure: Option<f64>, words: &str, unit: &str| {
        limit.map(|limit| {
            Threshold::new((name, limit), figure, |figure| figure <= limit, (words, "at most", unit))
        })
    };
    let rate = sums.step_hit_rate.map(|rate| rate * 100.0);
    let restore = sums.longest_restore_millis.map(seconds);
    let checked = [
        at_least("min-hit-rate", limits.min_hit_rate, rate, "the step hit rate", " %"),
        at_most("max-cache-gb", limits.max_cache_gb, Some(gigabytes), "the size of the cache", " GB"),
        at_most("max-restore-seconds", limits.max_restore_seconds, restore, "the longest restore", " s"),
        at_least("min-saved-seconds", limits.min_saved_seconds, saved, "the time saved", " s"),
    ];
    checked.into_iter().flatten().collect()
}

impl Threshold {
    fn new(
        (name, limit): (&'static str, f64),
        figure: Option<f64>,
        is_met: impl Fn(f64) -> bool,
        (words, bound, unit): (&str, &str, &str),
    ) -> Self {
        let text = match figure {
            Some(figure) => {
                format!("{words} is {}{unit}, --{name} demands {bound} {}{unit}", short(figure), short(limit))
            }
            None => format!("{words} is not known, --{name} demands {bound} {}{unit}", short(limit)),
        };
        Self { name, limit, figure, is_met: figure.map(is_met), text }
    }
}

/// Formats a number with at most two decimals, or four if it is small.
fn short(number: f64) -> String {
    let text = if number.abs() < 1.0 { format!("{number:.4}") } else { format!("{number:.2}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Describes a trend; `build` is the first one after the change.
fn describe(trend: &Trend, build: &BuildRecord) -> String {
    let verb = if trend.since < trend.before { "fell" } else { "rose" };
    let (before, since, what) = match trend.figure {
        Figure::StepHitRate => (percent(trend.before), percent(trend.since), "step hit rate"),
        Figure::BuildTime => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a mean of durations"
            )]
            let duration = |millis: f64| format_duration(millis as u64);
            (duration(trend.before), duration(trend.since), "build time")
        }
    };
    let reason = build.changes.first().map(|change| format!(": {change}")).unwrap_or_default();
    format!("{what} {verb} from {before} to {since} since {}{reason}", label(build))
}

/// Returns the number of the CI build, or else when it started.
pub(crate) fn label(build: &BuildRecord) -> String {
    match build.job.as_ref().and_then(|job| job.number.as_ref()) {
        Some(number) => format!("build {number}"),
        None => build.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    }
}

/// Returns the number of the CI build, if it has one, and its branch or lane.
fn origin(build: &BuildRecord) -> String {
    let job = build.job.as_ref();
    let branch = job.and_then(|job| job.branch.as_ref());
    let branch = branch.or_else(|| build.lanes.as_ref().map(|lanes| &lanes.own));
    let parts: Vec<&str> =
        job.and_then(|job| job.number.as_ref()).into_iter().chain(branch).map(String::as_str).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

pub(super) fn percent(rate: f64) -> String {
    format!("{:.1}%", rate * 100.0)
}

pub(super) fn signed_duration(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    format!("{sign}{}", format_duration(millis.unsigned_abs()))
}

/// Returns how many of the steps were cached, or a dash for an image hit.
pub(super) fn cached_steps(build: &BuildRecord) -> String {
    match build.outcome {
        crate::ledger::BuildOutcome::ImageHit => "-".to_owned(),
        _ => format!("{}/{}", build.steps.cached, build.steps.total),
    }
}

/// Returns the bytes of a tier, or a dash if it transferred none.
fn transferred(bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { size(bytes) }
}

#[cfg(test)]
mod tests;
