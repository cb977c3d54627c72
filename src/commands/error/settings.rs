//! Errors of settings.

use super::CommandError;
use super::usage::{help_of, help_of_command};
use crate::error_chain::chain;
use crate::settings::SettingsError;

impl CommandError {
    /// Returns the error for a flag of `larder run`, some of which have a different meaning in other commands.
    pub(crate) fn from_run_settings(error: SettingsError) -> Self {
        match &error {
            SettingsError::Flag { flag, .. } => {
                Self::config_line(chain(&error)).hints(help_of_command("run", flag))
            }
            _ => error.into(),
        }
    }
}

impl From<SettingsError> for CommandError {
    fn from(error: SettingsError) -> Self {
        let hint = match &error {
            SettingsError::Flag { flag, .. } => help_of(flag),
            SettingsError::Unsupported { instead, .. } => Some((*instead).to_owned()),
            SettingsError::Variable { variable, .. } => Some(format!("correct {variable} or unset it")),
            SettingsError::File { .. } => Some(
                "docs/configuration.md and larder.schema.json list the settings of larder.yaml; --config and LARDER_CONFIG select a different file"
                    .to_owned(),
            ),
            SettingsError::Context { .. } => {
                Some("the last argument is the build context, usually . for this directory".to_owned())
            }
            SettingsError::Endpoint(_) => help_of("host"),
            SettingsError::DockerContext(_) => Some(
                "it is set by --context, DOCKER_CONTEXT or currentContext in Docker's config.json".to_owned(),
            ),
        };
        Self::config_line(chain(&error)).hints(hint)
    }
}
