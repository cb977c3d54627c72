//! Resolves the tiers that a build uses.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::options::OptionLayer;
use super::origin::{FromText, Origin, Written, parse_flag};
use super::source::parse_reference;
use super::{Settings, SettingsError, TierSettings};
use crate::registry::ImageRef;
use crate::tiers::ArchiveRequest;

const DEFAULT_ARCHIVE_TIMEOUT: Duration = Duration::from_mins(10);
const TIER_NAMES: [&str; 7] = ["engine", "registry", "prefix", "graft", "archive", "layers", "mounts"];

impl TierSettings {
    pub(super) fn resolve(options: &OptionLayer) -> Self {
        let enabled = options.enabled.as_ref().is_none_or(|enabled| enabled.value);
        let is_named = |name| options.tiers.as_ref().map(|names| names.0.contains(&name));
        let archive_request = match &options.enabled {
            Some(enabled) if enabled.value && matches!(enabled.origin, Origin::Flag(_)) => {
                ArchiveRequest::CommandLine
            }
            Some(enabled) if enabled.value => ArchiveRequest::Configured,
            _ if is_named("archive") == Some(true) => ArchiveRequest::Configured,
            _ => ArchiveRequest::None,
        };
        let is_used = |name| enabled && is_named(name).unwrap_or(true);
        Self {
            engine: is_used("engine"),
            registry: is_used("registry"),
            prefix: is_used("prefix"),
            graft: is_used("graft") && is_used("prefix"),
            archive: is_used("archive"),
            archive_request,
            layers: is_used("layers"),
            mounts: is_used("mounts"),
            are_named: options.tiers.is_some(),
            switch: if enabled { "it is not among the requested tiers" } else { "caching is switched off" },
            archive_timeout: options.archive_timeout.unwrap_or(DEFAULT_ARCHIVE_TIMEOUT),
            cache_repo: options.cache_repo.clone().map(|repository| repository.0),
        }
    }

    pub(crate) fn from_settings(settings: &Settings) -> Self {
        Self::resolve(&settings.options)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TierNames(Vec<&'static str>);

impl TierNames {
    pub(super) fn from_flags(names: &[String]) -> Result<Option<Self>, SettingsError> {
        let parsed = Origin::Flag("tiers").parse(names, Self::from_text)?;
        let names_of_all = parsed.into_iter().flat_map(|names| names.0).collect();
        Ok((!names.is_empty()).then_some(Self(names_of_all)))
    }
}

impl FromText for TierNames {
    fn from_text(text: &str) -> Result<Self, String> {
        let known = |name: &str| {
            let found = TIER_NAMES.iter().find(|known| **known == name).copied();
            found.ok_or_else(|| format!("`{name}` is not one of {}", TIER_NAMES.join(", ")))
        };
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(known).collect::<Result<_, _>>().map(Self)
    }
}

impl<'de> Deserialize<'de> for TierNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<Written<Self>>::deserialize(deserializer)?;
        Ok(Self(names.into_iter().flat_map(|Written(names)| names.0).collect()))
    }
}

/// The name of a repository, `[HOST/]PATH`, without a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RepositoryName(pub(super) ImageRef);

impl FromText for RepositoryName {
    fn from_text(text: &str) -> Result<Self, String> {
        parse_repository(text).map(Self)
    }
}

pub(crate) fn archive_timeout(
    typed: Option<&String>,
    settings: &Settings,
) -> Result<Duration, SettingsError> {
    let typed = parse_flag("archive-timeout", typed)?;
    Ok(typed.or(settings.options.archive_timeout).unwrap_or(DEFAULT_ARCHIVE_TIMEOUT))
}

/// Returns the repository of base images from a flag, the environment or the file, or `None` if they stay in the
/// engine.
pub(crate) fn base_repository(
    (name, text): (&'static str, Option<&String>),
    settings: &Settings,
) -> Result<Option<ImageRef>, SettingsError> {
    let repository = parse_flag::<RepositoryName>(name, text)?.or_else(|| settings.options.base_repo.clone());
    Ok(repository.map(|repository| repository.0))
}

/// Parses the name of a repository, `[HOST/]PATH`, and rejects the name of an image.
pub(crate) fn parse_repository(text: &str) -> Result<ImageRef, String> {
    let name = parse_reference(text)?;
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
    fn an_unknown_tier_is_an_error() {
        let names = |text| TierNames::from_text(text).map(|names| names.0);
        assert_eq!(names("engine, mounts").unwrap(), ["engine", "mounts"]);
        assert_eq!(names("").unwrap(), [""; 0]);
        assert_eq!(
            names("engine,images").unwrap_err(),
            "`images` is not one of engine, registry, prefix, graft, archive, layers, mounts"
        );
    }
}
