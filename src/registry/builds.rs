//! The last builds of an image as an artifact in its repository: a manifest with the builds in an annotation, so that
//! reading and writing take one request each.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::manifest::OCI_MANIFEST;
use super::{RegistryError, Repository, StoredManifest, UploadError};
use crate::digest::Digest;

const ARTIFACT_TYPE: &str = "application/vnd.larder.builds.v1";
const ANNOTATION: &str = "larder.builds";
/// The config and the only layer of an artifact without content (OCI image specification, "Guidance for an empty
/// descriptor").
const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct EmptyDescriptor {
    media_type: &'static str,
    digest: Digest,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    schema_version: u8,
    media_type: &'static str,
    #[serde(rename = "artifactType")]
    kind: &'static str,
    config: EmptyDescriptor,
    layers: [EmptyDescriptor; 1],
    annotations: BTreeMap<&'static str, String>,
}

impl StoredManifest {
    /// Returns the artifact with this content.
    fn for_builds(content: &[u8]) -> Self {
        let empty =
            EmptyDescriptor { media_type: EMPTY_TYPE, digest: Digest::of(EMPTY), size: EMPTY.len() as u64 };
        let artifact = Artifact {
            schema_version: 2,
            media_type: OCI_MANIFEST,
            kind: ARTIFACT_TYPE,
            config: empty.clone(),
            layers: [empty],
            annotations: BTreeMap::from([(ANNOTATION, STANDARD.encode(content))]),
        };
        Self::new(OCI_MANIFEST, serde_json::to_vec(&artifact).expect("an artifact has text keys only"))
    }

    /// Returns the content of the artifact, or `None` if this is not one.
    fn builds(&self) -> Option<Vec<u8>> {
        #[derive(Deserialize)]
        struct Annotated {
            annotations: BTreeMap<String, String>,
        }
        let annotated: Annotated = serde_json::from_slice(&self.bytes).ok()?;
        STANDARD.decode(annotated.annotations.get(ANNOTATION)?).ok()
    }
}

impl Repository {
    /// Returns the content of the builds under a tag, or `None` if there are none.
    pub(crate) async fn shared_builds(&mut self, tag: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        Ok(self.manifest(tag).await?.and_then(|manifest| manifest.builds()))
    }

    /// Writes the content of builds under a tag, and replaces what it referred to. `is_first` is `true` if the
    /// repository may have no such artifact yet.
    pub(crate) async fn share_builds(
        &mut self,
        tag: &str,
        content: &[u8],
        is_first: bool,
    ) -> Result<(), UploadError> {
        if is_first {
            self.upload_blob(&bytes::Bytes::from_static(EMPTY)).await?;
        }
        Ok(self.put_manifest(tag, &StoredManifest::for_builds(content)).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_an_artifact_is_read_again() {
        let content: Vec<u8> = (0..=255).collect();
        assert_eq!(StoredManifest::for_builds(&content).builds(), Some(content));
        let other = StoredManifest::new(OCI_MANIFEST, b"{\"annotations\":{\"a\":\"b\"}}".to_vec());
        assert_eq!(other.builds(), None);
    }
}
