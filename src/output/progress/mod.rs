//! Displays BuildKit's status stream.
//!
//! ```text
//!  StatusUpdate ──► Trace ──► Changes ──► plain   one line after another, for logs
//!   (one delta)    (model)                tty     a table that redraws itself
//!        │                                quiet   nothing
//!        └──────────────────────────────► json    one object a line, for programs
//! ```
//!
//! A [`Display`] owns the trace, one renderer and the writer. Nothing here reads a clock, the environment or the
//! terminal: the caller passes `now`, the flag for colours and a function that returns the terminal's size. The caller
//! also calls [`Display::tick`] about ten times a second, so that delayed output is shown and the table's times
//! advance.
//!
//! The report on a failed step is not part of the display: [`failure`] renders it from the trace that
//! [`Display::finish`] returns.

use std::io::{self, BufWriter, Write};

use jiff::Timestamp;

use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::{Trace, TraceChanges};

mod amount;
#[cfg(test)]
mod captured;
pub(crate) mod failure;
mod frame;
mod json;
mod plain;
mod quiet;
mod tty;

pub(crate) use frame::TerminalSize;
pub(crate) use json::{event, message};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DisplayMode {
    /// Line by line, for logs.
    Plain,
    Tty,
    Quiet,
    /// One JSON object per line.
    Json,
}

/// The properties of the output.
pub(crate) struct DisplayOptions {
    pub(crate) color: bool,
    /// Returns the terminal's size; called before each redraw of the live table. Zero columns or rows mean that it is
    /// unknown.
    pub(crate) size: Box<dyn Fn() -> TerminalSize + Send>,
}

#[cfg(test)]
impl DisplayOptions {
    /// Returns the options for a terminal with a constant size.
    fn fixed(color: bool, size: TerminalSize) -> Self {
        Self { color, size: Box::new(move || size) }
    }
}

pub(crate) struct ProgressDisplay {
    trace: Trace,
    renderer: Box<dyn Renderer>,
    /// Flushed once per message, because the terminal or pipe is unbuffered.
    out: BufWriter<Box<dyn Write + Send>>,
}

impl ProgressDisplay {
    pub(crate) fn new(mode: DisplayMode, options: DisplayOptions, out: Box<dyn Write + Send>) -> Self {
        let renderer: Box<dyn Renderer> = match mode {
            DisplayMode::Plain => Box::new(plain::PlainRenderer::default()),
            DisplayMode::Tty => Box::new(tty::TtyRenderer::new(options)),
            DisplayMode::Quiet => Box::new(quiet::QuietRenderer),
            DisplayMode::Json => Box::new(json::JsonRenderer::default()),
        };
        Self { trace: Trace::default(), renderer, out: BufWriter::new(out) }
    }

    /// Processes one message of the status stream.
    pub(crate) fn update(&mut self, update: StatusUpdate, now: Timestamp) -> io::Result<()> {
        self.renderer.message(&update, &mut self.out)?;
        let changes = self.trace.apply(update);
        self.renderer.changed(&self.trace, changes, now, &mut self.out)?;
        self.out.flush()
    }

    pub(crate) fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.renderer.tick(&self.trace, now, &mut self.out)?;
        self.out.flush()
    }

    /// Shows delayed output and the final state, and returns and resets the trace.
    pub(crate) fn finish(&mut self, now: Timestamp) -> io::Result<Trace> {
        let changes = self.trace.close();
        self.renderer.finish(&self.trace, changes, now, &mut self.out)?;
        self.out.flush()?;
        Ok(std::mem::take(&mut self.trace))
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }
}

/// A format in which a trace is shown.
trait Renderer: Send {
    /// Called with a message before it is applied to the trace.
    fn message(&mut self, _update: &StatusUpdate, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Called after a message was applied to the trace.
    fn changed(
        &mut self,
        _trace: &Trace,
        _changes: TraceChanges,
        _now: Timestamp,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        Ok(())
    }

    /// Called periodically.
    fn tick(&mut self, _trace: &Trace, _now: Timestamp, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// Called at the end of the stream; `changes` are the lines that it left incomplete.
    fn finish(
        &mut self,
        _trace: &Trace,
        _changes: TraceChanges,
        _now: Timestamp,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        Ok(())
    }
}
