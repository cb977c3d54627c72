//! Parses the JSON files in an engine's archive: which files are the config and the layers, and which blobs belong to
//! the image. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::listing::BlobDescriptor;
use crate::digest::Digest;

/// The maximum depth of nested indexes.
pub(super) const MAX_DEPTH: usize = 4;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ArchiveOutline {
    /// The path in the archive.
    pub(super) config: String,
    /// The paths of the layers in the archive, lowest layer first.
    pub(super) layers: Vec<String>,
    /// The root of the OCI layout, if the archive has one.
    pub(super) root: Option<BlobDescriptor>,
    pub(super) blobs: BTreeSet<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct IndexOrManifest {
    #[serde(default)]
    pub(super) manifests: Vec<BlobDescriptor>,
    pub(super) config: Option<BlobDescriptor>,
    #[serde(default)]
    layers: Vec<BlobDescriptor>,
}

impl ArchiveOutline {
    /// Parses the descriptions in an archive. `file` returns the content of a small file. Fails if they do not describe
    /// exactly one image.
    pub(super) fn read<'a>(file: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, String> {
        let docker = file("manifest.json").ok_or("manifest.json is missing")?;
        let mut images: Vec<DockerImage> =
            serde_json::from_slice(docker).map_err(|error| format!("manifest.json: {error}"))?;
        let (Some(image), true) = (images.pop(), images.is_empty()) else {
            return Err("manifest.json does not describe exactly one image".to_owned());
        };
        let mut outline =
            Self { config: image.config, layers: image.layers, root: None, blobs: BTreeSet::new() };
        if let Some(index) = file("index.json") {
            let index: IndexOrManifest =
                serde_json::from_slice(index).map_err(|error| format!("index.json: {error}"))?;
            let [root] = &index.manifests[..] else {
                return Err("index.json does not name exactly one image".to_owned());
            };
            outline.walk(root, &file, MAX_DEPTH)?;
            outline.root = Some(root.clone());
        }
        Ok(outline)
    }

    /// Collects a node and everything below it that is in the archive. Other platforms may be missing.
    fn walk<'a>(
        &mut self,
        node: &BlobDescriptor,
        file: &impl Fn(&str) -> Option<&'a [u8]>,
        depth: usize,
    ) -> Result<(), String> {
        let path = blob_path(&node.digest);
        let Some(text) = file(&path) else { return Ok(()) };
        let depth = depth.checked_sub(1).ok_or("the indexes are nested too deeply")?;
        let parsed: IndexOrManifest =
            serde_json::from_slice(text).map_err(|error| format!("{path}: {error}"))?;
        self.blobs.insert(node.digest);
        self.blobs.extend(parsed.config.iter().chain(&parsed.layers).map(|blob| blob.digest));
        parsed.manifests.iter().try_for_each(|below| self.walk(below, file, depth))
    }
}

pub(super) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Returns the digest in the path of a blob, or `None` if it is not such a path.
pub(super) fn blob_digest(path: &str) -> Option<Digest> {
    format!("sha256:{}", path.strip_prefix("blobs/sha256/")?).parse().ok()
}
