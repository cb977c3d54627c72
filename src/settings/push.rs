//! Resolves who pushes an image, and how its layers are compressed.

use super::precedence::Fallback;
use super::{Environment, PushSettings, PushWith, Settings, SettingsError, env_vars};
use crate::cli::BuildArgs;
use crate::registry::Compression;

impl PushSettings {
    pub(super) fn resolve(
        args: &BuildArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let fallback = Fallback { environment, file: &settings.file };
        let with = fallback.first(
            ("push-with", args.push_with.as_deref()),
            env_vars::LARDER_PUSH_WITH,
            ("push_with", settings.file.push_with.as_deref()),
            push_with,
        )?;
        let compression = fallback.first(
            ("push-compression", args.push_compression.as_deref()),
            env_vars::LARDER_PUSH_COMPRESSION,
            ("push_compression", settings.file.push_compression.as_deref()),
            compression,
        )?;
        Ok(Self { with: with.unwrap_or_default(), compression: compression.unwrap_or_default() })
    }
}

fn push_with(text: &str) -> Result<PushWith, String> {
    match text {
        "auto" => Ok(PushWith::Auto),
        "engine" => Ok(PushWith::Engine),
        "larder" => Ok(PushWith::Larder),
        other => Err(format!("`{other}` is none of auto, engine, larder")),
    }
}

fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        other => Err(format!("`{other}` is neither gzip nor zstd")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_are_refused_with_those_that_are_known() {
        assert_eq!(push_with("larder"), Ok(PushWith::Larder));
        assert_eq!(push_with("docker").unwrap_err(), "`docker` is none of auto, engine, larder");
        assert_eq!(compression("zstd"), Ok(Compression::Zstd));
        assert_eq!(compression("xz").unwrap_err(), "`xz` is neither gzip nor zstd");
    }
}
