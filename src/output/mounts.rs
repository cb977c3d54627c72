//! What carrying cache mounts came to: a line each for people, one object for programs.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::dir::FaultRecord;
use super::progress::screen_text;
use super::summary::duration;
use super::table::{self, Align};
use super::{count, size};

/// Digits of an id that are shown.
const SHORT: usize = 12;

/// What was to be done with cache mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountAction {
    /// To tell which there are.
    List,
    /// To bring them into the builder.
    Restore,
    /// To keep what the builder has.
    Save,
}

/// What became of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountOutcome {
    /// There is an entry of it; restored where that was to be done.
    Hit,
    /// There is none, or it cannot be used.
    Miss,
    /// Saved.
    Saved,
    /// The store has just that.
    Unchanged,
    /// There is nothing in it.
    Empty,
    /// Not saved since far less is in it than before.
    Refused,
    /// It is not carried.
    Passed,
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One mount.
#[derive(Debug, Clone, Serialize)]
pub struct CarriedMount {
    /// What BuildKit knows it by.
    pub id: String,
    /// Whose cache it is: `pip`, `apt`, …, `plain`.
    pub kind: String,
    /// Where RUNs mount it.
    pub targets: Vec<String>,
    /// The lines of those RUNs in the Dockerfile.
    pub lines: Vec<usize>,
    /// What became of it.
    pub outcome: MountOutcome,
    /// The entry.
    pub entry: Option<String>,
    /// The entry's lane.
    pub lane: Option<String>,
    /// When the entry was saved.
    pub created: Option<Timestamp>,
    /// What the entry holds.
    pub kept: Amount,
    /// What was sent to the builder, or read from it.
    pub moved: Amount,
    /// What the build used of what was there before; `None` where the builder does not note what is read.
    pub used: Option<Amount>,
    /// What the build added.
    pub added: Option<Amount>,
    /// Packages, such as wheels, that the build took from the mount; `None` as for `used`.
    pub packages_used: Option<Amount>,
    /// Packages that the build added.
    pub packages_added: Option<Amount>,
    /// What is left out of the entry: nobody used it, or it would be too large.
    pub trimmed: Option<Amount>,
    /// Bytes that the entry added to the store.
    pub added_bytes: u64,
    /// Why there is no hit, or why nothing is saved.
    pub reason: Option<String>,
}

/// All mounts of a build; serializes to its JSON.
#[derive(Debug, Clone, Serialize)]
pub struct MountsReport {
    schema: &'static str,
    /// What was to be done.
    pub action: MountAction,
    /// The mounts, in the order of the Dockerfile.
    pub mounts: Vec<CarriedMount>,
    /// What keeps mounts from being of use, for people.
    pub warnings: Vec<String>,
    /// What the cache did wrong.
    pub faults: Vec<FaultRecord>,
    /// How long it took.
    pub millis: u64,
}

impl MountsReport {
    /// A report on which nothing is known yet.
    pub fn new(action: MountAction) -> Self {
        Self {
            schema: "larder.mounts.v1",
            action,
            mounts: Vec::new(),
            warnings: Vec::new(),
            faults: Vec::new(),
            millis: 0,
        }
    }

    /// The report for people.
    pub fn text(&self) -> String {
        if self.mounts.is_empty() {
            return "no RUN of this build mounts a cache\n".to_owned();
        }
        if self.action == MountAction::List {
            return self.list();
        }
        let mut text = String::new();
        for mount in &self.mounts {
            let _ = writeln!(text, "{}", mount.line(self.action));
        }
        let _ =
            writeln!(text, "{} in {}", count(self.mounts.len(), "mount", "mounts"), duration(self.millis));
        text
    }

    fn list(&self) -> String {
        let columns = [
            ("kind", Align::Left),
            ("id", Align::Left),
            ("lines", Align::Left),
            ("kept", Align::Right),
            ("files", Align::Right),
            ("entry", Align::Left),
            ("lane", Align::Left),
        ];
        let row = |mount: &CarriedMount| {
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
                mount.short().to_owned(),
                screen_text(mount.lane.as_deref().unwrap_or_default()),
            ]
        };
        let mut text = table::render(columns, &self.mounts.iter().map(row).collect::<Vec<_>>());
        for mount in self.mounts.iter().filter(|mount| mount.outcome == MountOutcome::Passed) {
            let reason = mount.reason.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{} is not carried: {reason}", screen_text(&mount.id));
        }
        text
    }
}

impl CarriedMount {
    /// A record of which nothing is known yet but what is mounted, and where.
    pub fn new(id: String, kind: String, targets: Vec<String>, lines: Vec<usize>) -> Self {
        Self {
            id,
            kind,
            targets,
            lines,
            outcome: MountOutcome::Miss,
            entry: None,
            lane: None,
            created: None,
            kept: Amount::default(),
            moved: Amount::default(),
            used: None,
            added: None,
            packages_used: None,
            packages_added: None,
            trimmed: None,
            added_bytes: 0,
            reason: None,
        }
    }

    fn short(&self) -> &str {
        self.entry.as_deref().map_or("", |id| &id[..id.len().min(SHORT)])
    }

    /// What became of it, for people.
    pub fn line(&self, action: MountAction) -> String {
        let name = format!("{} {}", self.kind, screen_text(&self.id));
        let kept = amount(self.kept);
        let lane = screen_text(self.lane.as_deref().unwrap_or_default());
        let reason = screen_text(self.reason.as_deref().unwrap_or_default());
        let short = self.short();
        match (self.outcome, action) {
            (MountOutcome::Hit, _) => {
                let there = self.kept.files.saturating_sub(self.moved.files);
                format!(
                    "restored {name}: {kept} ({} sent, {there} there already) from {short} (lane {lane})",
                    self.moved.files
                )
            }
            (MountOutcome::Miss, MountAction::Save) => format!("did not save {name}: {reason}"),
            (MountOutcome::Miss, _) => format!("no hit for {name}: {reason}"),
            (MountOutcome::Saved, _) => {
                let added = size(self.added_bytes);
                format!(
                    "saved {name}: {kept} ({added} added to the cache) as {short} (lane {lane}){}",
                    self.use_of_it()
                )
            }
            (MountOutcome::Unchanged, _) => {
                format!(
                    "nothing to save of {name}: {kept} are in {short} (lane {lane}) already{}",
                    self.use_of_it()
                )
            }
            (MountOutcome::Empty, _) => format!("nothing to save of {name}: it is empty"),
            (MountOutcome::Refused, _) => format!("{name} is not saved: {reason}"),
            (MountOutcome::Passed, _) => format!("{name} is not carried: {reason}"),
        }
    }

    fn use_of_it(&self) -> String {
        let mut text = String::new();
        if let (Some(used), Some(added)) = (self.packages_used, self.packages_added)
            && used.files > 0
        {
            let (all, bytes) = (used.files + added.files, size(used.bytes));
            let _ = write!(
                text,
                "; {} of {} from the cache, {bytes} not downloaded",
                used.files,
                count(all, "package", "packages")
            );
        }
        let mut tell = |what: &str, amount_of: Option<Amount>| {
            if let Some(of) = amount_of.filter(|of| of.files > 0) {
                let _ = write!(text, "; {} {what}", amount(of));
            }
        };
        tell("used", self.used);
        tell("new", self.added);
        tell("left out", self.trimmed);
        text
    }
}

fn amount(of: Amount) -> String {
    format!("{}, {}", count(of.files, "file", "files"), size(of.bytes))
}
