//! Decides how each layer of an image gets into a repository. A pure function.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::registry::{Compression, ImageRef, LayerBlob};

/// The layers of an image in a registry, by diff id.
#[derive(Debug, Clone)]
pub(super) struct KnownImage {
    pub(super) name: ImageRef,
    pub(super) layers: Vec<(Digest, LayerBlob)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LayerSource {
    /// A manifest of the repository already names this blob.
    Present(LayerBlob),
    CopyFrom(ImageRef, LayerBlob),
    /// No usable blob was found.
    Compress,
}

/// Returns how each layer gets into the repository of `name`. Existing blobs are reused, preferably from the same
/// repository, then from the same registry.
pub(super) fn layer_sources(
    diff_ids: &[Digest],
    known: &[KnownImage],
    name: &ImageRef,
    compression: Compression,
) -> BTreeMap<Digest, LayerSource> {
    let distance = |image: &KnownImage| match &image.name {
        other if other.repository() == name.repository() => 0,
        other if other.host() == name.host() => 1,
        _ => 2,
    };
    let way = |diff_id: &Digest| {
        let blobs = known.iter().filter_map(|image| {
            let usable = |(known, blob): &&(Digest, LayerBlob)| {
                known == diff_id && compression.supports_layer(blob.compression)
            };
            Some((image, image.layers.iter().find(usable)?.1))
        });
        match blobs.min_by_key(|(image, _)| distance(image)) {
            Some((image, blob)) if distance(image) == 0 => LayerSource::Present(blob),
            Some((image, blob)) => LayerSource::CopyFrom(image.name.clone(), blob),
            None => LayerSource::Compress,
        }
    };
    diff_ids.iter().map(|diff_id| (*diff_id, way(diff_id))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn blob(text: &str, compression: Compression) -> LayerBlob {
        LayerBlob { digest: digest(text), size: 1, compression }
    }

    #[test]
    fn the_nearest_blob_that_the_manifest_can_name_is_reused() {
        let name = |text: &str| text.parse::<ImageRef>().unwrap();
        let image = |place: &str, layers: &[(&str, &str, Compression)]| KnownImage {
            name: name(place),
            layers: layers
                .iter()
                .map(|(diff_id, text, compression)| (digest(diff_id), blob(text, *compression)))
                .collect(),
        };
        let (gzip, zstd) = (Compression::Gzip, Compression::Zstd);
        let known = [
            image("docker.io/library/base:1", &[("base", "hub", gzip), ("other", "hub other", gzip)]),
            image("reg.example/base:1", &[("base", "near", gzip)]),
            image("reg.example/app:cache", &[("base", "own", gzip), ("packed", "zstd", zstd)]),
        ];
        let own = name("reg.example/app:2");
        let other_registry = name("elsewhere.example/app:2");
        let base = name("reg.example/base:1");
        let hub = name("docker.io/library/base:1");
        let table = [
            ("base", &own, gzip, LayerSource::Present(blob("own", gzip))),
            ("base", &name("reg.example/new:1"), gzip, LayerSource::CopyFrom(base, blob("near", gzip))),
            ("base", &other_registry, gzip, LayerSource::CopyFrom(hub.clone(), blob("hub", gzip))),
            ("other", &own, gzip, LayerSource::CopyFrom(hub, blob("hub other", gzip))),
            ("packed", &own, gzip, LayerSource::Compress),
            ("packed", &own, zstd, LayerSource::Present(blob("zstd", zstd))),
            ("base", &own, zstd, LayerSource::Present(blob("own", gzip))),
            ("new", &own, gzip, LayerSource::Compress),
        ];
        for (diff_id, to, compression, expected) in table {
            let found = layer_sources(&[digest(diff_id)], &known, to, compression);
            assert_eq!(found[&digest(diff_id)], expected, "{diff_id} to {to}");
        }
    }
}
