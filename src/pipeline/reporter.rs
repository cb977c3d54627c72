//! The interface through which the pipeline reports progress. The implementation decides whether to print text, print
//! JSON or print nothing.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;

use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::{Trace, VertexTrace};
use crate::engine::PushProgress;
use crate::key::CacheKey;
use crate::ledger::{ArchivedImageRecord, BuildRecord, ExportedLayersRecord, TierRecord};
use crate::mounts::{MountAction, MountReportEntry};
use crate::registry::ImageRef;

pub(crate) trait Reporter: Send + Sync {
    fn report(&self, event: &BuildEvent<'_>);

    /// Reports a warning. `text` is one line without a line end.
    fn warn(&self, text: &str);

    /// Reports a note. `text` is one line with its line end.
    fn note(&self, text: &str);

    /// Reports text that is always shown, such as the explanation of an error or the response to an interrupt.
    fn message(&self, text: &str);

    fn shows_notes(&self) -> bool;

    fn transfer(&self, what: &str) -> Box<dyn TransferProgress>;

    /// Starts a display of the steps of a solve. `to_stdout` is `true` if the result is written to standard output.
    fn steps(&self, to_stdout: bool) -> Box<dyn StepProgress>;

    fn stdout(&self) -> Box<dyn Write + Send>;

    /// Returns the writer for a container's standard error.
    fn stderr(&self) -> Box<dyn Write + Send>;
}

pub(crate) trait TransferProgress: Send {
    /// Shows the number of completed bytes and their total. Called several times a second.
    fn show(&mut self, amounts: (u64, u64));

    fn finish(self: Box<Self>);
}

pub(crate) trait StepProgress: Send {
    fn update(&mut self, update: StatusUpdate, now: Timestamp);

    /// Updates the display. Called about ten times a second.
    fn tick(&mut self, now: Timestamp);

    fn trace(&self) -> &Trace;

    fn finish(self: Box<Self>, now: Timestamp) -> Trace;
}

pub(crate) enum BuildEvent<'a> {
    Keys {
        image: Option<CacheKey>,
        dependency: Option<CacheKey>,
        reason: Option<String>,
    },
    Tier(&'a TierRecord),
    AutoMounts {
        lines: &'a [usize],
        skipped: &'a [String],
    },
    Mount(MountAction, &'a MountReportEntry),
    Archived(&'a ArchivedImageRecord),
    LayersExported(&'a ExportedLayersRecord),
    Pushed {
        name: &'a ImageRef,
        pushed: PushProgress,
        elapsed: Duration,
    },
    /// The image was given this name in a registry without a push.
    Named(&'a ImageRef),
    Loaded {
        bytes: u64,
        elapsed: Duration,
    },
    StepFailed {
        vertex: Option<&'a VertexTrace>,
        source: Option<SourceExcerpt<'a>>,
    },
    Ended(&'a BuildRecord),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceExcerpt<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    /// The first and the last line, 1-based.
    pub(crate) lines: (u32, u32),
}
