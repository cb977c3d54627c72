//! Displays BuildKit's status stream.
//!
//! ```text
//!  StatusUpdate ──► Trace ──► changes ──► plain   one line after another, for logs
//!   (one delta)    (model)                tty     a table that redraws itself
//!        │                                quiet   nothing
//!        └──────────────────────────────► json    one object a line, for programs
//! ```
//!
//! A [`ProgressDisplay`] owns the trace, one renderer and the writer. Nothing here reads a clock, the environment or the
//! terminal: the caller passes `now`, the flag for colours and a function that returns the terminal's size.
//!
//! The report on a failed step is not part of the display: [`failure`] renders it from the trace.

use std::io::Write;

use jiff::Timestamp;

use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::{Trace, TraceChanges};
use crate::pipeline::reporter::StepProgress;

mod amount;
#[cfg(test)]
mod captured;
pub(crate) mod failure;
mod frame;
mod json;
mod plain;
mod tty;

pub(super) use frame::TerminalSize;
pub(super) use json::{JsonRenderer, event, message};
pub(super) use plain::PlainRenderer;
pub(super) use tty::TtyRenderer;

pub(crate) struct ProgressDisplay {
    trace: Trace,
    renderer: Box<dyn Renderer>,
    out: Box<dyn Write + Send>,
}

impl ProgressDisplay {
    pub(super) fn new(renderer: Box<dyn Renderer>, out: Box<dyn Write + Send>) -> Self {
        Self { trace: Trace::default(), renderer, out }
    }

    /// Writes all text of a message at once, because the terminal or pipe is unbuffered. Errors are ignored: the build
    /// continues even if its progress cannot be written.
    fn write(&mut self, text: &str) {
        drop(self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()));
    }
}

impl StepProgress for ProgressDisplay {
    fn update(&mut self, update: StatusUpdate, now: Timestamp) {
        let mut text = String::new();
        self.renderer.message(&update, &mut text);
        let changes = self.trace.apply(update);
        self.renderer.changed(&self.trace, changes, now, &mut text);
        self.write(&text);
    }

    fn tick(&mut self, now: Timestamp) {
        let mut text = String::new();
        self.renderer.tick(&self.trace, now, &mut text);
        self.write(&text);
    }

    fn trace(&self) -> &Trace {
        &self.trace
    }

    fn finish(mut self: Box<Self>, now: Timestamp) -> Trace {
        let (mut text, changes) = (String::new(), self.trace.close());
        self.renderer.finish(&self.trace, changes, now, &mut text);
        self.write(&text);
        self.trace
    }
}

/// A format in which a trace is shown. Each method appends to `out`.
pub(super) trait Renderer: Send {
    /// Shows a message before it is applied to the trace.
    fn message(&mut self, _update: &StatusUpdate, _out: &mut String) {}

    fn changed(&mut self, _trace: &Trace, _changes: TraceChanges, _now: Timestamp, _out: &mut String) {}

    fn tick(&mut self, _trace: &Trace, _now: Timestamp, _out: &mut String) {}

    /// Shows the end of the stream; `changes` are the lines that it left incomplete.
    fn finish(&mut self, _trace: &Trace, _changes: TraceChanges, _now: Timestamp, _out: &mut String) {}
}

pub(super) struct QuietRenderer;

impl Renderer for QuietRenderer {}

#[cfg(test)]
mod tests {
    use super::captured::CapturedOutput;
    use super::*;
    use crate::buildkit::trace::testing::{TraceScript, at};

    #[test]
    fn a_quiet_build_writes_nothing_but_returns_the_trace() {
        let captured = CapturedOutput::default();
        let mut display = Box::new(ProgressDisplay::new(Box::new(QuietRenderer), captured.boxed()));
        let message =
            TraceScript::new().failed("a", "[2/2] RUN false", 0, 9, "exit code: 1").log("a", 1, "boo\n");
        display.update(message.update(), at(9));
        display.tick(at(500));
        assert_eq!(display.finish(at(900)).failures().count(), 1);
        assert_eq!(captured.text(), "");
    }
}
