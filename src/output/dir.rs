//! What a save or restore of a directory came to: one line for people, one object for programs.

use jiff::Timestamp;
use serde::Serialize;

use super::summary::duration;
use crate::amounts::{count, size};
use crate::screen_text::screen_text;
use crate::store::FaultRecord;

/// What was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirAction {
    /// To keep the directory.
    Save,
    /// To bring it back.
    Restore,
}

/// What became of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DirOutcome {
    /// Restored from the entry of this very key.
    Hit,
    /// Restored from the newest entry of the directory.
    Fallback,
    /// Not restored, or not saved: there is no entry that can be used, or the cache is at fault.
    Miss,
    /// Saved.
    Saved,
    /// The entry of this very key is just what the directory is.
    Unchanged,
    /// Not done because it could do harm.
    Refused,
}

/// What a save or restore came to; serializes to its JSON.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DirReport {
    schema: &'static str,
    /// What was to be done.
    pub(crate) action: DirAction,
    /// What became of it.
    pub(crate) outcome: DirOutcome,
    /// The directory, as typed.
    pub(crate) path: String,
    /// The key.
    pub(crate) key: String,
    /// The entry's id.
    pub(crate) entry: Option<String>,
    /// The entry's lane.
    pub(crate) lane: Option<String>,
    /// When the entry was saved.
    pub(crate) created: Option<Timestamp>,
    /// Files and links of the entry.
    pub(crate) files: u64,
    /// Bytes of its files.
    pub(crate) bytes: u64,
    /// Files that were written into the entry or the directory.
    pub(crate) written: u64,
    /// Files that were left as they are.
    pub(crate) unchanged: u64,
    /// What of the directory is not in the entry though it could be.
    pub(crate) skipped: u64,
    /// Bytes that the entry added to the store.
    pub(crate) added_bytes: u64,
    /// Why there is no hit, for people.
    pub(crate) reason: Option<String>,
    /// What the cache did wrong.
    pub(crate) faults: Vec<FaultRecord>,
    /// How long it took.
    pub(crate) millis: u64,
}

impl DirReport {
    /// A report on the directory typed as `path` with this key, on which nothing is known yet.
    pub(crate) fn new(action: DirAction, path: String, key: String) -> Self {
        Self {
            schema: "larder.dir.v1",
            action,
            outcome: DirOutcome::Miss,
            path,
            key,
            entry: None,
            lane: None,
            created: None,
            files: 0,
            bytes: 0,
            written: 0,
            unchanged: 0,
            skipped: 0,
            added_bytes: 0,
            reason: None,
            faults: Vec::new(),
            millis: 0,
        }
    }

    /// The report for people, on one line.
    pub(crate) fn text(&self) -> String {
        let Self { written, unchanged, .. } = self;
        let path = screen_text(&self.path);
        let time = duration(self.millis);
        let amount = format!("{}, {}", count(self.files, "file", "files"), size(self.bytes));
        let entry = self.entry.as_deref().map_or("", |id| &id[..id.len().min(12)]);
        let lane = screen_text(self.lane.as_deref().unwrap_or_default());
        let reason = screen_text(self.reason.as_deref().unwrap_or_default());
        match self.outcome {
            DirOutcome::Hit | DirOutcome::Fallback => {
                let exact = if self.outcome == DirOutcome::Hit { "exact" } else { "the newest there is" };
                let reason = if reason.is_empty() { reason } else { format!("; {reason}") };
                format!(
                    "restored {path}: {amount} ({written} written, {unchanged} unchanged) from {entry} (lane {lane}, \
                     {exact}) in {time}{reason}\n"
                )
            }
            DirOutcome::Saved => {
                let added = size(self.added_bytes);
                format!(
                    "saved {path}: {amount} ({written} read, {unchanged} unchanged, {added} added to the cache) as \
                     {entry} (lane {lane}) in {time}\n"
                )
            }
            DirOutcome::Unchanged => {
                format!("nothing to save of {path}: {amount} are in {entry} (lane {lane}) already, {time}\n")
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
    fn reports_read_like_this() {
        let mut report = DirReport {
            entry: Some("3f9ac2".repeat(10)),
            lane: Some("main".to_owned()),
            files: 232,
            bytes: 186_400_000,
            written: 12,
            unchanged: 220,
            added_bytes: 14_200_000,
            millis: 412,
            ..DirReport::new(DirAction::Restore, ".pip-cache".to_owned(), "0".repeat(64))
        };
        let mut text = String::new();
        for (outcome, reason) in [
            (DirOutcome::Hit, None),
            (DirOutcome::Fallback, Some("requirements.txt changed since the entry of 2026-03-01")),
            (DirOutcome::Saved, None),
            (DirOutcome::Unchanged, None),
            (DirOutcome::Miss, Some("there is no entry of it")),
        ] {
            report.outcome = outcome;
            report.reason = reason.map(str::to_owned);
            text.push_str(&report.text());
        }
        insta::assert_snapshot!(text);
    }
}
