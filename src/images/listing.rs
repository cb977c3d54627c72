//! The listing of an image's entry: JSON that follows the blobs. Never read without a check.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::save::LARGEST_JSON;
use crate::digest::Digest;
use crate::registry::ImageConfig;
use crate::store::{ContentRange, Entry, Store, StoreError};

const SCHEMA: &str = "larder.image-content.v1";
/// The maximum size of a listing, in bytes.
const MAX_LISTING_SIZE: u64 = 16 << 20;
/// The maximum number of layers in one image, as in engines.
const MAX_LAYERS: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageListing {
    schema: String,
    /// The id in the engine that the image was saved from.
    pub(crate) id: Digest,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) platform: String,
    pub(crate) config: Digest,
    /// Lowest first. A digest can occur several times.
    pub(crate) layers: Vec<Digest>,
    /// The digests of the uncompressed layers.
    pub(crate) diff_ids: Vec<String>,
    /// The index or manifest to which the index of the OCI layout refers, if the engine wrote one.
    pub(crate) root: Option<BlobDescriptor>,
    /// In the order of the content.
    pub(crate) blobs: Vec<Blob>,
    /// Layers by their paths in the engine's archive, if the paths do not contain the digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, Digest>,
}

/// A reference to a blob, in the form of the OCI image specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlobDescriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) at: u64,
    pub(crate) size: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ImageListingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the listing of the entry is unusable: {0}")]
    Unusable(String),
}

/// Reads and checks the listing of `entry`.
pub(crate) fn read_listing(store: &Store, entry: &Entry) -> Result<ImageListing, ImageListingError> {
    let span = entry.manifest.listing;
    let unusable = |reason: &str| ImageListingError::Unusable(reason.to_owned());
    if span.size > MAX_LISTING_SIZE {
        return Err(unusable("it is too large"));
    }
    let listing: ImageListing = serde_json::from_slice(&store.read(entry, span)?)
        .map_err(|error| ImageListingError::Unusable(error.to_string()))?;
    listing.check(span.at).map_err(unusable)?;
    Ok(listing)
}

pub(crate) fn read_config(
    store: &Store,
    entry: &Entry,
    listing: &ImageListing,
) -> Result<ImageConfig, ImageListingError> {
    let config = listing.document(store, entry, &listing.config)?;
    ImageConfig::parse(&config).map_err(|error| ImageListingError::Unusable(error.to_string()))
}

impl ImageListing {
    /// Reads a small blob. Fails if the blob is missing or larger than [`LARGEST_JSON`].
    pub(super) fn document(
        &self,
        store: &Store,
        entry: &Entry,
        digest: &Digest,
    ) -> Result<Vec<u8>, ImageListingError> {
        let unusable = || ImageListingError::Unusable(format!("blob {digest} is missing or too large"));
        let blob = self.blob(digest).filter(|blob| blob.size <= LARGEST_JSON).ok_or_else(unusable)?;
        Ok(store.read(entry, ContentRange { at: blob.at, size: blob.size })?)
    }

    pub(super) fn new(id: Digest, platform: &str) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            id,
            platform: platform.to_owned(),
            config: id,
            layers: Vec::new(),
            diff_ids: Vec::new(),
            root: None,
            blobs: Vec::new(),
            files: BTreeMap::new(),
        }
    }

    pub(super) fn blob(&self, digest: &Digest) -> Option<&Blob> {
        self.blobs.iter().find(|blob| blob.digest == *digest)
    }

    pub(super) fn set_blobs(&mut self, blobs: impl IntoIterator<Item = Blob>) {
        self.blobs = blobs.into_iter().collect();
        self.blobs.sort_unstable_by_key(|blob| (blob.at, blob.size));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Checks the listing against a content that has `bytes` bytes of blobs.
    fn check(&self, bytes: u64) -> Result<(), &'static str> {
        if self.schema != SCHEMA {
            return Err("its schema is unknown");
        }
        let mut end = 0;
        for blob in &self.blobs {
            if blob.at < end || blob.size > bytes || blob.at > bytes - blob.size {
                return Err("its blobs overlap or exceed the content");
            }
            end = blob.at + blob.size;
        }
        let known: BTreeSet<&Digest> = self.blobs.iter().map(|blob| &blob.digest).collect();
        if known.len() != self.blobs.len() {
            return Err("a blob is listed twice");
        }
        let root = self.root.as_ref().map(|root| &root.digest);
        if !self.layers.iter().chain([&self.config]).chain(root).all(|digest| known.contains(digest)) {
            return Err("a blob is missing");
        }
        if self.layers.len() != self.diff_ids.len() || self.layers.len() > MAX_LAYERS {
            return Err("the number of layers is invalid");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> ImageListing {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let mut listing = ImageListing::new(digest("config"), "linux/amd64");
        listing.layers = vec![digest("a"), digest("b"), digest("a")];
        listing.diff_ids = vec!["a".to_owned(), "b".to_owned(), "a".to_owned()];
        listing.blobs = vec![
            Blob { digest: digest("a"), at: 0, size: 10 },
            Blob { digest: digest("b"), at: 10, size: 5 },
            Blob { digest: digest("config"), at: 15, size: 2 },
        ];
        listing
    }

    #[test]
    fn an_inconsistent_listing_is_refused() {
        type Harm = fn(&mut ImageListing);
        assert_eq!(listing().check(17), Ok(()));
        let harms: [(Harm, &str); 7] = [
            (|listing| listing.schema.push('2'), "its schema is unknown"),
            (|listing| listing.blobs[1].at = 9, "overlap or exceed"),
            (|listing| listing.blobs[2].size = 3, "overlap or exceed"),
            (|listing| listing.blobs[2].at = u64::MAX, "overlap or exceed"),
            (|listing| listing.blobs[1].digest = listing.blobs[0].digest, "twice"),
            (|listing| listing.config = Digest::of(b""), "a blob is missing"),
            (|listing| drop(listing.diff_ids.pop()), "number of layers is invalid"),
        ];
        for (harm, reason) in harms {
            let mut harmed = listing();
            harm(&mut harmed);
            let error = harmed.check(17).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
