//! `larder.yaml`: what a project always wants.
//!
//! ```yaml
//! cache_dir: /var/cache/larder
//! progress: plain
//! strict: false
//! timeout: 30m
//! enabled: true
//! tiers: [engine, archive, mounts]
//! archive_timeout: 10m
//! remote: s3://bucket/larder?region=eu-north-1
//! remote_timeout: 1m
//! trunk: main
//! read_only: false
//! require_signature: false
//! trusted_keys: [base64…]
//! cache_max_size_gb: 100
//! cache_max_entries: 0
//! max_age: 30d
//! auto_mounts: false
//! mount_scope: shop
//! max_mount_size: 2GB
//! mount_unused_builds: 5
//! mount_timeout: 5m
//! ```

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SettingsError;

const DEFAULT_NAME: &str = "larder.yaml";

/// The file's content. A key that is not listed here is an error, not a no-op.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) cache_dir: Option<PathBuf>,
    pub(super) progress: Option<String>,
    pub(super) strict: Option<bool>,
    pub(super) timeout: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) tiers: Option<Vec<String>>,
    pub(super) archive_timeout: Option<String>,
    pub(super) remote: Option<String>,
    pub(super) remote_timeout: Option<String>,
    pub(super) trunk: Option<String>,
    pub(super) read_only: Option<bool>,
    pub(super) require_signature: Option<bool>,
    pub(super) trusted_keys: Vec<String>,
    pub(super) cache_max_size_gb: Option<f64>,
    pub(super) cache_max_entries: Option<u64>,
    pub(super) max_age: Option<String>,
    pub(super) auto_mounts: Option<bool>,
    pub(super) mount_scope: Option<String>,
    pub(super) max_mount_size: Option<String>,
    pub(super) mount_unused_builds: Option<u32>,
    pub(super) mount_timeout: Option<String>,
    /// Where it stands.
    #[serde(skip)]
    path: PathBuf,
}

impl ConfigFile {
    /// The error of a value that is malformed.
    pub(super) fn fault(&self, key: &str, reason: impl std::fmt::Display) -> SettingsError {
        SettingsError::File { path: self.path.clone(), reason: format!("{key}: {reason}") }
    }

    /// Reads the file asked for, or `larder.yaml` if there is one.
    pub(super) fn load(asked_for: Option<&Path>) -> Result<Self, SettingsError> {
        let path = asked_for.unwrap_or(Path::new(DEFAULT_NAME));
        let failed = |reason: String| SettingsError::File { path: path.to_owned(), reason };
        match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Ok(Self::default()),
            Ok(text) => {
                let file: Self = serde_yaml::from_str(&text).map_err(|error| failed(error.to_string()))?;
                Ok(Self { path: path.to_owned(), ..file })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && asked_for.is_none() => {
                Ok(Self::default())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(failed("there is no such file".to_owned()))
            }
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("larder.yaml");
        std::fs::write(&path, "cache_dirr: /x\n").unwrap();
        let error = ConfigFile::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("cache_dirr"), "{error}");
        std::fs::write(&path, "cache_dir: /x\nstrict: true\n").unwrap();
        let file = ConfigFile::load(Some(&path)).unwrap();
        assert_eq!((file.cache_dir.unwrap().to_str(), file.strict), (Some("/x"), Some(true)));
    }

    #[test]
    fn a_file_that_was_asked_for_must_exist() {
        assert!(ConfigFile::load(Some(Path::new("/nonexistent/larder.yaml"))).is_err());
    }
}
