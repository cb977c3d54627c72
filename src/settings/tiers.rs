//! Which tiers a build uses.

use std::time::Duration;

use super::precedence::Behind;
use super::{Environment, Settings, SettingsError, duration, env_vars};
use crate::cli::TierArgs;

/// How long moving a whole image may take.
const DEFAULT_ARCHIVE_TIMEOUT: Duration = Duration::from_mins(10);
const NAMES: [&str; 3] = ["engine", "archive", "mounts"];

/// Which tiers a build uses.
#[derive(Debug, Clone)]
pub struct TierSettings {
    /// Look for the image in the engine.
    pub engine: bool,
    /// Keep whole images in the store, and take them from there.
    pub archive: bool,
    /// Keep them even where that has been of no use; asked for by name.
    pub keep_always: bool,
    /// Carry cache mounts.
    pub mounts: bool,
    /// What switched off those that are not used.
    pub switch: &'static str,
    /// How long moving a whole image may take.
    pub archive_timeout: Duration,
}

impl TierSettings {
    /// Whether any tier is used.
    pub fn are_any(&self) -> bool {
        self.engine || self.archive || self.mounts
    }

    /// Resolves the flags about tiers.
    ///
    /// # Errors
    ///
    /// Fails on malformed values and unknown names.
    pub fn resolve(
        args: &TierArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let file = &settings.file;
        let behind = Behind { environment, file };
        let asked_for = match args.enable_cache {
            Some(typed) => Some(typed),
            None => environment.switch(env_vars::LARDER_ENABLED)?.or(file.enabled),
        };
        let enabled = asked_for.unwrap_or(true);
        let typed = (!args.tiers.is_empty()).then(|| args.tiers.join(","));
        let written = file.tiers.as_ref().map(|names| names.join(","));
        let names = behind.first(
            ("tiers", typed.as_deref()),
            env_vars::LARDER_TIERS,
            ("tiers", written.as_deref()),
            names,
        )?;
        let names = names.unwrap_or_else(|| NAMES.to_vec());
        let archive_timeout = behind.first(
            ("archive-timeout", args.archive_timeout.as_deref()),
            env_vars::LARDER_ARCHIVE_TIMEOUT,
            ("archive_timeout", file.archive_timeout.as_deref()),
            duration::parse,
        )?;
        let is_used = |name| enabled && names.contains(&name);
        Ok(Self {
            engine: is_used("engine"),
            archive: is_used("archive"),
            keep_always: asked_for == Some(true),
            mounts: is_used("mounts"),
            switch: if enabled { "it is not among the tiers asked for" } else { "caching is switched off" },
            archive_timeout: archive_timeout.unwrap_or(DEFAULT_ARCHIVE_TIMEOUT),
        })
    }
}

/// Names with commas between them.
fn names(text: &str) -> Result<Vec<&'static str>, String> {
    let known = |name: &str| {
        let found = NAMES.iter().find(|known| **known == name).copied();
        found.ok_or_else(|| format!("`{name}` is none of {}", NAMES.join(", ")))
    };
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_named_as_in_summaries() {
        assert_eq!(names("engine, mounts").unwrap(), ["engine", "mounts"]);
        assert_eq!(names("").unwrap(), [""; 0]);
        assert_eq!(names("engine,images").unwrap_err(), "`images` is none of engine, archive, mounts");
    }
}
