//! The base of a graft, which is a prefix in a registry, and the manifest of the grafted image.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::config::creation_time;
use super::manifest::{DOCKER_MANIFEST, Descriptor};
use super::prefix::{INDEX_FIELD, MARK_FIELD, PrefixMark, prefix_index, prefix_mark};
use super::upload::UploadContent;
use super::{Compression, LayerBlob, RegistryError, Repository, StoredManifest, UploadError};
use crate::digest::Digest;

#[derive(Debug, Clone)]
pub(crate) struct GraftBase {
    pub(crate) manifest: StoredManifest,
    pub(crate) config: Vec<u8>,
    /// The encoded index of the files, see `graft::Index`.
    pub(crate) index: String,
    /// The creation time in the config: the time of the oldest step.
    pub(crate) created: Option<Timestamp>,
    layers: Vec<Descriptor>,
    document: Map<String, Value>,
}

impl GraftBase {
    pub(crate) fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Returns `true` if the manifest has Docker's media types, which have no form for zstd.
    pub(crate) fn is_docker(&self) -> bool {
        self.document.get("mediaType").and_then(Value::as_str) == Some(DOCKER_MANIFEST)
    }

    /// Returns `true` if a manifest for this compression has media types for all layers.
    pub(crate) fn supports_compression(&self, compression: Compression) -> bool {
        let mut layers =
            self.layers.iter().filter_map(|layer| Compression::from_media_type(&layer.media_type));
        layers.all(|layer| compression.supports_layer(layer))
    }

    /// Returns the config of a longer prefix that continues from this one, with the same creation time. Returns `None`
    /// if that time is unknown or `config` is not a JSON object.
    pub(crate) fn prefix_config(&self, config: &[u8], mark: PrefixMark, index: String) -> Option<Vec<u8>> {
        let mut fields: Map<String, Value> = serde_json::from_slice(config).ok()?;
        fields.insert(MARK_FIELD.to_owned(), json!(mark));
        fields.insert(INDEX_FIELD.to_owned(), index.into());
        fields.insert("created".to_owned(), self.created?.to_string().into());
        serde_json::to_vec(&fields).ok()
    }

    /// Returns the manifest of an image that consists of the layers of the prefix and of `layers`, with the media types
    /// of the prefix. Returns `None` if the manifest of the prefix is malformed.
    pub(crate) fn grafted_manifest(
        &self,
        config: &[u8],
        layers: &[LayerBlob],
        annotations: &BTreeMap<String, String>,
    ) -> Option<StoredManifest> {
        let mut document = self.document.clone();
        let described = document.get_mut("config")?.as_object_mut()?;
        described.insert("digest".to_owned(), Digest::of(config).to_string().into());
        described.insert("size".to_owned(), config.len().into());
        let further = layers.iter().map(|LayerBlob { digest, size, compression }| {
            let media_type = compression.media_type_in(self.is_docker());
            json!({ "mediaType": media_type, "size": size, "digest": digest.to_string() })
        });
        document.get_mut("layers")?.as_array_mut()?.extend(further);
        // The annotations of the prefix describe the image that it was taken from.
        document.remove("annotations");
        if !annotations.is_empty() {
            document.insert("annotations".to_owned(), json!(annotations));
        }
        Some(self.manifest.with_bytes(serde_json::to_vec(&document).ok()?))
    }
}

impl Repository {
    /// Returns the prefix with this manifest as the base of a graft. Returns `None` if the prefix has a different key,
    /// no index, or an unknown format.
    pub(crate) async fn graft_base(
        &mut self,
        manifest: StoredManifest,
        key: Digest,
    ) -> Result<Option<GraftBase>, RegistryError> {
        let (entries, mut parts) = self.parts(&manifest)?;
        if !entries.is_empty() || parts.is_empty() {
            return Ok(None);
        }
        let layers = parts.split_off(1);
        let Some(config) = self.verified_content("blobs", &parts[0].digest).await? else { return Ok(None) };
        let document = serde_json::from_slice(&manifest.bytes).ok();
        let is_known = layers.iter().all(|layer| Compression::from_media_type(&layer.media_type).is_some());
        let has_key = prefix_mark(&config).is_some_and(|mark| mark.key == key);
        let (Some(document), Some(index), true, true) = (document, prefix_index(&config), is_known, has_key)
        else {
            return Ok(None);
        };
        let created = creation_time(&config);
        Ok(Some(GraftBase { manifest, config, index, created, layers, document }))
    }

    pub(crate) async fn has_layers(&self, base: &GraftBase) -> Result<bool, RegistryError> {
        let checks = base.layers.iter().map(|layer| {
            let mut repository = self.clone();
            async move { repository.has_blob(layer.digest).await }
        });
        Ok(try_join_all(checks).await?.into_iter().all(|has| has))
    }

    /// Uploads a blob without checking whether the repository already contains it.
    pub(crate) async fn upload_new_blob(&mut self, bytes: &Bytes) -> Result<(), UploadError> {
        self.add_blob(None, UploadContent::Complete(bytes), &mut |_| {}).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grafted_manifest_adds_layers_and_keeps_the_media_types() {
        let blob = |compression| LayerBlob { digest: Digest::of(b"layer"), size: 5, compression };
        let base = |media_type: &str| {
            let document = json!({ "mediaType": media_type, "annotations": { "old": "1" },
                "config": { "mediaType": "c", "digest": "sha256:0", "size": 1 },
                "layers": [{ "mediaType": "l", "digest": "sha256:1", "size": 2 }] });
            GraftBase {
                manifest: StoredManifest::new(media_type, Vec::new()),
                config: Vec::new(),
                index: String::new(),
                created: None,
                layers: Vec::new(),
                document: document.as_object().unwrap().clone(),
            }
        };
        let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        for (media_type, compression, annotations, layer) in [
            (
                DOCKER_MANIFEST,
                Compression::Gzip,
                BTreeMap::new(),
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
            (
                "application/vnd.oci.image.manifest.v1+json",
                Compression::Zstd,
                annotations,
                "application/vnd.oci.image.layer.v1.tar+zstd",
            ),
        ] {
            let made = base(media_type).grafted_manifest(b"{}", &[blob(compression)], &annotations).unwrap();
            let made: Value = serde_json::from_slice(&made.bytes).unwrap();
            assert_eq!(made["mediaType"], media_type);
            assert_eq!(made["layers"][1]["mediaType"], layer);
            assert_eq!(made["layers"].as_array().unwrap().len(), 2);
            assert_eq!(made["config"]["digest"], Digest::of(b"{}").to_string());
            assert_eq!(made["config"]["size"], 2);
            assert_eq!(
                made.get("annotations"),
                (!annotations.is_empty()).then(|| json!(annotations)).as_ref()
            );
        }
    }
}
