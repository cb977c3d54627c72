//! The manifest of an image that larder pushes itself.

use serde::Serialize;

use super::manifest::{DOCKER_MANIFEST, Descriptor, OCI_MANIFEST};
use super::{RegistryError, Repository, StoredManifest};
use crate::digest::Digest;

/// How layers are compressed in a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Compression {
    /// Gzip. Manifests are Docker's (schema 2), as an engine with a graph driver writes them.
    #[default]
    Gzip,
    /// Zstandard. Manifests are OCI's, because Docker's have no media type for it.
    Zstd,
}

const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

impl Compression {
    /// Returns the compression of a layer of this media type; `None` for others, such as layers that a registry must
    /// not distribute.
    pub(crate) fn from_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            OCI_GZIP | DOCKER_GZIP => Some(Self::Gzip),
            OCI_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns `true` if a manifest for this compression has a media type for layers with the compression `other`.
    pub(crate) fn supports_layer(self, other: Self) -> bool {
        self == Self::Zstd || other == Self::Gzip
    }

    fn manifest_media_type(self) -> &'static str {
        match self {
            Self::Gzip => DOCKER_MANIFEST,
            Self::Zstd => OCI_MANIFEST,
        }
    }

    fn config_media_type(self) -> &'static str {
        match self {
            Self::Gzip => "application/vnd.docker.container.image.v1+json",
            Self::Zstd => "application/vnd.oci.image.config.v1+json",
        }
    }

    /// Returns the media type of layers with this compression in a manifest with Docker's media types, which have none
    /// for zstd, or with OCI's.
    pub(super) fn media_type_in(self, is_docker: bool) -> &'static str {
        let manifest = if is_docker { Self::Gzip } else { Self::Zstd };
        manifest.layer_media_type(self)
    }

    fn layer_media_type(self, layer: Self) -> &'static str {
        match (self, layer) {
            (Self::Gzip, _) => DOCKER_GZIP,
            (Self::Zstd, Self::Gzip) => OCI_GZIP,
            (Self::Zstd, Self::Zstd) => OCI_ZSTD,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerBlob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) compression: Compression,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewManifest {
    schema_version: u8,
    media_type: &'static str,
    config: NewDescriptor,
    layers: Vec<NewDescriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewDescriptor {
    media_type: &'static str,
    size: u64,
    digest: Digest,
}

impl StoredManifest {
    /// Returns the manifest of the image with this config and these layers, lowest first.
    pub(crate) fn for_image(config: &[u8], layers: &[LayerBlob], compression: Compression) -> Self {
        let config = NewDescriptor {
            media_type: compression.config_media_type(),
            size: config.len() as u64,
            digest: Digest::of(config),
        };
        let layer = |layer: &LayerBlob| NewDescriptor {
            media_type: compression.layer_media_type(layer.compression),
            size: layer.size,
            digest: layer.digest,
        };
        let media_type = compression.manifest_media_type();
        let layers = layers.iter().map(layer).collect();
        let manifest = NewManifest { schema_version: 2, media_type, config, layers };
        let bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest has text keys only");
        Self::new(media_type, bytes)
    }
}

impl Repository {
    /// Returns the layers of the image of `platform` under a tag or digest, each with its diff id, lowest first.
    /// Returns an empty list if there is no such image, or if a layer has a format that cannot be pushed again.
    pub(crate) async fn layer_blobs(
        &mut self,
        reference: &str,
        platform: &str,
    ) -> Result<Vec<(Digest, LayerBlob)>, RegistryError> {
        let Some(stored) = self.manifest(reference).await? else { return Ok(Vec::new()) };
        let Some(image) = self.image(&stored, platform).await? else { return Ok(Vec::new()) };
        let manifest = if image.manifest == stored.digest {
            Some(stored)
        } else {
            self.manifest(&image.manifest.to_string()).await?
        };
        let Some(manifest) = manifest else { return Ok(Vec::new()) };
        // The first part is the config.
        let layers = self.parts(&manifest)?.1.split_off(1);
        let diff_ids = &image.config.layers;
        if layers.len() != diff_ids.len() {
            return Ok(Vec::new());
        }
        let pair = |(diff_id, layer): (&String, &Descriptor)| {
            let Descriptor { digest, size, media_type, .. } = layer;
            let blob = LayerBlob {
                digest: *digest,
                size: *size,
                compression: Compression::from_media_type(media_type)?,
            };
            Some((diff_id.parse().ok()?, blob))
        };
        Ok(diff_ids.iter().zip(&layers).map(pair).collect::<Option<_>>().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn manifests_have_docker_media_types_for_gzip_and_oci_media_types_for_zstd() {
        let blob = |compression| LayerBlob { digest: Digest::of(b"layer"), size: 5, compression };
        let written = |layers: &[LayerBlob], compression| -> Value {
            serde_json::from_slice(&StoredManifest::for_image(b"{}", layers, compression).bytes).unwrap()
        };
        let docker = written(&[blob(Compression::Gzip)], Compression::Gzip);
        let expected = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": 2,
                "digest": Digest::of(b"{}").to_string(),
            },
            "layers": [{ "mediaType": DOCKER_GZIP, "size": 5, "digest": Digest::of(b"layer").to_string() }],
        });
        assert_eq!(docker, expected);
        let mixed = written(&[blob(Compression::Gzip), blob(Compression::Zstd)], Compression::Zstd);
        let types: Vec<&str> = mixed["layers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|layer| layer["mediaType"].as_str())
            .collect();
        assert_eq!(types, [OCI_GZIP, OCI_ZSTD]);
        assert_eq!(mixed["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    }

    #[test]
    fn layers_are_reused_if_the_manifest_has_a_media_type_for_them() {
        for (media_type, with_gzip, with_zstd) in [
            (DOCKER_GZIP, true, true),
            (OCI_GZIP, true, true),
            (OCI_ZSTD, false, true),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", false, false),
            ("application/vnd.oci.image.layer.v1.tar", false, false),
        ] {
            let can = |manifest: Compression| {
                Compression::from_media_type(media_type).is_some_and(|layer| manifest.supports_layer(layer))
            };
            assert_eq!(
                (can(Compression::Gzip), can(Compression::Zstd)),
                (with_gzip, with_zstd),
                "{media_type}"
            );
        }
    }
}
