//! How a pipeline says what it does. Who listens decides whether that is text, JSON or nothing.

use std::io::Write;
use std::time::Duration;

use jiff::Timestamp;

use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::{Trace, VertexTrace};
use crate::engine::PushProgress;
use crate::key::CacheKey;
use crate::ledger::{BuildRecord, KeptLayersRecord, KeptRecord, TierRecord};
use crate::mounts::{CarriedMount, MountAction};
use crate::registry::ImageRef;

/// Receives what happens during a build.
pub(crate) trait Reporter: Send + Sync {
    /// Reports that something is done.
    fn report(&self, event: &Event<'_>);

    /// Warns, in one line.
    fn warn(&self, text: &str);

    /// Reports what is being done, in a line.
    fn note(&self, text: &str);

    /// Reports what is shown in any case: what explains an error, or answers an interrupt.
    fn message(&self, text: &str);

    /// Returns `true` if notes reach anyone.
    fn shows_notes(&self) -> bool;

    /// Starts to show the progress of work that moves bytes.
    fn transfer(&self, what: &str) -> Box<dyn TransferProgress>;

    /// Starts to show the steps of a solve; `to_stdout` if its result goes to standard output.
    fn steps(&self, to_stdout: bool) -> Box<dyn StepProgress>;

    /// Returns the writer for results on standard output.
    fn stdout(&self) -> Box<dyn Write + Send>;

    /// Returns the writer for what a container writes to standard error.
    fn stderr(&self) -> Box<dyn Write + Send>;
}

/// Shows how far a transfer is.
pub(crate) trait TransferProgress: Send {
    /// Shows the bytes that are done and their total; to be called several times a second.
    fn show(&mut self, amounts: (u64, u64));

    fn finish(self: Box<Self>);
}

/// Shows the steps of a solve from its status stream.
pub(crate) trait StepProgress: Send {
    fn update(&mut self, update: StatusUpdate, now: Timestamp);

    /// Lets time pass; to be called about ten times a second.
    fn tick(&mut self, now: Timestamp);

    fn trace(&self) -> &Trace;

    /// Shows the end, and returns the whole trace.
    fn finish(self: Box<Self>, now: Timestamp) -> Trace;
}

/// Something that happened during a build.
pub(crate) enum Event<'a> {
    Keys {
        image: Option<CacheKey>,
        dependency: Option<CacheKey>,
        /// Why the keys are unknown, if they are.
        reason: Option<String>,
    },
    /// A tier has answered, or is not asked.
    Tier(&'a TierRecord),
    AutoMounts {
        /// The lines of the RUNs that get cache mounts.
        lines: &'a [usize],
        /// Why other RUNs get none.
        left: &'a [String],
    },
    Mount(MountAction, &'a CarriedMount),
    Archived(&'a KeptRecord),
    LayersKept(&'a KeptLayersRecord),
    Pushed {
        name: &'a ImageRef,
        pushed: PushProgress,
        elapsed: Duration,
    },
    /// The image got this name in a registry that has all of it.
    Named(&'a ImageRef),
    /// The image of an entry was loaded into an engine.
    Loaded {
        bytes: u64,
        elapsed: Duration,
    },
    StepFailed {
        vertex: Option<&'a VertexTrace>,
        source: Option<Source<'a>>,
    },
    Ended(&'a BuildRecord),
}

/// A place in a Dockerfile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// What to call the file.
    pub(crate) file: &'a str,
    /// The whole text of the file.
    pub(crate) text: &'a str,
    /// The first and the last line of the place, 1-based.
    pub(crate) lines: (u32, u32),
}
