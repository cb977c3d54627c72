//! Resolves the flags of `larder run` into the request that creates its container.
//!
//! ```text
//! command line ─▶ local (files read, absolute paths) ─┐
//!                                                     ├─▶ combined ─▶ request: sent to the engine, stored in an entry
//! larder.yaml, or an entry ───────────────────────────┘
//! ```

mod local;
mod mount;
mod request;
mod values;

use std::collections::BTreeMap;
use std::path::Path;

use super::{Environment, Settings, SettingsError, run_options};
use crate::cli::{CONTAINER_OPTIONS, ContainerArgs, ContainerOptions};
use crate::engine::ContainerSpec;
use crate::store::RunFlags;

#[derive(Debug, Clone)]
pub(crate) struct RunSettings {
    /// The request; its image is set once it is known.
    pub(crate) container: ContainerSpec,
    /// The flags and the command, which an entry stores so that its image can be run again in the same way.
    pub(crate) stored: RunFlags,
}

impl RunSettings {
    /// Returns an error for the first `docker run` option that `larder run` does not support.
    pub(crate) fn check_supported(args: &ContainerArgs) -> Result<(), SettingsError> {
        SettingsError::unsupported(args.options.refused())
    }

    /// Resolves the flags for an image of `larder.yaml` or of a context, built with `variables`.
    pub(crate) fn for_image(
        args: &ContainerArgs,
        command: &[String],
        name: &str,
        variables: &BTreeMap<String, String>,
        (settings, environment): (&Settings, &Environment),
    ) -> Result<Self, SettingsError> {
        let file = &settings.file;
        let run = match file.image(name) {
            Some(image) => {
                let own_command = &image.run.command;
                let is_set = |set: &String| variables.contains_key(set.split('=').next().unwrap_or_default());
                let written = local::self_contained(&image.run.options, &file.directory())
                    .map_err(|error| error.attributed_to_image(file, name, run_options::key_path))?
                    .without("env", is_set);
                let command = if command.is_empty() { own_command } else { command };
                let keys =
                    |flag: &str| run_options::key_path(flag).filter(|_| args.options.get(flag).is_empty());
                Self::from_options(args, &written, command, environment)
                    .map_err(|error| error.attributed_to_image(file, name, keys))?
            }
            None => Self::from_options(args, &ContainerOptions::default(), command, environment)?,
        };
        Ok(run.with_variables(variables))
    }

    /// Resolves the flags for an image from an entry, which stores the flags of an earlier run. `variables` may differ
    /// from those of that run.
    pub(crate) fn for_entry(
        args: &ContainerArgs,
        command: &[String],
        kept: &RunFlags,
        variables: &BTreeMap<String, String>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let is_other = |set: &str| set.split_once('=').is_none_or(|(name, _)| !variables.contains_key(name));
        let mut flags = kept.flags.clone();
        flags.retain(|flag| flag.strip_prefix("--env=").is_none_or(is_other));
        let written = ContainerArgs::parse_flags(&flags).ok_or_else(|| {
            // If unknown flags were dropped, the container could have more permissions than intended.
            let flags = flags.join(" ");
            SettingsError::flag(
                "from-cache",
                format!("this version does not know all flags of the entry: {flags}"),
            )
        })?;
        let written = written.options;
        let command = if command.is_empty() { &kept.command } else { command };
        Ok(Self::from_options(args, &written, command, environment)?.with_variables(variables))
    }

    /// Adds the variables that the image was built with. Their values are stored, and flags override them.
    fn with_variables(mut self, variables: &BTreeMap<String, String>) -> Self {
        let set: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.stored.flags.splice(0..0, set.iter().map(|set| format!("--env={set}")));
        self.container.prepend("Env", set);
        self
    }

    /// Returns the names of variables that an earlier run had and that have no value in this one.
    pub(crate) fn missing_variables(&self) -> Vec<&str> {
        let names = self.stored.flags.iter().filter_map(|flag| flag.strip_prefix("--env="));
        let names = names.filter(|name| !name.contains('='));
        let is_set =
            |name: &str| self.container.strings("Env").any(|set| set.split('=').next() == Some(name));
        names.filter(|name| !is_set(name)).collect()
    }

    pub(crate) fn container_for(&self, image: &str) -> ContainerSpec {
        self.container.clone().with_image(image)
    }

    fn from_options(
        args: &ContainerArgs,
        written: &ContainerOptions,
        command: &[String],
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let options = local::self_contained(&args.options, Path::new(""))?.overriding(written);
        let mut request = request::container_request(&options, environment)?;
        if !command.is_empty() {
            request["Cmd"] = command.into();
        }
        let kept = RunFlags { flags: stored_flags(&options), command: command.to_vec() };
        Ok(Self { container: ContainerSpec::new(args.name.clone(), request), stored: kept })
    }
}

/// Returns the flags to store: without the name of the container and without the values of variables.
fn stored_flags(options: &ContainerOptions) -> Vec<String> {
    let mut flags = Vec::new();
    for option in CONTAINER_OPTIONS {
        for value in options.get(option.name) {
            let value =
                if option.name == "env" { value.split('=').next().unwrap_or_default() } else { value };
            let flag = format!("--{}={value}", option.name);
            if !flags.contains(&flag) {
                flags.push(flag);
            }
        }
    }
    flags
}

#[cfg(test)]
mod tests;
