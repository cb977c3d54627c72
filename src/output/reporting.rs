//! The printer as the reporter of a pipeline, which shows events as text or JSON.

use std::io::Write;

use serde_json::json;

use super::Printer;
use super::progress::failure;
use super::stats::summary_in_markdown;
use super::summary::{self, format_duration};
use super::transfer::TransferDisplay;
use crate::amounts::size;
use crate::ledger::{ArchivedImageRecord, millis};
use crate::mounts::{MountAction, MountOutcome};
use crate::pipeline::reporter::{BuildEvent, Reporter, StepProgress, TransferProgress};

impl Reporter for Printer {
    fn report(&self, event: &BuildEvent<'_>) {
        match event {
            BuildEvent::Keys { image, dependency, reason } => self.event(
                "keys",
                &json!({ "image_key": image, "dependency_key": dependency, "reason": reason }),
            ),
            BuildEvent::Tier(tier) => self.event("tier", tier),
            BuildEvent::AutoMounts { lines, skipped: left } => {
                self.event("auto_mounts", &json!({ "lines": lines, "left": left }));
                let what = if lines.len() == 1 { "the RUN in line" } else { "the RUNs in lines" };
                if !lines.is_empty() {
                    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
                    self.note(&format!("cache mounts are added to {what} {}\n", lines.join(", ")));
                }
                left.iter().for_each(|line| self.note(&format!("{line}\n")));
            }
            BuildEvent::Mount(action, mount) => {
                self.event("mount", &json!({ "action": action, "mount": mount }));
                let is_shown = match action {
                    MountAction::Save => [MountOutcome::Saved, MountOutcome::Unchanged],
                    MountAction::Restore | MountAction::List => [MountOutcome::Hit, MountOutcome::Passed],
                };
                if is_shown.contains(&mount.outcome) {
                    self.note(&format!("{}\n", mount.line(*action)));
                }
            }
            BuildEvent::Archived(ArchivedImageRecord { entry, bytes, added_bytes, millis, .. }) => {
                let (bytes, added) = (size(*bytes), size(*added_bytes));
                let time = format_duration(*millis);
                self.note(&format!(
                    "archived the image as entry {entry}: {bytes}, {added} added, in {time}\n"
                ));
            }
            BuildEvent::LayersExported(record) => {
                let (references, time) = (record.references.join(" and "), format_duration(record.millis));
                self.note(&format!("cached the layers as {references} in {time}\n"));
            }
            BuildEvent::Pushed { name, pushed, elapsed } => {
                self.note(&summary::pushed_message(&name.familiar(), *pushed, *elapsed));
            }
            BuildEvent::Loaded { bytes, elapsed } => {
                let (size, time) = (size(*bytes), format_duration(millis(*elapsed)));
                self.note(&format!("  loaded the image: {size} in {time}\n"));
            }
            BuildEvent::Named(name) => {
                self.note(&format!("pushed {}: the registry already has all layers\n", name.familiar()));
            }
            BuildEvent::StepFailed { vertex, source } => {
                let report = match vertex {
                    Some(vertex) => Some(failure::report(vertex, source.as_ref())),
                    None => source.as_ref().and_then(failure::excerpt),
                };
                if let Some(report) = report {
                    self.message(&format!("{}\n", report.trim_end()));
                }
            }
            BuildEvent::Ended(record) => {
                self.event("build", &json!({ "record": record }));
                self.note(&summary::render(record));
                self.append_step_summary(|| summary_in_markdown(record));
            }
        }
    }

    fn warn(&self, text: &str) {
        Self::warn(*self, text);
    }

    fn note(&self, text: &str) {
        Self::note(*self, text);
    }

    fn message(&self, text: &str) {
        Self::message(*self, text);
    }

    fn shows_notes(&self) -> bool {
        Self::shows_notes(*self)
    }

    fn transfer(&self, what: &str) -> Box<dyn TransferProgress> {
        Box::new(TransferDisplay::new(what.to_owned(), *self))
    }

    fn steps(&self, to_stdout: bool) -> Box<dyn StepProgress> {
        Box::new(self.display(to_stdout))
    }

    fn stdout(&self) -> Box<dyn Write + Send> {
        Self::stdout(*self)
    }

    fn stderr(&self) -> Box<dyn Write + Send> {
        Self::stderr(*self)
    }
}
