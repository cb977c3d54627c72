//! The config and the manifest of a prefix: an image of the first layers of another image. Pure.
//!
//! Layers, and the entries of the history that describe them, are taken from the whole image. The settings are those
//! that the builder has at the end of the prefix: they cannot be taken from the whole image, because later instructions
//! overwrite them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ImageConfig, ImageSettings, StoredManifest};
use crate::digest::Digest;

/// The field of a prefix's config that contains its [`PrefixMark`].
const MARK: &str = "larder.prefix";
/// OCI manifests may omit their media type.
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The image of a Dockerfile that ends at a cut, as the builder describes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CutImage {
    pub(crate) settings: ImageSettings,
    /// The digests of the uncompressed layers, lowest first.
    pub(crate) layers: Vec<String>,
    /// The `created_by` of the history's entries, oldest first.
    pub(crate) history: Vec<String>,
    /// The number of the last of these entries that are not inherited from the base image.
    pub(crate) own_entries: usize,
}

/// What larder writes into the config of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrefixMark {
    /// The key. It shows that a tag was not moved to a different image.
    pub(crate) key: Digest,
    pub(crate) published: Timestamp,
}

/// The documents of a prefix.
#[derive(Debug)]
pub(crate) struct PrefixDocuments {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: StoredManifest,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PrefixError {
    #[error("the layers of the builder are not the first ones of the pushed image")]
    Layers,
    #[error("the history of the builder is not the beginning of that of the pushed image")]
    History,
    #[error("the image of the builder has ONBUILD triggers, which would run again")]
    Triggers,
    #[error("the pushed image has no manifest or config that larder can read")]
    Unusable,
}

impl CutImage {
    /// Reads an image that a builder has pushed, from its config.
    pub(crate) fn of_config(config: &[u8], own_entries: usize) -> Result<Self, PrefixError> {
        #[derive(Deserialize)]
        struct File {
            history: Vec<Entry>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            created_by: String,
        }
        let parsed = ImageConfig::parse(config).map_err(|_| PrefixError::Unusable)?;
        let File { history } = serde_json::from_slice(config).map_err(|_| PrefixError::Unusable)?;
        let history = history.into_iter().map(|entry| entry.created_by).collect();
        Ok(Self { settings: parsed.settings, layers: parsed.layers, history, own_entries })
    }
}

/// Returns the mark in the config of a prefix.
pub(super) fn prefix_mark(config: &[u8]) -> Option<PrefixMark> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    serde_json::from_value(config.get_mut(MARK)?.take()).ok()
}

impl PrefixDocuments {
    /// Composes the documents of a prefix of an image with this manifest and config.
    ///
    /// The creation time of the prefix is that of its oldest own layer, because `--max-age` limits it.
    ///
    /// # Errors
    ///
    /// Fails if `cut` is not the beginning of the image.
    pub(crate) fn compose(
        manifest: &[u8],
        config: &[u8],
        cut: &CutImage,
        mark: PrefixMark,
    ) -> Result<Self, PrefixError> {
        let mut manifest: Value = serde_json::from_slice(manifest).map_err(|_| PrefixError::Unusable)?;
        let mut config: Value = serde_json::from_slice(config).map_err(|_| PrefixError::Unusable)?;
        if !cut.settings.on_build.is_empty() {
            return Err(PrefixError::Triggers);
        }
        let count = cut.layers.len();
        let layers = manifest.get_mut("layers").and_then(Value::as_array_mut).ok_or(PrefixError::Unusable)?;
        let diff_ids = config
            .pointer_mut("/rootfs/diff_ids")
            .and_then(Value::as_array_mut)
            .ok_or(PrefixError::Unusable)?;
        if layers.len() != diff_ids.len() {
            return Err(PrefixError::Unusable);
        }
        if count == 0 || diff_ids.get(..count).is_none_or(|first| *first != *cut.layers) {
            return Err(PrefixError::Layers);
        }
        diff_ids.truncate(count);
        layers.truncate(count);
        let history = config.get("history").and_then(Value::as_array).ok_or(PrefixError::Unusable)?;
        let history = beginning(history, &cut.history).ok_or(PrefixError::History)?;
        if history.iter().filter(|entry| has_layer(entry)).count() != count {
            return Err(PrefixError::History);
        }
        let own = &history[history.len().saturating_sub(cut.own_entries)..];
        let times =
            own.iter().filter(|entry| has_layer(entry)).filter_map(|entry| entry.get("created")?.as_str());
        let created = times.min_by_key(|time| time.parse::<Timestamp>().ok()).map(str::to_owned);
        let fields = config.as_object_mut().ok_or(PrefixError::Unusable)?;
        fields.insert("history".to_owned(), history.into());
        fields.insert("config".to_owned(), settings(&cut.settings).into());
        fields.insert(MARK.to_owned(), json!(mark));
        if let Some(created) = created {
            fields.insert("created".to_owned(), created.into());
        }
        // Fields of Docker's older formats, which describe a container.
        for name in ["container", "container_config", "moby.buildkit.buildinfo.v1", "moby.buildkit.cache.v0"]
        {
            fields.remove(name);
        }
        let config = serde_json::to_vec(&config).map_err(|_| PrefixError::Unusable)?;
        let described =
            manifest.get_mut("config").and_then(Value::as_object_mut).ok_or(PrefixError::Unusable)?;
        described.insert("digest".to_owned(), Digest::of(&config).to_string().into());
        described.insert("size".to_owned(), config.len().into());
        let media_type = manifest.get("mediaType").and_then(Value::as_str).unwrap_or(OCI_MANIFEST).to_owned();
        let manifest = serde_json::to_vec(&manifest).map_err(|_| PrefixError::Unusable)?;
        Ok(Self { config, manifest: StoredManifest::new(&media_type, manifest) })
    }
}

