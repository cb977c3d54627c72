//! Shows how a build goes: BuildKit's status stream, rendered.
//!
//! ```text
//!  StatusUpdate ──► Trace ──► Changes ──► plain   one line after another, for logs
//!   (one delta)    (model)                tty     a table that redraws itself
//!        │                                quiet   nothing
//!        └──────────────────────────────► json    one object a line, for programs
//! ```
//!
//! A [`Display`] owns the trace, one renderer and the writer. Nothing here reads
//! a clock, the environment or the terminal: the caller passes `now`, the flag
//! for colours and a way to ask for the terminal's size. The caller also calls
//! [`Display::tick`] about ten times a second, so that what was held back is
//! shown and the table's times advance.
//!
//! The report on a failed step is no part of the display: [`failure`] renders it
//! from the trace that [`Display::finish`] returns.

use std::io::{self, BufWriter, Write};

use jiff::Timestamp;

use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::{Changes, Trace};

mod amount;
#[cfg(test)]
mod captured;
pub(crate) mod failure;
mod frame;
mod json;
mod plain;
mod quiet;
mod tty;

pub(crate) use frame::Size;
pub(crate) use json::{event, message};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Line after line, as for a log.
    Plain,
    /// A live table on a terminal.
    Tty,
    /// Not at all.
    Quiet,
    /// One JSON object a line.
    Json,
}

/// What a display may assume about where it writes.
pub(crate) struct Options {
    /// Whether the live table is coloured.
    pub(crate) color: bool,
    /// Asks for the terminal's size; called before each redraw of the live table.
    /// Zero columns or rows mean that it is unknown.
    pub(crate) size: Box<dyn Fn() -> Size + Send>,
}

#[cfg(test)]
impl Options {
    /// A terminal that keeps its size.
    fn fixed(color: bool, size: Size) -> Self {
        Self { color, size: Box::new(move || size) }
    }
}

/// Shows one solve.
pub(crate) struct Display {
    trace: Trace,
    renderer: Box<dyn Renderer>,
    /// One write a message: the terminal or pipe behind it has no buffer of its own.
    out: BufWriter<Box<dyn Write + Send>>,
}

impl Display {
    /// Shows in the manner of `mode` on `out`.
    pub(crate) fn new(mode: Mode, options: Options, out: Box<dyn Write + Send>) -> Self {
        let renderer: Box<dyn Renderer> = match mode {
            Mode::Plain => Box::new(plain::Plain::default()),
            Mode::Tty => Box::new(tty::Tty::new(options)),
            Mode::Quiet => Box::new(quiet::Quiet),
            Mode::Json => Box::new(json::Json::default()),
        };
        Self { trace: Trace::default(), renderer, out: BufWriter::new(out) }
    }

    /// Takes one message of the status stream.
    ///
    /// # Errors
    ///
    /// Fails when the writer does.
    pub(crate) fn update(&mut self, update: StatusUpdate, now: Timestamp) -> io::Result<()> {
        self.renderer.message(&update, &mut self.out)?;
        let changes = self.trace.apply(update);
        self.renderer.changed(&self.trace, changes, now, &mut self.out)?;
        self.out.flush()
    }

    /// Lets time pass.
    ///
    /// # Errors
    ///
    /// Fails when the writer does.
    pub(crate) fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        self.renderer.tick(&self.trace, now, &mut self.out)?;
        self.out.flush()
    }

    /// Shows what was held back and leaves the final state; returns what was learned.
    ///
    /// The display starts afresh afterwards.
    ///
    /// # Errors
    ///
    /// Fails when the writer does.
    pub(crate) fn finish(&mut self, now: Timestamp) -> io::Result<Trace> {
        let changes = self.trace.close();
        self.renderer.finish(&self.trace, changes, now, &mut self.out)?;
        self.out.flush()?;
        Ok(std::mem::take(&mut self.trace))
    }

    /// What was learned so far.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }
}

/// One way to show a trace.
trait Renderer: Send {
    /// Sees a message before the trace takes it.
    fn message(&mut self, _update: &StatusUpdate, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// The trace has taken a message.
    fn changed(
        &mut self,
        _trace: &Trace,
        _changes: Changes,
        _now: Timestamp,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        Ok(())
    }

    /// Time has passed.
    fn tick(&mut self, _trace: &Trace, _now: Timestamp, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    /// The stream has ended; `changes` are the lines that it left without an end.
    fn finish(
        &mut self,
        _trace: &Trace,
        _changes: Changes,
        _now: Timestamp,
        _out: &mut dyn Write,
    ) -> io::Result<()> {
        Ok(())
    }
}
