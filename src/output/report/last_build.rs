//! The last build in detail.

use super::builds::BuildRow;
use super::figure::Figure;
use super::timeline::{self, Row};
use crate::ledger::{BuildOutcome, BuildRecord, SolveRecord};
use crate::output::summary::{format_duration, headline, rows};

pub(super) struct LastBuild {
    pub(super) headline: String,
    pub(super) row: BuildRow,
    pub(super) error: Option<String>,
    /// Why the image was not a hit.
    pub(super) reasons: Vec<String>,
    /// What each tier did, with labels.
    pub(super) summary: Vec<(String, String)>,
    /// `None` if neither phases nor steps are known.
    pub(super) timeline: Option<Figure>,
    pub(super) parts: Vec<Row>,
}

impl LastBuild {
    pub(super) fn new(build: &BuildRecord) -> Self {
        let is_hit = build.outcome == BuildOutcome::ImageHit;
        let changes = build.changes.iter().cloned();
        let no_key = build.no_key.iter().map(|reason| format!("no image is a hit: {reason}"));
        let parts = timeline::all_rows(build);
        let caption = build.solve.as_ref().map(solve_text).unwrap_or_default();
        Self {
            headline: headline(build),
            row: BuildRow::new(build),
            error: build.error.clone(),
            reasons: changes.chain(no_key).filter(|_| !is_hit).collect(),
            summary: rows(build),
            timeline: (!parts.is_empty()).then(|| {
                Figure::new("timeline", timeline::describe(build), caption, |form| {
                    timeline::draw(build, form)
                })
            }),
            parts,
        }
    }
}

/// Returns what BuildKit spent time on.
fn solve_text(solve: &SolveRecord) -> String {
    let parts = [
        ("steps", solve.steps_millis),
        ("base images", solve.base_millis),
        ("caches in a registry", solve.import_millis),
        ("export", solve.export_millis),
        ("other work", solve.other_millis),
    ];
    let parts = parts.into_iter().filter(|(_, millis)| *millis > 0);
    let parts: Vec<String> =
        parts.map(|(name, millis)| format!("{name} {}", format_duration(millis))).collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("BuildKit's time: {}. The parts may overlap.", parts.join(", "))
}
