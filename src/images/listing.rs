//! The listing of an entry of an image: JSON that follows the blobs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::save::LARGEST_JSON;
use crate::digest::Digest;
use crate::registry::ImageConfig;
use crate::store::{Entry, Span, Store, StoreError};

const SCHEMA: &str = "larder.image-content.v1";
/// The limit of a listing, in bytes.
const LARGEST: u64 = 16 << 20;
/// The limit of layers in one image, as in engines.
const MOST_LAYERS: usize = 1000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    schema: String,
    /// The id in the engine that the image was saved from.
    pub(crate) id: Digest,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) platform: String,
    /// The blob of the config.
    pub(crate) config: Digest,
    /// The blobs of the layers, lowest first. A blob can occur several times.
    pub(crate) layers: Vec<Digest>,
    /// The digests of the uncompressed layers.
    pub(crate) diff_ids: Vec<String>,
    /// The index or manifest that the index of an OCI layout names, if the engine wrote one.
    pub(crate) root: Option<Descriptor>,
    /// The location of each blob, in the order of the content.
    pub(crate) blobs: Vec<Blob>,
    /// Layers by the names of their files in the engine's archive, if these do not contain the digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, Digest>,
}

/// A reference to a blob, in the form of the OCI image specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// The location of a blob in the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    pub(crate) at: u64,
    pub(crate) size: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum UnlistedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the entry's list of blobs is unusable: {0}")]
    Unusable(String),
}

/// Reads and checks the listing of `entry`. Fails if the listing cannot be read or is invalid.
pub(crate) fn read_listing(store: &Store, entry: &Entry) -> Result<Listing, UnlistedError> {
    let span = entry.manifest.listing;
    let unusable = |reason: &str| UnlistedError::Unusable(reason.to_owned());
    if span.size > LARGEST {
        return Err(unusable("it is larger than any"));
    }
    let listing: Listing = serde_json::from_slice(&store.read(entry, span)?)
        .map_err(|error| UnlistedError::Unusable(error.to_string()))?;
    listing.check(span.at).map_err(unusable)?;
    Ok(listing)
}

/// Reads the config of the image. Fails if that is not possible.
pub(crate) fn read_config(
    store: &Store,
    entry: &Entry,
    listing: &Listing,
) -> Result<ImageConfig, UnlistedError> {
    let config = listing.document(store, entry, &listing.config)?;
    ImageConfig::parse(&config).map_err(|error| UnlistedError::Unusable(error.to_string()))
}

impl Listing {
    /// Reads a small blob.
    pub(super) fn document(
        &self,
        store: &Store,
        entry: &Entry,
        digest: &Digest,
    ) -> Result<Vec<u8>, UnlistedError> {
        let blob = self.blob(digest).filter(|blob| blob.size <= LARGEST_JSON);
        let blob =
            blob.ok_or_else(|| UnlistedError::Unusable(format!("it has no readable blob {digest}")))?;
        Ok(store.read(entry, Span { at: blob.at, size: blob.size })?)
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

    pub(crate) fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Checks the listing against a content with `bytes` bytes of blobs.
    fn check(&self, bytes: u64) -> Result<(), &'static str> {
        if self.schema != SCHEMA {
            return Err("it has another schema");
        }
        let mut end = 0;
        for blob in &self.blobs {
            if blob.at < end || blob.size > bytes || blob.at > bytes - blob.size {
                return Err("a blob stands where none can");
            }
            end = blob.at + blob.size;
        }
        let known: BTreeSet<&Digest> = self.blobs.iter().map(|blob| &blob.digest).collect();
        if known.len() != self.blobs.len() {
            return Err("it has a blob twice");
        }
        let root = self.root.as_ref().map(|root| &root.digest);
        if !self.layers.iter().chain([&self.config]).chain(root).all(|digest| known.contains(digest)) {
            return Err("it lacks a blob");
        }
        if self.layers.len() != self.diff_ids.len() || self.layers.len() > MOST_LAYERS {
            return Err("it has another number of layers than its config");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let mut listing = Listing::new(digest("config"), "linux/amd64");
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
        type Harm = fn(&mut Listing);
        assert_eq!(listing().check(17), Ok(()));
        let harms: [(Harm, &str); 7] = [
            (|listing| listing.schema.push('2'), "another schema"),
            (|listing| listing.blobs[1].at = 9, "where none can"),
            (|listing| listing.blobs[2].size = 3, "where none can"),
            (|listing| listing.blobs[2].at = u64::MAX, "where none can"),
            (|listing| listing.blobs[1].digest = listing.blobs[0].digest, "twice"),
            (|listing| listing.config = Digest::of(b""), "lacks a blob"),
            (|listing| drop(listing.diff_ids.pop()), "another number of layers"),
        ];
        for (harm, reason) in harms {
            let mut harmed = listing();
            harm(&mut harmed);
            let told = harmed.check(17).unwrap_err();
            assert!(told.contains(reason), "{told}");
        }
    }
}
