//! Renders the comparison of two builds by `larder stats --compare`.

use std::fmt::Write as _;

use serde::Serialize;

use super::{cached_steps, label, signed_duration, transferred};
use crate::ledger::{BuildRecord, TierOutcome, TierRecord};
use crate::output::summary::{format_duration, outcome_text};
use crate::output::table;
use crate::output::table::Align::Left;

/// Serializes to the command's JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison<'a> {
    schema: &'static str,
    before: &'a BuildRecord,
    after: &'a BuildRecord,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(before: &'a BuildRecord, after: &'a BuildRecord) -> Self {
        Self { schema: "larder.stats-comparison.v1", before, after }
    }

    pub(crate) fn text(&self) -> String {
        let builds = [self.before, self.after];
        let row = |name: &str, value: &dyn Fn(&BuildRecord) -> String| {
            let [before, after] = builds.map(value);
            [name.to_owned(), before, after]
        };
        let unknown = || "unknown".to_owned();
        let job = |build: &BuildRecord| build.job.clone().unwrap_or_default();
        let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let mut rows = vec![
            row("image", &|build| known(build.repositories.first().cloned())),
            row("job", &|build| known(job(build).job)),
            row("branch", &|build| known(job(build).branch)),
            row("commit", &|build| {
                known(job(build).revision.map(|revision| revision.chars().take(12).collect()))
            }),
            row("started", &|build| build.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string()),
            row("outcome", &outcome_text),
            row("steps cached", &cached_steps),
            row("time", &|build| format_duration(build.millis)),
            row("without larder", &|build| build.without_millis.map_or_else(unknown, format_duration)),
            row("saved", &|build| build.saved_millis().map_or_else(unknown, signed_duration)),
            row("for saving", &|build| format_duration(build.saving_millis())),
        ];
        let mut tiers: Vec<&str> = Vec::new();
        for tier in builds.iter().flat_map(|build| &build.tiers) {
            if !tiers.contains(&tier.tier.as_str()) {
                tiers.push(&tier.tier);
            }
        }
        rows.extend(tiers.into_iter().map(|name| {
            row(name, &|build| {
                build.tiers.iter().find(|tier| tier.tier == name).map_or_else(|| "-".to_owned(), shown)
            })
        }));
        rows.retain(|[_, before, after]| before != "-" || after != "-");
        let heading = builds.map(label);
        let columns = [("", Left), (heading[0].as_str(), Left), (heading[1].as_str(), Left)];
        let mut text = table::render(columns, &rows);
        for change in &self.after.changes {
            let _ = writeln!(text, "changed since the build before: {change}");
        }
        for step in self.after.step_list.iter().filter(|step| !step.cached) {
            let before = self.before.step_list.iter().find(|other| other.identity() == step.identity());
            let before = match before {
                Some(before) if before.cached => "cached before".to_owned(),
                Some(before) => format!("{} before", format_duration(before.millis)),
                None => "new".to_owned(),
            };
            let name = step.source.as_deref().unwrap_or(&step.name);
            let _ = writeln!(text, "ran: {name} in {} ({before})", format_duration(step.millis));
        }
        text
    }
}

fn shown(tier: &TierRecord) -> String {
    let outcome = match tier.outcome {
        TierOutcome::Hit => "hit",
        TierOutcome::Miss => "miss",
        TierOutcome::Skipped => return "skipped".to_owned(),
    };
    format!("{outcome}, {}, {}", transferred(tier.bytes), format_duration(tier.millis))
}
