//! Composes the config and the manifest of a prefix: an image of the first layers of a different image.
//!
//! The layers, and the history entries that describe them, are taken from the complete image. The settings are those
//! that the builder reports at the end of the prefix, because later instructions overwrite the settings of the complete
//! image. This module does no input or output.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::{HistoryEntry, is_time_dependent};
use super::manifest::OCI_MANIFEST;
use crate::digest::Digest;

/// The comment of the entries that BuildKit appends to the history if the history of the base image describes too few
/// layers (moby/buildkit, `exporter/containerimage/writer.go`).
const APPENDED_COMMENT: &str = "buildkit.exporter.image.v0";
/// The field of a prefix's config that contains its [`PrefixMark`].
pub(super) const MARK_FIELD: &str = "larder.prefix";
/// The field of a prefix's config that contains the index of its files, as base64.
pub(super) const INDEX_FIELD: &str = "larder.index";

/// An image that ends at a cut in the Dockerfile, as reported by the builder.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CutImage {
    /// The settings, in the format of the OCI image specification.
    config: Map<String, Value>,
    history: Vec<HistoryEntry>,
    author: Option<String>,
    #[serde(skip)]
    base: CutBase,
    /// The index of the files, see `graft::Index`.
    #[serde(skip)]
    pub(crate) index: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct CutBase {
    /// The number of history entries, counted from the end, that are not inherited from the base image.
    pub(crate) own_entries: usize,
    /// The number of layers of the base image; `None` if unknown.
    pub(crate) layers: Option<usize>,
    /// `true` if the base image is a prefix. Its history describes all layers, and it is never replaced.
    pub(crate) is_prefix: bool,
    /// `true` if the build keeps the times of the base image's history.
    pub(crate) has_times: bool,
}

/// The mark that larder writes into the config of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrefixMark {
    /// The key of the prefix. If it matches, the tag was not moved to a different image.
    pub(crate) key: Digest,
    pub(crate) published: Timestamp,
    /// `true` if the config also contains an index of the files.
    #[serde(skip)]
    pub(crate) has_index: bool,
}

impl PrefixMark {
    pub(crate) fn new(key: Digest, published: Timestamp) -> Self {
        Self { key, published, has_index: false }
    }
}

#[derive(Debug)]
pub(crate) struct PrefixDocuments {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    pub(crate) media_type: String,
    /// The creation time of the prefix, see [`Self::compose`]; `None` if unknown.
    pub(crate) oldest: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PrefixError {
    #[error("the builder reported a malformed image config")]
    MalformedCutConfig,
    #[error("the image has ONBUILD triggers at the end of the prefix, which would run again")]
    OnbuildTriggers,
    #[error("the history that the builder reported is not the beginning of the history of the image")]
    HistoryMismatch,
    #[error("the history of the base image does not describe its layers")]
    UnknownLayers,
    #[error("the base image was replaced during the build")]
    BaseReplaced,
    #[error("the manifest or config of the image is malformed")]
    MalformedImage,
}

impl PrefixError {
    /// Returns `true` if the base image does not support prefixes, which is not a fault of the cache.
    pub(crate) fn is_base_unsupported(&self) -> bool {
        matches!(self, Self::UnknownLayers | Self::BaseReplaced)
    }
}

impl CutImage {
    /// Parses the config that the builder reported.
    ///
    /// # Errors
    ///
    /// Fails if the config is malformed or has ONBUILD triggers.
    pub(crate) fn parse(config: &[u8], base: CutBase) -> Result<Self, PrefixError> {
        let described: Self = serde_json::from_slice(config).map_err(|_| PrefixError::MalformedCutConfig)?;
        let triggers = described.config.get("OnBuild").and_then(Value::as_array);
        if triggers.is_some_and(|triggers| !triggers.is_empty()) {
            return Err(PrefixError::OnbuildTriggers);
        }
        Ok(Self { base, ..described })
    }

