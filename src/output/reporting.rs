//! The printer as the reporter of a pipeline, which shows events as text or JSON.

use std::io::Write;

use jiff::Timestamp;
use serde_json::json;

use super::progress::ProgressDisplay;
use super::progress::failure::{self, StepFailure};
use super::transfer::TransferDisplay;
use super::{Printer, summary};
use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::Trace;
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
            BuildEvent::Archived(record) => self.note(&summary::archived_message(record)),
            BuildEvent::LayersExported(record) => self.note(&summary::cached_layers_message(record)),
            BuildEvent::Pushed { name, pushed, elapsed } => {
                self.note(&summary::pushed_message(&name.familiar(), *pushed, *elapsed));
            }
            BuildEvent::Loaded { bytes, elapsed } => {
                self.note(&format!("  {}\n", summary::loaded_message(*bytes, *elapsed)));
            }
            BuildEvent::Named(name) => self.note(&summary::existing_push_message(&name.familiar())),
            BuildEvent::StepFailed { vertex, source } => {
                let report = match vertex {
                    Some(vertex) => Some(failure::report(&StepFailure::from_vertex(vertex, *source))),
                    None => source.as_ref().and_then(failure::excerpt),
                };
                if let Some(report) = report {
                    self.message(&format!("{}\n", report.trim_end()));
                }
            }
            BuildEvent::Ended(record) => {
                self.event("build", &json!({ "record": record }));
                self.note(&summary::render(record));
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

// Errors are ignored: the build continues even if the progress cannot be written.
impl StepProgress for ProgressDisplay {
    fn update(&mut self, update: StatusUpdate, now: Timestamp) {
        drop(Self::update(self, update, now));
    }

    fn tick(&mut self, now: Timestamp) {
        drop(Self::tick(self, now));
    }

    fn trace(&self) -> &Trace {
        Self::trace(self)
    }

    fn finish(mut self: Box<Self>, now: Timestamp) -> Trace {
        let known = Self::trace(&self).clone();
        Self::finish(&mut self, now).unwrap_or(known)
    }
}
