//! The owner of standard output and standard error.
//!
//! Standard output carries what was asked for, standard error the rest. A
//! reader that went away (`larder stats | head`) is no error.

use std::io::{self, IsTerminal, Write};

use super::progress::Size;

/// Writes to this process's standard output and standard error.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    color: bool,
}

impl Printer {
    /// A printer that colours what goes to a terminal, if `color` is wanted.
    pub fn new(color: bool) -> Self {
        Self { color: color && io::stderr().is_terminal() }
    }

    /// Prints what was asked for, as it is.
    pub fn out(self, text: &str) {
        let mut stdout = io::stdout().lock();
        // Whoever asked is gone; there is nobody left to tell.
        drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
    }

    /// Prints a message beside what was asked for, as it is.
    pub fn note(self, text: &str) {
        drop(io::stderr().lock().write_all(text.as_bytes()));
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
        if self.color {
            self.note(&format!("\x1b[{style}m{label}:\x1b[0m {text}\n"));
        } else {
            self.note(&format!("{label}: {text}\n"));
        }
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
