//! The list of what an entry holds of an image, written behind the blobs as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::store::{Entry, Store, StoreError};

/// The version of the list's shape.
const SCHEMA: &str = "larder.image-content.v1";
/// The largest list that is read, in bytes.
const LARGEST: u64 = 16 << 20;
/// Engines take no more layers than this in one image.
const MOST_LAYERS: usize = 1000;

/// What an entry holds of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// `larder.image-content.v1`.
    schema: String,
    /// The id that the engine had it under.
    pub(crate) id: Digest,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) platform: String,
    /// The blob that is its config.
    pub(crate) config: Digest,
    /// The blobs that are its layers, the lowest first; one blob may be several of them.
    pub(crate) layers: Vec<Digest>,
    /// Its layers uncompressed.
    pub(crate) diff_ids: Vec<String>,
    /// What an OCI layout's index names: an index or a manifest, if the engine wrote one.
    pub(crate) root: Option<Descriptor>,
    /// Where each blob stands, in the order of the content.
    pub(crate) blobs: Vec<Blob>,
    /// Layers by the names of their files in the engine's archive, where those do not tell their digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) files: BTreeMap<String, Digest>,
}

/// A reference to a blob, in the form of the OCI image specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    /// What it is.
    pub(crate) media_type: String,
    /// Its digest.
    pub(crate) digest: Digest,
    /// Its bytes.
    pub(crate) size: u64,
}

/// Where a blob stands in the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    /// Its digest.
    pub(crate) digest: Digest,
    /// Its first byte.
    pub(crate) at: u64,
    /// Its bytes.
    pub(crate) size: u64,
}

/// The list of an entry cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UnlistedError {
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not hold an image.
    #[error("the entry's list of blobs is unusable: {0}")]
    Unusable(String),
}

/// The list of `entry`, checked.
///
/// # Errors
///
/// Fails when it cannot be read or makes no sense.
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

impl Listing {
    /// A list of nothing yet.
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

    /// Where a blob stands.
    pub(super) fn blob(&self, digest: &Digest) -> Option<&Blob> {
        self.blobs.iter().find(|blob| blob.digest == *digest)
    }

    /// Bytes of all blobs.
    pub(crate) fn bytes(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// Checks it against a content of which `bytes` are blobs.
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
    fn a_list_that_makes_no_sense_is_refused() {
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
