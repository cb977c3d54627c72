//! Resolves what pushes an image, and how its layers are compressed.

use super::options::OptionLayer;
use super::origin::FromText;
use super::{PushSettings, PushWith};
use crate::registry::Compression;

impl PushSettings {
    pub(super) fn resolve(options: &OptionLayer) -> Self {
        Self {
            with: options.push_with.unwrap_or_default(),
            compression: options.push_compression.unwrap_or_default(),
        }
    }
}

impl FromText for PushWith {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "engine" => Ok(Self::Engine),
            "larder" => Ok(Self::Larder),
            other => Err(format!("`{other}` is not one of auto, engine, larder")),
        }
    }
}

impl FromText for Compression {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            other => Err(format!("`{other}` is neither gzip nor zstd")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_an_unknown_value_lists_the_known_ones() {
        assert_eq!(PushWith::from_text("larder"), Ok(PushWith::Larder));
        assert_eq!(PushWith::from_text("docker").unwrap_err(), "`docker` is not one of auto, engine, larder");
        assert_eq!(Compression::from_text("zstd"), Ok(Compression::Zstd));
        assert_eq!(Compression::from_text("xz").unwrap_err(), "`xz` is neither gzip nor zstd");
    }
}