    /// Checks that the history of the complete image shows which layers its instructions have made, and that the base
    /// image is the one that was built on. `taken` are the entries that belong to the prefix, `rest` the entries after
    /// them.
    fn check(&self, taken: &[Value], rest: &[Value]) -> Result<(), PrefixError> {
        if rest.iter().any(|entry| text_field(entry, "comment") == APPENDED_COMMENT) {
            return Err(PrefixError::UnknownLayers);
        }
        if self.base.is_prefix {
            return Ok(());
        }
        let inherited = self.history.len().saturating_sub(self.base.own_entries);
        let pairs = || self.history.iter().zip(taken);
        if self.base.has_times
            && pairs().take(inherited).any(|(described, entry)| {
                described.created.as_deref().is_some_and(|created| created != text_field(entry, "created"))
            })
        {
            return Err(PrefixError::BaseReplaced);
        }
        // BuildKit marks an entry as empty if its step changed nothing, and the last entries if there are too many.
        let is_marked_empty = pairs().any(|(described, entry)| !described.empty_layer && !has_layer(entry));
        let base_layers = count_layers(&taken[..inherited.min(taken.len())]);
        if is_marked_empty && self.base.layers != Some(base_layers) {
            return Err(PrefixError::UnknownLayers);
        }
        Ok(())
    }
}

pub(super) fn prefix_index(config: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "larder.index")]
        index: Option<String>,
    }
    serde_json::from_slice::<Config>(config).ok()?.index
}

pub(super) fn prefix_mark(config: &[u8]) -> Option<PrefixMark> {
    let mut config: Value = serde_json::from_slice(config).ok()?;
    let mark: PrefixMark = serde_json::from_value(config.get_mut(MARK_FIELD)?.take()).ok()?;
    Some(PrefixMark { has_index: config.get(INDEX_FIELD).is_some(), ..mark })
}

impl PrefixDocuments {
    /// Composes the documents of a prefix of an image with this manifest and config.
    ///
    /// The creation time of the prefix is the time of its oldest own step that can age or of its last step, whichever
    /// is earlier, because `--max-age` applies to it.
    ///
    /// # Errors
    ///
    /// Fails if `cut` is not the beginning of the image.
    pub(crate) fn compose(
        manifest: &[u8],
        config: &[u8],
        cut: CutImage,
        mark: PrefixMark,
    ) -> Result<Self, PrefixError> {
        let mut manifest: Value =
            serde_json::from_slice(manifest).map_err(|_| PrefixError::MalformedImage)?;
        let mut config: Value = serde_json::from_slice(config).map_err(|_| PrefixError::MalformedImage)?;
        let layers =
            manifest.get_mut("layers").and_then(Value::as_array_mut).ok_or(PrefixError::MalformedImage)?;
        let complete = config.get("history").and_then(Value::as_array).ok_or(PrefixError::MalformedImage)?;
        let (history, rest) = split_history(complete, &cut.history).ok_or(PrefixError::HistoryMismatch)?;
        cut.check(&history, rest)?;
        let (all, count) = (count_layers(complete), count_layers(&history));
        let diff_ids = config
            .pointer_mut("/rootfs/diff_ids")
            .and_then(Value::as_array_mut)
            .ok_or(PrefixError::MalformedImage)?;
        // Otherwise it is unknown which layers the entries describe.
        if layers.len() != all || diff_ids.len() != all {
            return Err(PrefixError::MalformedImage);
        }
        if count == 0 {
            return Err(PrefixError::HistoryMismatch);
        }
        diff_ids.truncate(count);
        layers.truncate(count);
        let own = &history[history.len().saturating_sub(cut.base.own_entries)..];
        let times =
            own.iter().filter(|entry| is_time_dependent(text_field(entry, "created_by"))).chain(own.last());
        let times = times.filter_map(|entry| entry.get("created")?.as_str());
        let created = times.min_by_key(|time| time.parse::<Timestamp>().ok()).map(str::to_owned);
        let oldest = created.as_ref().and_then(|time| time.parse().ok());
        let fields = config.as_object_mut().ok_or(PrefixError::MalformedImage)?;
        fields.insert("history".to_owned(), history.into());
        fields.insert("config".to_owned(), cut.config.into());
        match cut.author {
            Some(author) => fields.insert("author".to_owned(), author.into()),
            None => fields.remove("author"),
        };
        fields.insert(MARK_FIELD.to_owned(), json!(mark));
        if let Some(index) = cut.index {
            fields.insert(INDEX_FIELD.to_owned(), index.into());
        }
        if let Some(created) = created {
            fields.insert("created".to_owned(), created.into());
        }
        // Fields of older Docker formats that describe a container.
        for name in ["container", "container_config", "moby.buildkit.buildinfo.v1", "moby.buildkit.cache.v0"]
        {
            fields.remove(name);
        }
        let config = serde_json::to_vec(&config).map_err(|_| PrefixError::MalformedImage)?;
        let described =
            manifest.get_mut("config").and_then(Value::as_object_mut).ok_or(PrefixError::MalformedImage)?;
        described.insert("digest".to_owned(), Digest::of(&config).to_string().into());
        described.insert("size".to_owned(), config.len().into());
        // Only OCI manifests may omit their media type.
        let media_type = manifest.get("mediaType").and_then(Value::as_str).unwrap_or(OCI_MANIFEST).to_owned();
        let manifest = serde_json::to_vec(&manifest).map_err(|_| PrefixError::MalformedImage)?;
        Ok(Self { config, manifest, media_type, oldest })
    }
}

