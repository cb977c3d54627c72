//! Renders the report on cache mounts as lines or as a table.

use std::fmt::Write as _;

use super::summary::format_duration;
use super::table;
use super::table::Align::{Left, Right};
use crate::amounts::{count, size};
use crate::digest::shorten;
use crate::mounts::{MountAction, MountOutcome, MountReportEntry, MountsReport, Tally};
use crate::screen_text::screen_text;

impl MountsReport {
    pub(crate) fn text(&self) -> String {
        if self.mounts.is_empty() {
            return "this build has no cache mounts\n".to_owned();
        }
        if self.action == MountAction::List {
            return self.list();
        }
        let mut text = String::new();
        for mount in &self.mounts {
            let _ = writeln!(text, "{}", mount.line(self.action));
        }
        let mounts = count(self.mounts.len(), "mount", "mounts");
        let _ = writeln!(text, "{mounts} in {}", format_duration(self.millis));
        text
    }

    fn list(&self) -> String {
        let [kind, id, lines] = ["kind", "id", "lines"].map(|heading| (heading, Left));
        let columns = [kind, id, lines, ("size", Right), ("files", Right), ("entry", Left), ("lane", Left)];
        let row = |mount: &MountReportEntry| {
            let lines: Vec<String> = mount.lines.iter().map(ToString::to_string).collect();
            let (kept, files) = match mount.entry {
                Some(_) => (size(mount.kept.bytes), mount.kept.files.to_string()),
                None => ("-".to_owned(), "-".to_owned()),
            };
            [
                mount.kind.clone(),
                screen_text(&mount.id),
                lines.join(","),
                kept,
                files,
                mount.entry.as_deref().map_or("", shorten).to_owned(),
                screen_text(mount.lane.as_deref().unwrap_or_default()),
            ]
        };
        let mut text = table::render(columns, &self.mounts.iter().map(row).collect::<Vec<_>>());
        for mount in self.mounts.iter().filter(|mount| mount.outcome == MountOutcome::Passed) {
            let reason = mount.reason.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{} is not cached: {reason}", screen_text(&mount.id));
        }
        text
    }
}

impl MountReportEntry {
    pub(crate) fn line(&self, action: MountAction) -> String {
        let name = format!("{} {}", self.kind, screen_text(&self.id));
        let kept = format_amount(self.kept);
        let lane = screen_text(self.lane.as_deref().unwrap_or_default());
        let reason = screen_text(self.reason.as_deref().unwrap_or_default());
        let short = self.entry.as_deref().map_or("", shorten);
        match (self.outcome, action) {
            (MountOutcome::Hit, _) => {
                let present = self.kept.files.saturating_sub(self.moved.files);
                format!(
                    "restored {name}: {kept} ({} sent, {present} already present) from {short} (lane {lane})",
                    self.moved.files
                )
            }
            (MountOutcome::Miss, MountAction::Save) => format!("did not save {name}: {reason}"),
            (MountOutcome::Miss, _) => format!("no hit for {name}: {reason}"),
            (MountOutcome::Saved, _) => {
                let added = size(self.added_bytes);
                format!(
                    "saved {name}: {kept} ({added} added to the cache) as {short} (lane {lane}){}",
                    self.usage_text()
                )
            }
            (MountOutcome::Unchanged, _) => {
                format!("unchanged {name}: {kept} already in {short} (lane {lane}){}", self.usage_text())
            }
            (MountOutcome::Empty, _) => format!("did not save {name}: it is empty"),
            (MountOutcome::Refused, _) => format!("{name} is not saved: {reason}"),
            (MountOutcome::Passed, _) => format!("{name} is not cached: {reason}"),
        }
    }

    fn usage_text(&self) -> String {
        let mut text = String::new();
        if let (Some(used), Some(added)) = (self.packages_used, self.packages_added)
            && used.files > 0
        {
            let packages = count(used.files + added.files, "package", "packages");
            let (used, bytes) = (used.files, size(used.bytes));
            let _ = write!(text, "; {used} of {packages} from the cache, {bytes} not downloaded");
        }
        let mut add = |what: &str, amount_of: Option<Tally>| {
            if let Some(of) = amount_of.filter(|of| of.files > 0) {
                let _ = write!(text, "; {} {what}", format_amount(of));
            }
        };
        add("used", self.used);
        add("new", self.added);
        add("excluded", self.trimmed);
        text
    }
}

fn format_amount(of: Tally) -> String {
    format!("{}, {}", count(of.files, "file", "files"), size(of.bytes))
}
