//! How an error reaches the user: one line of cause, hints, and the exit code. All three are decided here.

mod connect;
mod container;
mod dir;
mod pipeline;
mod settings;
pub(crate) mod usage;

use std::error::Error;

use crate::error_chain::chain;
use crate::output::Printer;

/// What kind of thing went wrong; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The user's own build failed.
    Build,
    /// The image was built and cannot be pushed.
    Push,
    /// A flag, a file or the engine's address is wrong, or the engine cannot do what is asked.
    Config,
    /// The engine cannot be reached.
    Engine,
    /// A cache is at fault, under `--strict` or where that was the question.
    Cache,
    /// The user interrupted.
    Interrupted,
    /// A container cannot be started: 125, 126 or 127, as docker run ends.
    Container(u8),
    /// The user's own command ended with this status, of which it has spoken itself.
    Exit(u8),
}

impl ErrorKind {
    /// The process's exit code, as the command-line help lists them.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Build | Self::Push => 1,
            Self::Config => 2,
            Self::Cache => 3,
            Self::Engine => 5,
            Self::Interrupted => 130,
            Self::Container(status) | Self::Exit(status) => status,
        }
    }
}

/// An error on its way to the user.
#[derive(Debug, Clone)]
pub(crate) struct CommandError {
    pub(crate) kind: ErrorKind,
    /// One line.
    pub(crate) cause: String,
    /// What to do next.
    pub(crate) hints: Vec<String>,
}

impl CommandError {
    /// Prints it with its hints.
    pub(crate) fn print(&self, printer: Printer) {
        if !self.cause.is_empty() {
            printer.error(&self.cause);
        }
        self.hints.iter().for_each(|hint| printer.hint(hint));
    }

    /// An error in what was typed or configured.
    pub(crate) fn config(error: &(dyn Error + 'static)) -> Self {
        Self::config_line(chain(error))
    }

    /// The same in words of its own.
    pub(crate) fn config_line(cause: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Config, cause: cause.into(), hints: Vec::new() }
    }

    /// A cache that is not to be used as it is, where that is not tolerated.
    pub(crate) fn cache_line(cause: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Cache, cause: cause.into(), hints: Vec::new() }
    }

    /// The user interrupted.
    pub(crate) fn interrupted(cause: &str) -> Self {
        Self { kind: ErrorKind::Interrupted, cause: cause.to_owned(), hints: Vec::new() }
    }

    /// A command that failed for a reason of its own.
    pub(crate) fn exit(status: u8) -> Self {
        Self { kind: ErrorKind::Exit(status), cause: String::new(), hints: Vec::new() }
    }

    /// A build that failed for a reason of its own.
    pub(crate) fn build(cause: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Build, cause: cause.into(), hints: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
        self.hints.extend(hints);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_help_lists_the_exit_codes_that_there_are() {
        use ErrorKind::{Build, Cache, Config, Container, Engine, Interrupted, Push};
        let help = Cli::command().get_after_help().unwrap().to_string();
        let numbers = help.split(|letter: char| !letter.is_ascii_digit());
        let listed: BTreeSet<u8> = numbers.filter_map(|number| number.parse().ok()).collect();
        let kinds = [Build, Push, Config, Cache, Engine, Interrupted, Container(125), Container(127)];
        assert_eq!(listed, [0].into_iter().chain(kinds.map(ErrorKind::exit_code)).collect());
    }
}
