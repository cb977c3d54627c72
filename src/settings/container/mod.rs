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

use super::{Environment, Settings, SettingsError, run_of_image};
use crate::cli::{ContainerArgs, ContainerOptions, OPTIONS};
use crate::engine::ContainerSpec;
use crate::store::RunFlags;

#[derive(Debug, Clone)]
pub(crate) struct RunSettings {
    /// The request; its image is set once it is known.
    pub(crate) container: ContainerSpec,
    /// The flags and the command, which an entry stores so that its image can be run again in the same way.
    pub(crate) kept: RunFlags,
}

impl RunSettings {
    /// Returns an error for the first `docker run` option that `larder run` does not support.
    pub(crate) fn refuse(args: &ContainerArgs) -> Result<(), SettingsError> {
        match args.options.refused() {
            Some(option) => {
                let (flag, reason, instead) = (option.name, option.reason, option.instead);
                Err(SettingsError::Refused { flag, reason, instead })
            }
            None => Ok(()),
        }
    }

    /// Resolves the flags for an image of `larder.yaml` or of a context, built with `variables`.
    pub(crate) fn of_image(
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
                    .map_err(|error| error.of_image(file, name, run_of_image::keys))?
                    .without("env", is_set);
                let command = if command.is_empty() { own_command } else { command };
                let keys =
                    |flag: &str| run_of_image::keys(flag).filter(|_| args.options.get(flag).is_empty());
                Self::of_flags(args, &written, command, environment)
                    .map_err(|error| error.of_image(file, name, keys))?
            }
            None => Self::of_flags(args, &ContainerOptions::default(), command, environment)?,
        };
        Ok(run.made_for(variables))
    }

    /// Resolves the flags for an image from an entry, which stores the flags of an earlier run. `variables` may differ
    /// from those of that run.
    pub(crate) fn of_entry(
        args: &ContainerArgs,
        command: &[String],
        kept: &RunFlags,
        variables: &BTreeMap<String, String>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let is_other = |set: &str| set.split_once('=').is_none_or(|(name, _)| !variables.contains_key(name));
        let mut flags = kept.flags.clone();
        flags.retain(|flag| flag.strip_prefix("--env=").is_none_or(is_other));
        let written = ContainerArgs::of_flags(&flags).ok_or_else(|| {
            // If unknown flags were dropped, the container could have more permissions than intended.
            let flags = flags.join(" ");
            SettingsError::flag(
                "from-cache",
                format!("this version does not know all flags of the entry: {flags}"),
            )
        })?;
        let written = written.options;
        let command = if command.is_empty() { &kept.command } else { command };
        Ok(Self::of_flags(args, &written, command, environment)?.made_for(variables))
    }

    /// Adds the variables that the image was built with. Their values are stored, and flags override them.
    fn made_for(mut self, variables: &BTreeMap<String, String>) -> Self {
        let set: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.kept.flags.splice(0..0, set.iter().map(|set| format!("--env={set}")));
        self.container.put_first("Env", set);
        self
    }

    /// Returns the names of variables that an earlier run had and that have no value in this one.
    pub(crate) fn missing_variables(&self) -> Vec<&str> {
        let names = self.kept.flags.iter().filter_map(|flag| flag.strip_prefix("--env="));
        let names = names.filter(|name| !name.contains('='));
        let is_set = |name: &str| self.container.texts("Env").any(|set| set.split('=').next() == Some(name));
        names.filter(|name| !is_set(name)).collect()
    }

    pub(crate) fn of(&self, image: &str) -> ContainerSpec {
        self.container.clone().of_image(image)
    }

    fn of_flags(
        args: &ContainerArgs,
        written: &ContainerOptions,
        command: &[String],
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let options = local::self_contained(&args.options, Path::new(""))?.over(written);
        let mut request = request::request(&options, environment)?;
        if !command.is_empty() {
            request["Cmd"] = command.into();
        }
        let kept = RunFlags { flags: kept(&options), command: command.to_vec() };
        Ok(Self { container: ContainerSpec::new(args.name.clone(), request), kept })
    }
}

/// Returns the flags to store: without the name of the container and without the values of variables.
fn kept(options: &ContainerOptions) -> Vec<String> {
    let mut flags = Vec::new();
    for option in OPTIONS {
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
