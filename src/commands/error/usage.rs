//! Errors of the command line, converted from clap's, and of settings.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use super::CommandError;
use crate::cli::Cli;
use crate::error_chain::{chain, one_line};
use crate::settings::SettingsError;

/// Prints help and version; returns other results of clap as errors.
pub(crate) fn convert(error: &clap::Error, arguments: &[OsString]) -> Result<(), CommandError> {
    if !error.use_stderr() {
        // Help and version were requested; a closed pipe is not an error.
        drop(error.print());
        return Ok(());
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        drop(error.print());
        return Err(CommandError::config_line(""));
    }
    let text = error.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let cause = one_line(message.trim_start_matches("error: "));
    let (name, command) = given_command(arguments);
    // Hidden flags exist only to be refused.
    let hidden: Vec<String> = (command.get_arguments().filter(|argument| argument.is_hide_set()))
        .filter_map(|argument| Some(format!("--{}'", argument.get_long()?)))
        .collect();
    let tips = rest.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
    let tips = tips.filter(|tip| !hidden.iter().any(|flag| tip.contains(flag))).map(str::to_owned);
    Err(CommandError::config_line(cause)
        .hints(tips)
        .hint(format!("{name} --help lists the commands and options")))
}

fn given_command(arguments: &[OsString]) -> (String, Command) {
    let (mut name, mut command) = ("larder".to_owned(), Cli::command());
    for argument in arguments.iter().skip(1) {
        let found = command.get_subcommands().find(|known| argument == known.get_name()).cloned();
        if let Some(found) = found {
            name = format!("{name} {}", found.get_name());
            command = found;
        }
    }
    (name, command)
}

impl CommandError {
    /// Returns an error for `larder run`: some of its flags have a different meaning in other commands, and its command
    /// may be mistaken for the context.
    pub(crate) fn from_run_settings(error: SettingsError) -> Self {
        match &error {
            SettingsError::Flag { flag, .. } => {
                Self::config_line(chain(&error)).hints(help_of(Some("run"), flag))
            }
            SettingsError::Context { path, .. } => {
                let hint = format!("write the command after --: larder run . -- {}", path.display());
                Self::from(error).hint(hint)
            }
            _ => error.into(),
        }
    }
}

impl From<SettingsError> for CommandError {
    fn from(error: SettingsError) -> Self {
        let hint = match &error {
            SettingsError::Flag { flag, .. } => help_of(None, flag),
            SettingsError::Unsupported { instead, .. } => Some((*instead).to_owned()),
            SettingsError::Variable { variable, .. } => Some(format!("correct {variable} or unset it")),
            SettingsError::File { .. } => Some(
                "docs/configuration.md and larder.schema.json list the settings of larder.yaml; --config and LARDER_CONFIG select a different file"
                    .to_owned(),
            ),
            SettingsError::Context { .. } => {
                Some("the last argument is the build context, usually . for this directory".to_owned())
            }
            SettingsError::Endpoint(_) => help_of(None, "host"),
            SettingsError::DockerContext(_) => Some(
                "it is set by --context, DOCKER_CONTEXT or currentContext in Docker's config.json".to_owned(),
            ),
        };
        Self::config_line(chain(&error)).hints(hint)
    }
}

/// Returns the help of a flag, of any command if `command` is `None`: `--secret <SECRET>: Expose a secret to …`.
fn help_of(command: Option<&str>, flag: &str) -> Option<String> {
    let mut cli = Cli::command();
    cli.build();
    let mut arguments = (cli.get_subcommands())
        .filter(|known| command.is_none_or(|name| known.get_name() == name))
        .flat_map(|known| std::iter::once(known).chain(known.get_subcommands()))
        .chain([&cli])
        .flat_map(Command::get_arguments);
    let argument = arguments.find(|argument| argument.get_long() == Some(flag))?;
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
                &["build", "--nope", "."],
                "unexpected argument '--nope' found",
                &["larder build --help lists the commands and options"],
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
            let help = help_of(None, flag).unwrap_or_default();
            assert!(help.starts_with(&format!("--{flag} <")) && help.contains(">: "), "{help}");
        }
        assert_eq!(help_of(None, "nonesuch"), None);
        for (command, expected) in [("build", "RUN steps"), ("run", "Network of the container")] {
            let help = help_of(Some(command), "network").unwrap_or_default();
            assert!(help.contains(expected), "{command}: {help}");
        }
    }
}
