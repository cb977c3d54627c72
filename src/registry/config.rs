//! Image configs: what a build inherits from its base image.
//!
//! [`ImageConfig::identity`] identifies a base image by its uncompressed layers and the settings that a build inherits.
//! It is the only identifier that every source of an image can compute:
//!
//! | source | knows |
//! |---|---|
//! | engine, graph driver store | the config, its digest (the id), the digest that the tag had when pulled |
//! | engine, containerd store | the config, the digests of index and manifest, but not that of the config |
//! | registry | all of them |
//!
//! The digest of the index changes with the image of any platform, and is unknown for an image that was loaded or built
//! locally; the graph driver store does not know the manifest's digest, and the containerd store does not know the
//! config's. History and times of an image are not part of the identity: images with the same layers and settings are
//! the same base.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;

/// The part of an image that a build inherits. Absent values are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ImageConfig {
    pub(crate) os: String,
    pub(crate) os_version: String,
    /// The architecture as the config spells it.
    pub(crate) architecture: String,
    pub(crate) variant: String,
    pub(crate) author: String,
    /// Digests of the uncompressed layers, lowest first.
    pub(crate) layers: Vec<String>,
    pub(crate) settings: ImageSettings,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageSettings {
    /// `USER[:GROUP]`.
    pub(crate) user: String,
    /// `NAME=VALUE`, in order.
    pub(crate) env: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) cmd: Vec<String>,
    pub(crate) working_dir: String,
    /// `PORT/PROTOCOL`.
    #[serde(deserialize_with = "names")]
    pub(crate) exposed_ports: BTreeSet<String>,
    #[serde(deserialize_with = "names")]
    pub(crate) volumes: BTreeSet<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) stop_signal: String,
    /// `true` if the command is already escaped; Windows only.
    pub(crate) args_escaped: bool,
    #[serde(deserialize_with = "without_nulls")]
    pub(crate) healthcheck: Healthcheck,
    pub(crate) on_build: Vec<String>,
    pub(crate) shell: Vec<String>,
}

/// A health check; times are in nanoseconds, 0 means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Healthcheck {
    pub(crate) test: Vec<String>,
    pub(crate) interval: i64,
    pub(crate) timeout: i64,
    pub(crate) start_period: i64,
    pub(crate) start_interval: i64,
    pub(crate) retries: i64,
}

/// The config file of an image (OCI image specification, with Docker's additions).
#[derive(Default, Deserialize)]
#[serde(default)]
struct ImageConfigFile {
    os: String,
    #[serde(rename = "os.version")]
    os_version: String,
    architecture: String,
    variant: String,
    author: String,
    #[serde(deserialize_with = "without_nulls")]
    config: ImageSettings,
    #[serde(deserialize_with = "without_nulls")]
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct HistoryEntry {
    pub(super) created: Option<String>,
    #[serde(default)]
    pub(super) created_by: String,
    #[serde(default)]
    pub(super) empty_layer: bool,
}

pub(super) fn creation_time(json: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Times {
        created: Option<String>,
    }
    serde_json::from_slice::<Times>(json).ok()?.created?.parse().ok()
}

/// Returns the time of the step that made each layer, lowest layer first. Steps that only copy from the context have no
/// time, because their result does not change over time.
pub(super) fn layer_times(json: &[u8]) -> Vec<Option<Timestamp>> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        history: Vec<HistoryEntry>,
    }
    let history = serde_json::from_slice(json).map_or_else(|_| Vec::new(), |File { history }| history);
    let layers = history.into_iter().filter(|entry| !entry.empty_layer);
    let time =
        |entry: HistoryEntry| entry.created.filter(|_| is_time_dependent(&entry.created_by))?.parse().ok();
    layers.map(time).collect()
}

/// Returns `true` if the step with this history entry could have a different result when it is run later: a RUN, or an
/// ADD of a remote source.
pub(super) fn is_time_dependent(created_by: &str) -> bool {
    ["RUN ", "ADD http", "ADD git"].iter().any(|start| created_by.starts_with(start))
}

/// Deserializes an object; fields that are `null` count as absent.
fn without_nulls<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<T, D::Error> {
    let mut fields = Map::<String, Value>::deserialize(from)?;
    fields.retain(|_, value| !value.is_null());
    serde_json::from_value(fields.into()).map_err(D::Error::custom)
}

/// Deserializes the keys of an object whose values are meaningless.
fn names<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<String>, D::Error> {
    Ok(Map::<String, Value>::deserialize(from)?.into_iter().map(|(name, _)| name).collect())
}

impl ImageConfig {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        let ImageConfigFile { os, os_version, architecture, variant, author, config, rootfs } =
            without_nulls(serde_json::from_slice::<Value>(json)?)?;
        let layers = rootfs.diff_ids;
        Ok(Self { os, os_version, architecture, variant, author, layers, settings: config })
    }

    pub(crate) fn identity(&self) -> Digest {
        let mut bytes = b"larder-base-v1\n".to_vec();
        // Includes every field, in the order of declaration.
        serde_json::to_writer(&mut bytes, self).expect("strings, numbers and maps of strings make JSON");
        Digest::of(&bytes)
    }

    /// Returns `OS/ARCHITECTURE[/VARIANT]`.
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

    #[test]
    fn only_steps_whose_result_can_change_have_times() {
        let time = "2024-02-03T04:05:06Z";
        let entry = |created_by: &str, is_empty: bool| {
            format!(r#"{{"created":"{time}","created_by":"{created_by}","empty_layer":{is_empty}}}"#)
        };
        let history = [
            entry("RUN |1 A=b /bin/sh -c pip install x # buildkit", false),
            entry("ENV A=1", true),
            entry("COPY . . # buildkit", false),
            entry("ADD https://example.com/a / # buildkit", false),
            r#"{"created_by":"RUN without a time"}"#.to_owned(),
        ];
        let times = layer_times(format!(r#"{{"history":[{}]}}"#, history.join(",")).as_bytes());
        let time = Some(time.parse().unwrap());
        assert_eq!(times, [time, None, time, None]);
        assert_eq!(layer_times(b"{}"), []);
    }

    fn identity(json: &str) -> Digest {
        ImageConfig::parse(json.as_bytes()).unwrap().identity()
    }

    #[test]
    fn the_identity_depends_only_on_what_a_build_inherits() {
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
    fn an_empty_config_is_valid_and_a_list_is_not() {
        assert_eq!(ImageConfig::parse(b"{\"config\":null}").unwrap(), ImageConfig::default());
        assert!(ImageConfig::parse(b"[1]").is_err());
    }
}
