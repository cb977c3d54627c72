//! Resolves the tiers that a build uses.

use std::time::Duration;

use super::precedence::Fallback;
use super::{Environment, Settings, SettingsError, TierSettings, duration, env_vars};
use crate::cli::TierArgs;
use crate::registry::{ImageRef, InvalidImageRef};
use crate::tiers::ArchiveRequest;

const DEFAULT_ARCHIVE_TIMEOUT: Duration = Duration::from_mins(10);
const NAMES: [&str; 7] = ["engine", "registry", "prefix", "graft", "archive", "layers", "mounts"];

impl TierSettings {
    pub(crate) fn resolve(
        args: &TierArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let file = &settings.file;
        let fallback = Fallback { environment, file };
        let configured = environment.switch(env_vars::LARDER_ENABLED)?.or(file.enabled);
        let enabled = args.enable_cache.or(configured).unwrap_or(true);
        let typed = (!args.tiers.is_empty()).then(|| args.tiers.join(","));
        let written = file.tiers.as_ref().map(|names| names.join(","));
        let names = fallback.first(
            ("tiers", typed.as_deref()),
            env_vars::LARDER_TIERS,
            ("tiers", written.as_deref()),
            names,
        )?;
        let archive_request = if args.enable_cache == Some(true) {
            ArchiveRequest::Typed
        } else if configured == Some(true) || names.as_ref().is_some_and(|names| names.contains(&"archive")) {
            ArchiveRequest::Configured
        } else {
            ArchiveRequest::None
        };
        let names = names.unwrap_or_else(|| NAMES.to_vec());
        let archive_timeout = fallback.first(
            ("archive-timeout", args.archive_timeout.as_deref()),
            env_vars::LARDER_ARCHIVE_TIMEOUT,
            ("archive_timeout", file.archive_timeout.as_deref()),
            duration::parse,
        )?;
        let cache_repo = fallback.first(
            ("cache-repo", args.cache_repo.as_deref()),
            env_vars::LARDER_CACHE_REPO,
            ("cache_repo", file.cache_repo.as_deref()),
            parse_repository,
        )?;
        let is_used = |name| enabled && names.contains(&name);
        Ok(Self {
            engine: is_used("engine"),
            registry: is_used("registry"),
            prefix: is_used("prefix"),
            graft: is_used("graft") && is_used("prefix"),
            archive: is_used("archive"),
            archive_request,
            layers: is_used("layers"),
            mounts: is_used("mounts"),
            switch: if enabled { "it is not among the tiers asked for" } else { "caching is switched off" },
            archive_timeout: archive_timeout.unwrap_or(DEFAULT_ARCHIVE_TIMEOUT),
            cache_repo,
        })
    }
}

/// Parses comma-separated names of tiers.
fn names(text: &str) -> Result<Vec<&'static str>, String> {
    let known = |name: &str| {
        let found = NAMES.iter().find(|known| **known == name).copied();
        found.ok_or_else(|| format!("`{name}` is none of {}", NAMES.join(", ")))
    };
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(known).collect()
}

/// Returns the repository of base images from a flag, the environment or the file, or `None` if they stay in the
/// engine.
pub(crate) fn base_repository(
    flag: (&'static str, Option<&str>),
    settings: &Settings,
    environment: &Environment,
) -> Result<Option<ImageRef>, SettingsError> {
    let file = &settings.file;
    let written = ("base_repo", file.base_repo.as_deref());
    Fallback { environment, file }.first(flag, env_vars::LARDER_BASE_REPO, written, parse_repository)
}

/// Parses the name of a repository, `[HOST/]PATH`, and rejects the name of an image.
pub(crate) fn parse_repository(text: &str) -> Result<ImageRef, String> {
    let name: ImageRef = text.parse().map_err(|error: InvalidImageRef| error.to_string())?;
    let has_tag = text.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if has_tag { Err(format!("`{text}` names an image: leave the tag out")) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_no_tag() {
        assert_eq!(
            parse_repository("reg.example:5000/a/app").unwrap().repository(),
            "reg.example:5000/a/app"
        );
        assert!(parse_repository("reg.example/app:cache").unwrap_err().contains("leave the tag out"));
        assert!(parse_repository("App").is_err());
    }

    #[test]
    fn tiers_are_named_as_in_summaries() {
        assert_eq!(names("engine, mounts").unwrap(), ["engine", "mounts"]);
        assert_eq!(names("").unwrap(), [""; 0]);
        assert_eq!(
            names("engine,images").unwrap_err(),
            "`images` is none of engine, registry, prefix, graft, archive, layers, mounts"
        );
    }
}
