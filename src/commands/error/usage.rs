//! Errors of the command line, converted from clap's.

use std::ffi::OsString;

use clap::error::ErrorKind as ClapErrorKind;
use clap::{Arg, Command, CommandFactory};

use super::{CommandError, ErrorKind};
use crate::cli::Cli;
use crate::error_chain::one_line;

/// Prints help and version; returns other results of clap as errors.
pub(crate) fn convert(error: &clap::Error, arguments: &[OsString]) -> Result<(), CommandError> {
    if !error.use_stderr() {
        // Help and version were requested; a closed pipe is not an error.
        drop(error.print());
        return Ok(());
    }
    if error.kind() == ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        drop(error.print());
        return Err(CommandError { kind: ErrorKind::Config, cause: String::new(), hints: Vec::new() });
    }
    let text = error.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let cause = one_line(message.trim_start_matches("error: "));
    let mut hints: Vec<String> =
        rest.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_owned).collect();
    let command = subcommand(arguments).map(|name| format!(" {name}")).unwrap_or_default();
    hints.push(format!("larder{command} --help lists the commands and options"));
    Err(CommandError { kind: ErrorKind::Config, cause, hints })
}

/// Returns the given subcommand, including a nested one.
fn subcommand(arguments: &[OsString]) -> Option<String> {
    let mut command = Cli::command();
    let mut typed = Vec::new();
    for argument in arguments.iter().skip(1) {
        let found = command.get_subcommands().find(|known| argument == known.get_name()).cloned();
        if let Some(found) = found {
            typed.push(found.get_name().to_owned());
            command = found;
        }
    }
    (!typed.is_empty()).then(|| typed.join(" "))
}

/// Returns the help of a flag: `--secret <SECRET>: Expose a secret to …`.
pub(super) fn help_of(flag: &str) -> Option<String> {
    find_help(flag, |_| true)
}

/// Returns the help of a flag of a subcommand.
pub(super) fn help_of_command(command: &str, flag: &str) -> Option<String> {
    find_help(flag, |name| name == command)
}

fn find_help(flag: &str, is_meant: impl Fn(&str) -> bool) -> Option<String> {
    let mut cli = Cli::command();
    cli.build();
    let arguments = |command: &Command| command.get_arguments().cloned().collect::<Vec<Arg>>();
    let below = |command: &Command| {
        let lower = command.get_subcommands().flat_map(arguments);
        arguments(command).into_iter().chain(lower).collect::<Vec<Arg>>()
    };
    let known = cli
        .get_subcommands()
        .filter(|command| is_meant(command.get_name()))
        .flat_map(below)
        .chain(arguments(&cli));
    let argument = known.into_iter().find(|argument| argument.get_long() == Some(flag))?;
    Some(format!("{argument}: {}", argument.get_help()?))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn mistake(arguments: &[&str]) -> CommandError {
        let arguments: Vec<OsString> = ["larder"].iter().chain(arguments).map(OsString::from).collect();
        convert(&Cli::try_parse_from(&arguments).unwrap_err(), &arguments).unwrap_err()
    }

    #[test]
    fn an_invalid_argument_is_reported_in_one_line_with_a_suggestion() {
        for (arguments, cause, hints) in [
            (
                &["build", "--tagret", "x", "."][..],
                "unexpected argument '--tagret' found",
                &[
                    "a similar argument exists: '--target'",
                    "larder build --help lists the commands and options",
                ][..],
            ),
            (
                &["biuld", "."],
                "unrecognized subcommand 'biuld'",
                &["a similar subcommand exists: 'build'", "larder --help lists the commands and options"],
            ),
            (
                &["build"],
                "the following required arguments were not provided: <PATH | URL | - | NAME>",
                &["larder build --help lists the commands and options"],
            ),
            (
                &["build", "--progress", "plian", "."],
                "invalid value 'plian' for '--progress <FORM>' [possible values: auto, plain, tty, quiet, json]",
                &["a similar value exists: 'plain'", "larder build --help lists the commands and options"],
            ),
        ] {
            let error = mistake(arguments);
            assert_eq!(
                (error.cause.as_str(), &error.hints[..]),
                (cause, &hints.iter().map(ToString::to_string).collect::<Vec<_>>()[..])
            );
        }
    }

    #[test]
    fn errors_of_flags_include_the_help_of_the_flag() {
        for flag in ["secret", "output", "host", "context", "timeout", "tag", "ulimit"] {
            let help = help_of(flag).unwrap_or_default();
            assert!(help.starts_with(&format!("--{flag} <")) && help.contains(">: "), "{help}");
        }
        assert_eq!(help_of("nonesuch"), None);
        for (command, expected) in [("build", "RUN steps"), ("run", "Network of the container")] {
            let help = help_of_command(command, "network").unwrap_or_default();
            assert!(help.contains(expected), "{command}: {help}");
        }
    }
}