fn has_layer(entry: &Value) -> bool {
    entry.get("empty_layer").and_then(Value::as_bool) != Some(true)
}

/// Returns the first entries of a history that `created_by` describes. Entries without a layer may be missing there:
/// the prefix is built without the ONBUILD instructions of its stage.
fn beginning(history: &[Value], created_by: &[String]) -> Option<Vec<Value>> {
    let mut rest = history.iter();
    let mut taken = Vec::new();
    for wanted in created_by {
        loop {
            let entry = rest.next()?;
            if entry.get("created_by").and_then(Value::as_str).unwrap_or_default() == wanted {
                taken.push(entry.clone());
                break;
            }
            if has_layer(entry) {
                return None;
            }
        }
    }
    Some(taken)
}

/// Returns settings as they are written in a config.
fn settings(settings: &ImageSettings) -> Map<String, Value> {
    let set = |names: &std::collections::BTreeSet<String>| -> Value {
        names.iter().map(|name| (name.clone(), json!({}))).collect::<Map<_, _>>().into()
    };
    let mut fields = Map::new();
    let mut add = |name: &str, is_empty: bool, value: Value| {
        if !is_empty {
            fields.insert(name.to_owned(), value);
        }
    };
    let ImageSettings {
        user,
        env,
        entrypoint,
        cmd,
        working_dir,
        exposed_ports,
        volumes,
        labels,
        stop_signal,
        args_escaped,
        healthcheck,
        on_build,
        shell,
    } = settings;
    add("User", user.is_empty(), json!(user));
    add("ExposedPorts", exposed_ports.is_empty(), set(exposed_ports));
    add("Env", env.is_empty(), json!(env));
    add("Entrypoint", entrypoint.is_empty(), json!(entrypoint));
    add("Cmd", cmd.is_empty(), json!(cmd));
    add("Volumes", volumes.is_empty(), set(volumes));
    add("WorkingDir", working_dir.is_empty(), json!(working_dir));
    add("Labels", labels.is_empty(), json!(labels));
    add("StopSignal", stop_signal.is_empty(), json!(stop_signal));
    add("ArgsEscaped", !args_escaped, json!(args_escaped));
    add("Healthcheck", *healthcheck == super::Healthcheck::default(), json!(healthcheck));
    add("OnBuild", on_build.is_empty(), json!(on_build));
    add("Shell", shell.is_empty(), json!(shell));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","created":"2026-03-03T00:00:00Z",
        "config":{"Env":["PATH=/bin","LATE=1"],"Cmd":["late"],"Labels":{"a":"late"}},
        "rootfs":{"type":"layers","diff_ids":["sha256:a","sha256:b","sha256:c"]},
        "history":[{"created":"2020-01-01T00:00:00Z","created_by":"base"},
            {"created":"2026-03-03T00:00:00Z","created_by":"ONBUILD RUN x","empty_layer":true},
            {"created":"2026-03-03T00:00:00Z","created_by":"ENV A=1","empty_layer":true},
            {"created":"2026-02-02T00:00:00Z","created_by":"RUN b"},
            {"created":"2026-03-03T00:00:00Z","created_by":"COPY c"}]}"#;
    const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
        "config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":1,"digest":"sha256:0"},
        "layers":[{"digest":"sha256:1","size":1},{"digest":"sha256:2","size":2},{"digest":"sha256:3","size":3}]}"#;

    fn mark() -> PrefixMark {
        PrefixMark { key: Digest::of(b"key"), published: "2026-04-04T00:00:00Z".parse().unwrap() }
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn cut(layers: &[&str], history: &[&str]) -> CutImage {
        let env = texts(&["PATH=/bin", "A=1"]);
        let exposed_ports = ["80/tcp".to_owned()].into();
        let settings = ImageSettings { env, exposed_ports, ..ImageSettings::default() };
        CutImage { settings, layers: texts(layers), history: texts(history), own_entries: 2 }
    }

    #[test]
    fn a_prefix_has_the_first_layers_their_history_and_the_settings_at_the_cut() {
        let cut = cut(&["sha256:a", "sha256:b"], &["base", "ENV A=1", "RUN b"]);
        let made = PrefixDocuments::compose(MANIFEST.as_bytes(), CONFIG.as_bytes(), &cut, mark()).unwrap();
        assert_eq!(prefix_mark(&made.config), Some(mark()));
        let config: Value = serde_json::from_slice(&made.config).unwrap();
        let manifest: Value = serde_json::from_slice(&made.manifest.bytes).unwrap();
        assert_eq!(
            config["config"],
            json!({ "Env": ["PATH=/bin", "A=1"], "ExposedPorts": { "80/tcp": {} } })
        );
        assert_eq!(config["created"], "2026-02-02T00:00:00Z", "the oldest layer that is not of the base");
        let history: Vec<&str> = config["history"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry["created_by"].as_str())
            .collect();
        assert_eq!(history, ["base", "ENV A=1", "RUN b"]);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(manifest["config"]["digest"], Digest::of(&made.config).to_string());
        assert_eq!(manifest["config"]["size"], made.config.len());
        let parsed = ImageConfig::parse(&made.config).unwrap();
        assert_eq!((parsed.settings, parsed.layers), (cut.settings, cut.layers));
    }

    #[test]
    fn a_cut_that_is_not_the_beginning_of_the_image_is_refused() {
        for (layers, history, error) in [
            (&["sha256:a", "sha256:x"][..], &["base", "ENV A=1", "RUN b"][..], PrefixError::Layers),
            (&["sha256:a", "sha256:b", "sha256:c", "sha256:d"], &["base"], PrefixError::Layers),
            (&[], &[], PrefixError::Layers),
            (&["sha256:a", "sha256:b"], &["base", "RUN other"], PrefixError::History),
            (&["sha256:a", "sha256:b"], &["base", "ENV A=1"], PrefixError::History),
        ] {
            let made = PrefixDocuments::compose(
                MANIFEST.as_bytes(),
                CONFIG.as_bytes(),
                &cut(layers, history),
                mark(),
            );
            assert_eq!(made.unwrap_err(), error, "{layers:?} {history:?}");
        }
        let mut triggering = cut(&["sha256:a"], &["base"]);
        triggering.settings.on_build = texts(&["RUN x"]);
        let made = PrefixDocuments::compose(MANIFEST.as_bytes(), CONFIG.as_bytes(), &triggering, mark());
        assert_eq!(made.unwrap_err(), PrefixError::Triggers);
        for (manifest, config) in [("{}", CONFIG), (MANIFEST, "{}"), ("x", CONFIG)] {
            let made = PrefixDocuments::compose(
                manifest.as_bytes(),
                config.as_bytes(),
                &cut(&["sha256:a"], &["base"]),
                mark(),
            );
            assert_eq!(made.unwrap_err(), PrefixError::Unusable);
        }
    }

    #[test]
    fn settings_are_written_as_they_are_read() {
        let json = r#"{"config":{"User":"1","ExposedPorts":{"80/tcp":{}},"Env":["A=1"],"Entrypoint":["e"],"Cmd":["c"],
            "Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"l":"1"},"StopSignal":"INT","ArgsEscaped":true,
            "Healthcheck":{"Test":["CMD","x"],"Interval":5},"OnBuild":["RUN x"],"Shell":["s"]}}"#;
        let parsed = ImageConfig::parse(json.as_bytes()).unwrap().settings;
        let written = json!({ "config": settings(&parsed) }).to_string();
        assert_eq!(ImageConfig::parse(written.as_bytes()).unwrap().settings, parsed);
        assert!(settings(&ImageSettings::default()).is_empty());
    }
}
