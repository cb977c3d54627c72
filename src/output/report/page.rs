//! The page: what each of its sections shows.

use askama::Template;
use jiff::Timestamp;

use super::axis::number;
use super::builds::BuildRow;
use super::causes::{self, Causes};
use super::contents::{CacheContents, ContentsRow, shares};
use super::figure::Figure;
use super::headline::{self, Tile};
use super::history::{self, MAX_BUILDS};
use super::last_build::LastBuild;
use super::tier_balance::{self, TierBalance};
use crate::amounts::count;
use crate::ledger::BuildRecord;
use crate::output::stats::Stats;

#[derive(Template)]
#[template(path = "index.html")]
pub(super) struct Page {
    title: String,
    /// Which builds are counted.
    scope: String,
    created: String,
    tiles: Vec<Tile>,
    figures: Vec<(&'static str, String)>,
    /// For each threshold whether it is met, the class for that, and its text.
    thresholds: Vec<(&'static str, &'static str, String)>,
    trends: Vec<String>,
    /// `None` if there is no build, and then no other section besides the contents.
    last: Option<LastBuild>,
    tiers: Vec<TierBalance>,
    tier_chart: Option<Figure>,
    history: History,
    contents_text: String,
    /// The rows of the cache's contents, with the lengths of their bars in percent.
    contents: Vec<(ContentsRow, f64)>,
    misses: Causes,
    failed_tiers: Causes,
    builds: Vec<BuildRow>,
    has_several_images: bool,
}

/// The charts of an image's builds.
#[derive(Default)]
struct History {
    /// Which builds they show.
    scope: String,
    charts: Vec<(&'static str, Figure)>,
}

impl Page {
    const VERSION: &str = env!("CARGO_PKG_VERSION");

    pub(super) fn new(stats: &Stats<'_>, contents: &CacheContents, now: Timestamp) -> Self {
        let images = images(stats.builds);
        let tiers = tier_balance::balances(stats.builds);
        let tier_chart = (!tiers.is_empty()).then(|| {
            Figure::new("tiers", tier_balance::describe(&tiers), "", |form| tier_balance::draw(&tiers, form))
        });
        let listed = contents.listed();
        let bars = shares(&listed.iter().map(|row| row.bytes).collect::<Vec<_>>());
        let threshold = |threshold| {
            let (words, class) = headline::verdict(threshold);
            (words, class, threshold.text.clone())
        };
        Self {
            title: match images.as_slice() {
                [] => "Docker builds".to_owned(),
                [image] => (*image).to_owned(),
                _ => count(images.len(), "image", "images"),
            },
            scope: scope(stats),
            created: now.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            tiles: headline::tiles(stats),
            figures: headline::others(stats),
            thresholds: stats.thresholds().iter().map(threshold).collect(),
            trends: stats.trends.iter().map(|trend| trend.text.clone()).collect(),
            last: stats.builds.last().map(LastBuild::new),
            tiers,
            tier_chart,
            history: History::new(stats.builds, images.len()),
            contents_text: contents.summary(),
            contents: listed.into_iter().zip(bars).collect(),
            misses: causes::of_misses(stats.builds),
            failed_tiers: causes::of_failed_tiers(stats.builds),
            builds: stats.builds.iter().rev().map(BuildRow::new).collect(),
            has_several_images: images.len() > 1,
        }
    }

    /// Returns all charts of the page.
    pub(super) fn figures(&self) -> impl Iterator<Item = &Figure> {
        let timeline = self.last.iter().filter_map(|last| last.timeline.as_ref());
        timeline.chain(&self.tier_chart).chain(self.history.charts.iter().map(|(_, figure)| figure))
    }

    /// Returns the length of the bar of a cause, in percent.
    fn share(builds: usize, causes: &Causes) -> f64 {
        let most = causes.listed.iter().map(|cause| cause.builds).max().unwrap_or(1);
        number(builds as u64) / number(most as u64) * 100.0
    }
}

impl History {
    fn new(builds: &[BuildRecord], images: usize) -> Self {
        let Some(last) = builds.last() else { return Self::default() };
        let own: Vec<&BuildRecord> =
            builds.iter().filter(|build| build.repositories == last.repositories).collect();
        let shown = &own[own.len().saturating_sub(MAX_BUILDS)..];
        let of = match last.repositories.first().or(last.names.first()) {
            Some(name) if images > 1 => format!(" of {name}, the image of the last build"),
            _ => String::new(),
        };
        let scope =
            format!("The last {}{of}, the oldest at the left.", count(shown.len(), "build", "builds"));
        let times = Figure::new("build-time", history::describe_times(shown), "", |form| {
            history::draw_times(shown, form)
        });
        let rates = history::describe_hit_rates(shown)
            .map(|text| Figure::new("step-hit-rate", text, "", |form| history::draw_hit_rates(shown, form)));
        let sizes = history::describe_cache_sizes(shown)
            .map(|text| Figure::new("cache-size", text, "", |form| history::draw_cache_sizes(shown, form)));
        let mut charts = vec![("Build time", times)];
        charts.extend(rates.map(|figure| ("Step hit rate", figure)));
        charts.extend(sizes.map(|figure| ("Size of the local cache", figure)));
        Self { scope, charts }
    }
}

/// Returns the names of the images, without repetition.
fn images(builds: &[BuildRecord]) -> Vec<&str> {
    let names = builds.iter().filter_map(|build| build.repositories.first().or(build.names.first()));
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns which builds are counted, and how they ended.
fn scope(stats: &Stats<'_>) -> String {
    let (Some(first), Some(last)) = (stats.builds.first(), stats.builds.last()) else {
        return "No build has been recorded yet.".to_owned();
    };
    let sums = &stats.sums;
    let day = |build: &BuildRecord| build.started.strftime("%Y-%m-%d").to_string();
    let days = if day(first) == day(last) { day(last) } else { format!("{} to {}", day(first), day(last)) };
    let outcomes = [
        (sums.image_hits, "image hit", "image hits"),
        (sums.built, "built", "built"),
        (sums.failed, "failed", "failed"),
        (sums.interrupted, "interrupted", "interrupted"),
    ];
    let outcomes = outcomes.into_iter().filter(|(number, ..)| *number > 0);
    let outcomes: Vec<String> = outcomes.map(|(number, one, many)| count(number, one, many)).collect();
    format!("{}, {days}: {}", count(sums.builds, "build", "builds"), outcomes.join(", "))
}
