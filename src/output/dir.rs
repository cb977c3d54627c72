//! The report on a saved or restored directory, as one line of text.

use super::entries::short_id;
use super::summary::format_duration;
use crate::amounts::{count, size};
use crate::pipeline::dir::report::{DirAction, DirAmounts, DirOutcome, DirReport};
use crate::screen_text::screen_text;

impl DirReport {
    pub(crate) fn text(&self) -> String {
        let DirAmounts { files, bytes, written, unchanged, .. } = self.amounts;
        let path = screen_text(&self.path);
        let time = format_duration(self.millis);
        let amount = format!("{}, {}", count(files, "file", "files"), size(bytes));
        let entry = short_id(self.entry.as_deref());
        let lane = screen_text(self.lane.as_deref().unwrap_or_default());
        let reason = screen_text(self.reason.as_deref().unwrap_or_default());
        match self.outcome {
            DirOutcome::Hit | DirOutcome::Fallback => {
                let exact = if self.outcome == DirOutcome::Hit { "exact" } else { "fallback" };
                let reason = if reason.is_empty() { reason } else { format!("; {reason}") };
                format!(
                    "restored {path}: {amount} ({written} written, {unchanged} unchanged) from {entry} (lane {lane}, \
                     {exact}) in {time}{reason}\n"
                )
            }
            DirOutcome::Saved => {
                let added = size(self.amounts.added_bytes);
                format!(
                    "saved {path}: {amount} ({written} read, {unchanged} unchanged, {added} added to the cache) as \
                     {entry} (lane {lane}) in {time}\n"
                )
            }
            DirOutcome::Unchanged => {
                format!("unchanged {path}: {amount} already in {entry} (lane {lane}), checked in {time}\n")
            }
            DirOutcome::Miss => match self.action {
                DirAction::Save => format!("did not save {path} in {time}: {reason}\n"),
                DirAction::Restore => format!("no hit for {path} in {time}: {reason}\n"),
            },
            DirOutcome::Refused => format!("refused {path}: {reason}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_rendered_as_one_line_of_text() {
        let mut report = DirReport::new(DirAction::Restore, ".pip-cache".to_owned(), "0".repeat(64));
        report.entry = Some("3f9ac2".repeat(10));
        report.lane = Some("main".to_owned());
        report.amounts = DirAmounts {
            files: 232,
            bytes: 186_400_000,
            written: 12,
            unchanged: 220,
            added_bytes: 14_200_000,
            ..DirAmounts::default()
        };
        report.millis = 412;
        let mut text = String::new();
        for (outcome, reason) in [
            (DirOutcome::Hit, None),
            (DirOutcome::Fallback, Some("requirements.txt changed since the entry of 2026-03-01")),
            (DirOutcome::Saved, None),
            (DirOutcome::Unchanged, None),
            (DirOutcome::Miss, Some("the cache has no entry for it")),
        ] {
            report.outcome = outcome;
            report.reason = reason.map(str::to_owned);
            text.push_str(&report.text());
        }
        insta::assert_snapshot!(text);
    }
}