fn text_field<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn has_layer(entry: &Value) -> bool {
    entry.get("empty_layer").and_then(Value::as_bool) != Some(true)
}

fn count_layers(history: &[Value]) -> usize {
    history.iter().filter(|entry| has_layer(entry)).count()
}

/// Returns the first entries of a history that match `described`, and the entries after them. Returns `None` if they
/// do not match. Entries without a layer may be missing from `described`, because the prefix is built without the
/// ONBUILD instructions of its stage.
fn split_history<'a>(history: &'a [Value], described: &[HistoryEntry]) -> Option<(Vec<Value>, &'a [Value])> {
    let mut rest = history.iter();
    let mut taken = Vec::new();
    for wanted in described {
        loop {
            let entry = rest.next()?;
            if text_field(entry, "created_by") == wanted.created_by {
                taken.push(entry.clone());
                break;
            }
            if has_layer(entry) {
                return None;
            }
        }
    }
    Some((taken, rest.as_slice()))
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

    const SETTINGS: &str = r#"{"Env":["PATH=/bin","A=1"],"ExposedPorts":{"80/tcp":{}},"OnBuild":null}"#;

    fn mark() -> PrefixMark {
        PrefixMark::new(Digest::of(b"key"), "2026-04-04T00:00:00Z".parse().unwrap())
    }

    fn cut(history: &[&str]) -> CutImage {
        let history: Vec<Value> =
            history.iter().map(|entry| json!({ "created_by": entry, "empty_layer": true })).collect();
        let config = json!({ "config": SETTINGS.parse::<Value>().unwrap(), "history": history });
        let base = CutBase { own_entries: 2, has_times: true, ..CutBase::default() };
        CutImage::parse(config.to_string().as_bytes(), base).unwrap()
    }

    #[test]
    fn a_prefix_has_the_first_layers_their_history_and_the_settings_at_the_cut() {
        let cut = cut(&["base", "ENV A=1", "RUN b"]);
        let made = PrefixDocuments::compose(MANIFEST.as_bytes(), CONFIG.as_bytes(), cut, mark()).unwrap();
        assert_eq!(prefix_mark(&made.config), Some(mark()));
        let config: Value = serde_json::from_slice(&made.config).unwrap();
        let manifest: Value = serde_json::from_slice(&made.manifest).unwrap();
        assert_eq!(config["config"], SETTINGS.parse::<Value>().unwrap());
        assert_eq!(
            config["created"], "2026-02-02T00:00:00Z",
            "the oldest layer that is not from the base image"
        );
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
        assert_eq!(config["rootfs"]["diff_ids"], json!(["sha256:a", "sha256:b"]));
    }

    #[test]
    fn a_cut_that_is_not_the_beginning_of_the_image_is_rejected() {
        let compose = |manifest: &str, config: &str, history: &[&str]| {
            let made = PrefixDocuments::compose(manifest.as_bytes(), config.as_bytes(), cut(history), mark());
            made.map(drop)
        };
        for history in [&[][..], &["base", "RUN other"], &["base", "RUN b", "ENV A=1"], &["ENV A=1"]] {
            assert_eq!(compose(MANIFEST, CONFIG, history), Err(PrefixError::HistoryMismatch), "{history:?}");
        }
        assert_eq!(compose(MANIFEST, CONFIG, &["base"]), Ok(()));
        let appended = CONFIG.replace("COPY c\"", "COPY c\",\"comment\":\"buildkit.exporter.image.v0\"");
        assert_eq!(compose(MANIFEST, &appended, &["base"]), Err(PrefixError::UnknownLayers));
        assert_eq!(compose(MANIFEST, &appended, &["base", "ENV A=1", "RUN b", "COPY c"]), Ok(()));
        let (fewer, unaligned) =
            (CONFIG.replace(r#","sha256:c"]"#, "]"), CONFIG.replace(r#","empty_layer":true"#, ""));
        for (manifest, config) in
            [("{}", CONFIG), (MANIFEST, "{}"), ("x", CONFIG), (MANIFEST, &fewer), (MANIFEST, &unaligned)]
        {
            assert_eq!(compose(manifest, config, &["base"]), Err(PrefixError::MalformedImage), "{config}");
        }
    }

    #[test]
    fn malformed_configs_and_triggers_are_rejected() {
        let parse = |config: &str| CutImage::parse(config.as_bytes(), CutBase::default()).map(drop);
        assert_eq!(parse("{}"), Err(PrefixError::MalformedCutConfig));
        assert_eq!(parse(r#"{"config":{},"history":[{}]}"#), Ok(()));
        let triggering = r#"{"config":{"OnBuild":["RUN x"]},"history":[]}"#;
        assert_eq!(parse(triggering), Err(PrefixError::OnbuildTriggers));
    }

    #[test]
    fn a_base_image_that_was_replaced_or_has_unknown_layers_is_rejected() {
        let cut = |created: &str, has_layer: bool, base: CutBase| {
            let config = json!({ "config": {}, "history": [
                { "created": created, "created_by": "base" },
                { "created_by": "ENV A=1", "empty_layer": !has_layer },
                { "created_by": "RUN b" },
            ] });
            let cut = CutImage::parse(config.to_string().as_bytes(), base).unwrap();
            PrefixDocuments::compose(MANIFEST.as_bytes(), CONFIG.as_bytes(), cut, mark()).map(drop)
        };
        let base = CutBase { own_entries: 2, layers: Some(1), is_prefix: false, has_times: true };
        let right = "2020-01-01T00:00:00Z";
        assert_eq!(cut(right, false, base.clone()), Ok(()));
        assert_eq!(cut("2020-01-02T00:00:00Z", false, base.clone()), Err(PrefixError::BaseReplaced));
        assert_eq!(cut("2020-01-02T00:00:00Z", false, CutBase { has_times: false, ..base.clone() }), Ok(()));
        // A step without a layer that should have one: it changed nothing, or the base image has too many entries.
        assert_eq!(cut(right, true, base.clone()), Ok(()));
        for layers in [Some(0), None] {
            let base = CutBase { layers, ..base.clone() };
            assert_eq!(cut(right, true, base.clone()), Err(PrefixError::UnknownLayers));
            assert_eq!(cut(right, false, base.clone()), Ok(()));
            assert_eq!(cut(right, true, CutBase { is_prefix: true, ..base }), Ok(()));
        }
    }
}
