//! Errors for the user: one line of cause, hints and the exit code. All wording and codes are in this module.

mod connect;
mod container;
mod pipeline;
pub(crate) mod usage;

use std::error::Error;

use crate::error_chain::chain;
use crate::output::Printer;

/// The kind of an error, which determines the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Build,
    /// The image was built but not pushed.
    Push,
    /// A flag, a file or an address is invalid, or the engine does not support the request.
    Config,
    Engine,
    /// The cache failed, and `--strict` is set or the command is about the cache.
    Cache,
    Interrupted,
    /// A figure of `larder stats` does not meet its threshold.
    Threshold,
    /// A container cannot be started: 125, 126 or 127, as for docker run.
    Container(u8),
    /// The user's command exited with this status and has reported its error itself.
    Exit(u8),
}

impl ErrorKind {
    /// Returns the exit code, as listed in the command-line help.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Build | Self::Push => 1,
            Self::Config => 2,
            Self::Cache => 3,
            Self::Threshold => 4,
            Self::Engine => 5,
            Self::Interrupted => 130,
            Self::Container(status) | Self::Exit(status) => status,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct CommandError {
    pub(crate) kind: ErrorKind,
    /// The message in one line; empty if it has been printed already.
    pub(crate) cause: String,
    pub(crate) hints: Vec<String>,
}

impl CommandError {
    pub(crate) fn print(&self, printer: Printer) {
        if !self.cause.is_empty() {
            printer.error(&self.cause);
        }
        self.hints.iter().for_each(|hint| printer.hint(hint));
    }

    pub(crate) fn new(kind: ErrorKind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into(), hints: Vec::new() }
    }

    pub(crate) fn config(error: &(dyn Error + 'static)) -> Self {
        Self::config_line(chain(error))
    }

    pub(crate) fn config_line(cause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, cause)
    }

    pub(crate) fn build(cause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Build, cause)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn hints(mut self, hints: impl IntoIterator<Item = String>) -> Self {
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
    fn the_help_lists_all_exit_codes() {
        use ErrorKind::{Build, Cache, Config, Container, Engine, Interrupted, Push, Threshold};
        let help = Cli::command().get_after_help().unwrap().to_string();
        let numbers = help.split(|letter: char| !letter.is_ascii_digit());
        let listed: BTreeSet<u8> = numbers.filter_map(|number| number.parse().ok()).collect();
        let kinds =
            [Build, Push, Config, Cache, Threshold, Engine, Interrupted, Container(125), Container(127)];
        assert_eq!(listed, [0].into_iter().chain(kinds.map(ErrorKind::exit_code)).collect());
    }
}
