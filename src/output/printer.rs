//! The owner of standard output and standard error.
//!
//! Standard output carries what was asked for, standard error the rest. A
//! reader that went away (`larder stats | head`) is no error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::prefixed::Prefixed;
use super::progress::{self, Size};

/// Writes to this process's standard output and standard error.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    form: Form,
    /// Lines are never redrawn, whatever standard error is.
    is_plain: bool,
    /// Notes are dropped.
    is_quiet: bool,
    /// What each line begins with, so that one of several tells whose it is.
    part: Option<&'static str>,
}

/// What messages on standard error look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Colored,
    /// Objects as [`super::progress::SCHEMA`] has them, so that all of standard error is JSON.
    Json,
}

impl Printer {
    /// A printer that colours what goes to a terminal, if `color` is wanted.
    pub fn new(color: bool) -> Self {
        let form = if color && io::stderr().is_terminal() { Form::Colored } else { Form::Text };
        Self { form, is_plain: false, is_quiet: false, part: None }
    }

    /// The same for one of several that are at work at once: each line begins with its name, but for those in JSON.
    #[must_use]
    pub fn for_part(self, name: &str) -> Self {
        // A process has a handful of them, and none goes before it.
        Self { part: Some(Box::leak(name.to_owned().into_boxed_str())), ..self }
    }

    /// Returns `true` if what was printed may be redrawn: nothing else writes to the terminal, and no log is wanted.
    pub fn may_redraw(self) -> bool {
        !self.is_plain && self.part.is_none() && self.shows_notes()
    }

    /// Whether others are at work at the same time.
    pub fn is_of_part(self) -> bool {
        self.part.is_some()
    }

    /// Where others write their own lines for standard output.
    pub fn stdout(self) -> Box<dyn Write + Send> {
        Self::lines_of(io::stdout(), self.part)
    }

    /// Where others write their own lines for standard error.
    pub fn stderr(self) -> Box<dyn Write + Send> {
        // In JSON the messages tell it themselves.
        Self::lines_of(io::stderr(), self.part.filter(|_| self.form != Form::Json))
    }

    fn lines_of(out: impl Write + Send + 'static, part: Option<&str>) -> Box<dyn Write + Send> {
        match part {
            Some(name) => Box::new(Prefixed::new(name, out)),
            None => Box::new(out),
        }
    }

    /// Prints as for a log from now on, also on a terminal: no colours, and nothing is redrawn.
    pub fn speak_plain(&mut self) {
        self.is_plain = true;
        if self.form == Form::Colored {
            self.form = Form::Text;
        }
    }

    /// Turns every later message on standard error into JSON, to stand among progress in JSON.
    pub fn speak_json(&mut self) {
        self.form = Form::Json;
    }

    /// Drops every later note.
    pub fn speak_quiet(&mut self) {
        self.is_quiet = true;
    }

    /// Returns `true` if notes are printed. Among progress in JSON they are not: events have what they say.
    pub fn shows_notes(self) -> bool {
        !self.is_quiet && self.form != Form::Json
    }

    /// Prints what was asked for, as it is.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be written, but not because whoever asked is gone.
    pub fn out(self, text: &str) -> io::Result<()> {
        let mut stdout = self.stdout();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Prints a note on what is being done, as it is. Nothing is printed where progress is quiet or JSON.
    pub fn note(self, text: &str) {
        if self.shows_notes() {
            self.write(text);
        }
    }

    /// Prints a message that is shown in any case, as it is: what explains an error, answers an interrupt, or was asked for.
    pub fn message(self, text: &str) {
        match self.form {
            Form::Json => self.write(&progress::message("note", text.trim(), self.part)),
            Form::Text | Form::Colored => self.write(text),
        }
    }

    /// Prints something that happened, with its fields, among progress in JSON; otherwise nothing.
    pub fn event(self, name: &str, fields: &impl Serialize) {
        if self.form == Form::Json {
            self.write(&progress::event(name, fields, self.part));
        }
    }

    /// Prints a warning of one line.
    pub fn warn(self, text: &str) {
        self.labelled("warning", "33", text);
    }

    /// Prints a hint of one line.
    pub fn hint(self, text: &str) {
        self.labelled("hint", "36", text);
    }

    /// Prints an error of one line.
    pub fn error(self, text: &str) {
        self.labelled("error", "31;1", text);
    }

    fn labelled(self, label: &str, style: &str, text: &str) {
        self.write(&match self.form {
            Form::Text => format!("{label}: {text}\n"),
            Form::Colored => format!("\x1b[{style}m{label}:\x1b[0m {text}\n"),
            Form::Json => progress::message(label, text, self.part),
        });
    }

    fn write(self, text: &str) {
        let mut out = self.stderr();
        // Where standard error is gone there is nobody left to tell.
        drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }
}

/// The size of the terminal on standard error; zeros when there is none.
pub fn terminal_size() -> Size {
    let size = rustix::termios::tcgetwinsize(io::stderr());
    size.map_or(Size { cols: 0, rows: 0 }, |size| Size {
        cols: usize::from(size.ws_col),
        rows: usize::from(size.ws_row),
    })
}
