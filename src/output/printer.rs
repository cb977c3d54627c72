//! The owner of standard output and standard error.
//!
//! Results go to standard output, everything else to standard error. A closed pipe (`larder stats | head`) is not an
//! error.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::prefixed::PrefixedWriter;
use super::progress::{
    self, JsonRenderer, PlainRenderer, ProgressDisplay, QuietRenderer, Renderer, TerminalSize, TtyRenderer,
};
use crate::plan::ProgressMode;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    color: bool,
    /// `true` if the terminal can redraw lines.
    can_redraw: bool,
    progress: ProgressMode,
    /// The prefix of each line, if several parts run at once.
    part: Option<&'static str>,
    /// The file to which the end of each build is appended as Markdown.
    step_summary: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageFormat {
    Text,
    Colored,
    /// Objects with the schema of `--progress json`, so that all of standard error is JSON.
    Json,
}

impl Printer {
    /// Returns a printer that uses colours on a terminal if `color` is set.
    pub(crate) fn new(color: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self {
            color: color && is_terminal,
            can_redraw: is_terminal,
            progress: ProgressMode::Auto,
            part: None,
            step_summary: None,
        }
    }

    /// Returns the printer for one of several parts that run at once, whose text lines have a prefix.
    #[must_use]
    pub(crate) fn for_part(self, name: &str) -> Self {
        // The leak is small: a process has a handful of parts, and most exist until it ends.
        Self { part: Some(Box::leak(name.to_owned().into_boxed_str())), ..self }
    }

    /// Returns `true` if output may be redrawn: nothing else writes to the terminal, and no log was requested.
    pub(crate) fn may_redraw(self) -> bool {
        self.can_redraw
            && self.part.is_none()
            && matches!(self.progress, ProgressMode::Auto | ProgressMode::Tty)
    }

    pub(crate) fn stdout(self) -> Box<dyn Write + Send> {
        Self::prefixed_lines(io::stdout(), self.part)
    }

    pub(crate) fn stderr(self) -> Box<dyn Write + Send> {
        // JSON messages contain the part in a field.
        Self::prefixed_lines(io::stderr(), self.part.filter(|_| self.message_format() != MessageFormat::Json))
    }

    fn prefixed_lines(out: impl Write + Send + 'static, part: Option<&str>) -> Box<dyn Write + Send> {
        match part {
            Some(name) => Box::new(PrefixedWriter::new(name, out)),
            None => Box::new(out),
        }
    }

    pub(crate) fn set_step_summary(&mut self, path: &str) {
        // The leak is small: this is called once.
        self.step_summary = Some(Box::leak(path.to_owned().into_boxed_str()));
    }

    /// Appends Markdown to the summary of the CI job, if there is one.
    pub(super) fn append_step_summary(self, markdown: impl FnOnce() -> String) {
        let Some(path) = self.step_summary else { return };
        let file = OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(markdown().as_bytes())) {
            self.warn(&format!("cannot write the summary of the job to {path}: {error}"));
        }
    }

    pub(crate) fn set_progress(&mut self, progress: ProgressMode) {
        self.progress = progress;
    }

    pub(crate) fn never_redraw(&mut self) {
        self.can_redraw = false;
    }

    fn message_format(self) -> MessageFormat {
        match self.progress {
            ProgressMode::Json => MessageFormat::Json,
            ProgressMode::Plain => MessageFormat::Text,
            _ if self.color => MessageFormat::Colored,
            _ => MessageFormat::Text,
        }
    }

    /// Returns `true` if notes are printed. They are omitted among progress in JSON, where events contain their
    /// information.
    pub(crate) fn shows_notes(self) -> bool {
        !matches!(self.progress, ProgressMode::Quiet | ProgressMode::Json)
    }

    /// Returns the display for a solve. The mode `auto` uses a live table on a terminal that can redraw, unless the
    /// terminal is shared with a different build or, with `to_stdout`, with the result.
    pub(super) fn display(self, to_stdout: bool) -> ProgressDisplay {
        let is_shared = to_stdout && io::stdout().is_terminal() || self.part.is_some();
        let is_live = match self.progress {
            ProgressMode::Auto => self.can_redraw && !is_shared,
            mode => mode == ProgressMode::Tty && self.part.is_none(),
        };
        let renderer: Box<dyn Renderer> = match self.progress {
            _ if is_live => Box::new(TtyRenderer::new(self.color, terminal_size)),
            ProgressMode::Quiet => Box::new(QuietRenderer),
            ProgressMode::Json => Box::new(JsonRenderer::default()),
            _ => Box::new(PlainRenderer::default()),
        };
        ProgressDisplay::new(renderer, self.stderr())
    }

    /// Prints a result unchanged. A closed pipe is not an error.
    pub(crate) fn out(self, text: &str) -> io::Result<()> {
        let mut stdout = self.stdout();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Prints a note unchanged, except if progress is quiet or JSON.
    pub(crate) fn note(self, text: &str) {
        if self.shows_notes() {
            self.write(text);
        }
    }

    /// Prints a message unchanged in every mode: explanations of errors, replies to interrupts, requested output.
    pub(crate) fn message(self, text: &str) {
        match self.message_format() {
            MessageFormat::Json => self.write(&progress::message("note", text.trim(), self.part)),
            MessageFormat::Text | MessageFormat::Colored => self.write(text),
        }
    }

    /// Prints an event with its fields among progress in JSON; otherwise nothing.
    pub(crate) fn event(self, name: &str, fields: &impl Serialize) {
        if self.message_format() == MessageFormat::Json {
            self.write(&progress::event(name, fields, self.part));
        }
    }

    pub(crate) fn warn(self, text: &str) {
        self.labelled("warning", "33", text);
    }

    pub(crate) fn hint(self, text: &str) {
        self.labelled("hint", "36", text);
    }

    pub(crate) fn error(self, text: &str) {
        self.labelled("error", "31;1", text);
    }

    fn labelled(self, label: &str, style: &str, text: &str) {
        self.write(&match self.message_format() {
            MessageFormat::Text => format!("{label}: {text}\n"),
            MessageFormat::Colored => format!("\x1b[{style}m{label}:\x1b[0m {text}\n"),
            MessageFormat::Json => progress::message(label, text, self.part),
        });
    }

    fn write(self, text: &str) {
        let mut out = self.stderr();
        // If standard error is closed, the error cannot be reported.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }
}

/// Returns the size of the terminal on standard error, or 80 by 24 cells if it is unknown.
fn terminal_size() -> TerminalSize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            TerminalSize { cols: usize::from(size.ws_col), rows: usize::from(size.ws_row) }
        }
        _ => TerminalSize { cols: 80, rows: 24 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_redrawn_only_on_a_terminal_and_without_a_log() {
        let terminal = Printer { can_redraw: true, ..Printer::new(false) };
        for (progress, is_redrawn) in [
            (ProgressMode::Auto, true),
            (ProgressMode::Tty, true),
            (ProgressMode::Plain, false),
            (ProgressMode::Quiet, false),
            (ProgressMode::Json, false),
        ] {
            assert_eq!(Printer { progress, ..terminal }.may_redraw(), is_redrawn, "{progress:?}");
            assert!(!Printer { progress, ..terminal }.for_part("a").may_redraw());
        }
        assert!(!Printer { can_redraw: false, ..terminal }.may_redraw());
    }
}
