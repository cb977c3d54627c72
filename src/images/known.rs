//! Finds layers in earlier entries, so that their chunks are reused and the engine's copy is not read.

use std::collections::{BTreeMap, BTreeSet};

use super::listing::{Blob, ImageListing, read_listing};
use super::outline::blob_path;
use super::save::SMALL;
use crate::digest::Digest;
use crate::store::{ChunkRef, Entry, EntryKind, Save, Store, StoreError};

pub(super) const MAX_ENTRIES: usize = 8;

/// Layers that were added to the content before the archive is read, by their paths in the archive.
#[derive(Default)]
pub(super) struct KnownLayers(BTreeMap<String, Blob>);

impl KnownLayers {
    /// Reuses the layers with these uncompressed digests from the latest entries, if they have the form of the archive:
    /// not compressed if `plain` is `true`. The content must be empty.
    pub(super) fn reuse(
        store: &Store,
        platform: &str,
        (diff_ids, plain): (&[String], bool),
        save: &mut Save,
    ) -> Result<Self, StoreError> {
        let wanted: BTreeSet<&str> = diff_ids.iter().map(String::as_str).collect();
        let mut known = Self::default();
        let mut taken: BTreeMap<Digest, Option<Blob>> = BTreeMap::new();
        for entry in store.recent(EntryKind::Image, platform, MAX_ENTRIES) {
            // An entry that cannot be read is reported when a build searches for it.
            let Ok(listing) = read_listing(store, &entry) else { continue };
            for digest in listing.large_layers(&wanted, plain) {
                let blob = match taken.get(&digest) {
                    Some(blob) => *blob,
                    None => reuse_blob(&entry, &listing, &digest, save)?,
                };
                taken.insert(digest, blob);
                let Some(blob) = blob else { continue };
                let names = listing.files.iter().filter(|(_, layer)| **layer == digest);
                let names = names.map(|(name, _)| name.clone()).chain([blob_path(&digest)]);
                known.0.extend(names.map(|name| (name, blob)));
            }
        }
        Ok(known)
    }

    pub(super) fn layer(&self, digest: &Digest) -> Option<Blob> {
        self.0.get(&blob_path(digest)).copied()
    }

    /// Returns the layer that is in the archive at this path and has this size.
    pub(super) fn get(&self, path: &str, size: u64) -> Option<Blob> {
        self.0.get(path).copied().filter(|blob| blob.size == size)
    }
}

impl ImageListing {
    /// Returns the wanted layers that are large enough to have separate chunks.
    fn large_layers(&self, wanted: &BTreeSet<&str>, plain: bool) -> BTreeSet<Digest> {
        let layers = self.layers.iter().zip(&self.diff_ids);
        let layers = layers.filter(|(layer, diff_id)| {
            wanted.contains(diff_id.as_str()) && (layer.to_string() == **diff_id) == plain
        });
        let layers = layers.map(|(layer, _)| *layer);
        layers.filter(|layer| self.blob(layer).is_some_and(|blob| blob.size > SMALL)).collect()
    }
}

/// Reuses the chunks of a blob and returns its new location. Returns `None` if the blob does not have separate chunks,
/// or if they are no longer in the store.
pub(super) fn reuse_blob(
    entry: &Entry,
    listing: &ImageListing,
    digest: &Digest,
    save: &mut Save,
) -> Result<Option<Blob>, StoreError> {
    let Some((blob, chunks)) =
        listing.blob(digest).and_then(|blob| Some((blob, chunks_of_blob(entry, blob)?)))
    else {
        return Ok(None);
    };
    Ok(save.reuse(chunks)?.map(|at| Blob { at, ..*blob }))
}

/// Returns the chunks of a blob, or `None` if it does not start and end at chunk boundaries.
fn chunks_of_blob<'a>(entry: &'a Entry, blob: &Blob) -> Option<&'a [ChunkRef]> {
    let starts = entry.chunk_offsets();
    let place = |at: u64| starts.binary_search(&at).ok();
    entry.manifest.chunks.get(place(blob.at)?..place(blob.at + blob.size)?)
}
