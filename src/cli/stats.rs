//! `larder stats`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = StatsFormat::Text)]
    pub(crate) format: StatsFormat,
    /// Number of recent builds to count
    #[arg(long, value_name = "BUILDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) last: u32,
    /// Count only builds of this repository, such as `team/app`
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// Count only builds of this branch or lane
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// Count only builds of the CI build with this number, or of `this` one
    #[arg(long, value_name = "NUMBER")]
    pub(crate) build: Option<String>,
    /// Compare two builds: numbers of CI builds, `last` or `previous`
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with_all = ["build", "min_hit_rate", "max_cache_gb", "max_restore_seconds", "min_saved_seconds"])]
    pub(crate) compare: Option<Vec<String>>,
    /// Also write a report into this directory: a page and its charts
    #[arg(long, value_name = "DIR", conflicts_with = "compare")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) thresholds: ThresholdArgs,
}

/// The limits that `larder stats` checks.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ThresholdArgs {
    /// Exit with 4 if less than this percentage of the steps was cached
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    pub(crate) min_hit_rate: Option<f64>,
    /// Exit with 4 if the local cache is larger
    #[arg(long, value_name = "GB", value_parser = amount)]
    pub(crate) max_cache_gb: Option<f64>,
    /// Exit with 4 if a build spent more time on taking what it used from the caches
    #[arg(long, value_name = "SECONDS", value_parser = amount)]
    pub(crate) max_restore_seconds: Option<f64>,
    /// Exit with 4 if the builds saved less time in total
    #[arg(long, value_name = "SECONDS", value_parser = amount, allow_negative_numbers = true)]
    pub(crate) min_saved_seconds: Option<f64>,
}

/// The format of `larder stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsFormat {
    /// Text for people
    Text,
    /// JSON for programs; the output names its schema
    Json,
    /// Markdown, for example for a comment on a pull request
    Markdown,
    /// JUnit XML: a test for each threshold and each build
    Junit,
    /// Metrics for Prometheus, in the OpenMetrics text format
    Openmetrics,
}

fn amount(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("`{text}` is not a number"))
}

fn percentage(text: &str) -> Result<f64, String> {
    let number = amount(text.strip_suffix('%').unwrap_or(text))?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err(format!("`{text}` is not between 0 and 100"))
    }
}
