//! Image configs: what a build takes over from the image that it stands on.
//!
//! [`ImageConfig::identity`] names a base image by just that: its layers,
//! uncompressed, and the settings that a build inherits. It is the one name
//! that every place which knows an image can compute:
//!
//! | place | knows |
//! |---|---|
//! | engine, graph driver store | the config, its digest (the id), the digest that the tag had when pulled |
//! | engine, containerd store | the config, the digests of index and manifest, not that of the config |
//! | registry | all of them |
//!
//! The digest of the index, on the other hand, changes with the image of any
//! platform, and is not known of an image that was loaded or built here; the
//! manifest's digest is unknown to the first place and the config's to the
//! second. Not part of the identity are the history and the times of an image:
//! what has the same layers and settings is the same base.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;

/// The part of an image that a build inherits. What is absent is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ImageConfig {
    /// Operating system.
    pub(crate) os: String,
    /// Its version, for Windows.
    pub(crate) os_version: String,
    /// Architecture as the config spells it.
    pub(crate) architecture: String,
    /// Its variant.
    pub(crate) variant: String,
    /// Who made it.
    pub(crate) author: String,
    /// The digests of the uncompressed layers, the lowest first.
    pub(crate) layers: Vec<String>,
    /// What containers of it, and steps on top of it, start with.
    pub(crate) settings: ImageSettings,
}

/// What containers of an image, and steps on top of it, start with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageSettings {
    /// User and perhaps group.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) user: String,
    /// `NAME=VALUE`, in order.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) env: Vec<String>,
    /// The command's first words.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) entrypoint: Vec<String>,
    /// The command's further words.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) cmd: Vec<String>,
    /// The working directory.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) working_dir: String,
    /// `PORT/PROTOCOL`.
    #[serde(deserialize_with = "names")]
    pub(crate) exposed_ports: BTreeSet<String>,
    /// Paths of volumes.
    #[serde(deserialize_with = "names")]
    pub(crate) volumes: BTreeSet<String>,
    /// Labels.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// The signal that ends it.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) stop_signal: String,
    /// Whether the command is escaped already, for Windows.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) args_escaped: bool,
    /// How its health is checked.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) healthcheck: Healthcheck,
    /// Instructions that run in a build on top of it.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) on_build: Vec<String>,
    /// The shell of RUN, CMD and ENTRYPOINT.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) shell: Vec<String>,
}

/// How an image's health is checked; times in nanoseconds, 0 for the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Healthcheck {
    /// The command.
    #[serde(deserialize_with = "or_empty")]
    pub(crate) test: Vec<String>,
    /// Between two checks.
    pub(crate) interval: i64,
    /// Until a check has failed.
    pub(crate) timeout: i64,
    /// For the container to start.
    pub(crate) start_period: i64,
    /// Between two checks while it starts.
    pub(crate) start_interval: i64,
    /// Failures until it is unhealthy.
    pub(crate) retries: i64,
}

/// The config file of an image (OCI image specification, with Docker's additions).
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    #[serde(deserialize_with = "or_empty")]
    os: String,
    #[serde(rename = "os.version", deserialize_with = "or_empty")]
    os_version: String,
    #[serde(deserialize_with = "or_empty")]
    architecture: String,
    #[serde(deserialize_with = "or_empty")]
    variant: String,
    #[serde(deserialize_with = "or_empty")]
    author: String,
    #[serde(deserialize_with = "or_empty")]
    config: ImageSettings,
    #[serde(deserialize_with = "or_empty")]
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    #[serde(deserialize_with = "or_empty")]
    diff_ids: Vec<String>,
}

/// When an image was built, by its config file; nothing where that is no time.
pub(super) fn creation_time(json: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Times {
        created: Option<String>,
    }
    serde_json::from_slice::<Times>(json).ok()?.created?.parse().ok()
}

/// `null` counts as absent.
fn or_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The names of an object whose values say nothing.
fn names<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    let object: BTreeMap<String, serde_json::Value> = or_empty(from)?;
    Ok(object.into_keys().collect())
}

impl ImageConfig {
    /// Reads a config file.
    ///
    /// # Errors
    ///
    /// Fails for what is no image's config.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let File { os, os_version, architecture, variant, author, config, rootfs } =
            serde_json::from_slice(json)?;
        let layers = rootfs.diff_ids;
        Ok(Self { os, os_version, architecture, variant, author, layers, settings: config })
    }

    /// The name of this as a base image.
    ///
    /// # Panics
    ///
    /// Never: all of it can be written as JSON.
    pub(crate) fn identity(&self) -> Digest {
        let mut bytes = b"larder-base-v1\n".to_vec();
        // Every field stands there, in the order in which it is declared.
        serde_json::to_writer(&mut bytes, self).expect("strings, numbers and maps of strings make JSON");
        Digest::of(&bytes)
    }

    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) fn platform(&self) -> String {
        let parts = [self.os.as_str(), &self.architecture, &self.variant];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"architecture":"arm64","variant":"v8","os":"linux","created":"2024-01-01T00:00:00Z",
        "config":{"Env":["PATH=/bin"],"Cmd":["sh"],"Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},"OnBuild":["RUN x"],
        "Healthcheck":{"Test":["CMD","true"],"Interval":1000}},
        "rootfs":{"type":"layers","diff_ids":["sha256:a","sha256:b"]},"history":[{"created_by":"x"}]}"#;

    fn identity(json: &str) -> Digest {
        ImageConfig::parse(json.as_bytes()).unwrap().identity()
    }

    #[test]
    fn what_a_build_inherits_is_the_identity() {
        let config = ImageConfig::parse(FILE.as_bytes()).unwrap();
        assert_eq!(config.platform(), "linux/arm64/v8");
        assert_eq!(config.settings.on_build, ["RUN x"]);
        for (from, to) in [
            ("\"sha256:b\"", "\"sha256:c\""),
            ("PATH=/bin", "PATH=/usr/bin"),
            ("[\"sh\"]", "[\"bash\"]"),
            ("/data", "/other"),
            ("80/tcp", "81/tcp"),
            ("RUN x", "RUN y"),
            ("1000", "2000"),
            ("arm64", "amd64"),
            ("\"v8\"", "\"v9\""),
        ] {
            assert_ne!(identity(&FILE.replace(from, to)), config.identity(), "{from}");
        }
        for (from, to) in [
            ("2024-01-01", "2025-01-01"),
            ("created_by", "comment"),
            ("\"Cmd\"", "\"Labels\":null,\"Entrypoint\":null,\"User\":\"\",\"Image\":\"sha256:old\",\"Cmd\""),
        ] {
            assert_eq!(identity(&FILE.replace(from, to)), config.identity(), "{from}");
        }
    }

    #[test]
    fn an_empty_config_is_one_and_a_list_is_not() {
        assert_eq!(ImageConfig::parse(b"{\"config\":null}").unwrap(), ImageConfig::default());
        assert!(ImageConfig::parse(b"[1]").is_err());
    }
}
