//! Builds as rows of a table.

use super::escape::web_address;
use crate::ledger::{BuildOutcome, BuildRecord};
use crate::output::stats::{cached_steps, signed_duration};
use crate::output::summary::{format_duration, outcome_text};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BuildRow {
    pub(super) started: String,
    /// The page of the CI build.
    pub(super) url: Option<String>,
    /// The number of the CI build.
    pub(super) number: Option<String>,
    pub(super) branch: String,
    pub(super) image: String,
    pub(super) outcome: String,
    /// The class for the colour of the outcome.
    pub(super) class: &'static str,
    pub(super) steps: String,
    pub(super) time: String,
    pub(super) saved: String,
}

impl BuildRow {
    pub(super) fn new(build: &BuildRecord) -> Self {
        let job = build.job.as_ref();
        let lane = build.lanes.as_ref().map(|lanes| lanes.own.clone());
        let branch = job.and_then(|job| job.branch.clone()).or(lane);
        let url = job.and_then(|job| job.url.as_deref()).and_then(web_address);
        Self {
            started: build.started.strftime("%Y-%m-%d %H:%M").to_string(),
            url: url.map(str::to_owned),
            number: job.and_then(|job| job.number.clone()),
            branch: branch.unwrap_or_else(|| "-".to_owned()),
            image: build.names.join(", "),
            outcome: outcome_text(build),
            class: match build.outcome {
                BuildOutcome::ImageHit => "good",
                BuildOutcome::Built => "",
                BuildOutcome::Failed => "bad",
                BuildOutcome::Interrupted => "caution",
            },
            steps: cached_steps(build),
            time: format_duration(build.millis),
            saved: build.saved_millis().map_or_else(|| "unknown".to_owned(), signed_duration),
        }
    }
}
