//! Saves an image without the engine's archive: from an earlier entry of the same image, or layer by layer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Read};

use super::known::{KnownLayers, MAX_ENTRIES};
use super::listing::{Blob, ImageListing, read_listing};
use super::save::{ImageDestination, SaveImageError, SavedImage, copy, finish, write_document};
use crate::digest::{Digest, DigestingReader};
use crate::registry::ImageConfig;
use crate::store::{EntryKind, Save, Store, StoreError};

/// The uncompressed archive of a layer.
pub(crate) struct LayerArchive<'a> {
    /// Ends after `size` bytes.
    pub(crate) reader: Box<dyn Read + 'a>,
    pub(crate) size: u64,
}

/// Saves the image with the content of an earlier entry of the same id. Returns `None` if there is no such entry. Fails
/// if the store fails. No entry is created then.
pub(crate) fn copy_earlier(
    store: &Store,
    destination: &ImageDestination,
) -> Result<Option<SavedImage>, StoreError> {
    let ImageDestination { key, id, platform, subject, .. } = destination;
    for entry in store.recent(EntryKind::Image, platform, MAX_ENTRIES) {
        // An entry that cannot be read is reported when a build searches for it.
        let Ok(listing) = read_listing(store, &entry) else { continue };
        let blobs = entry.chunk_offsets().binary_search(&entry.manifest.listing.at).ok();
        let (true, Some(blobs)) = (listing.id == *id, blobs) else { continue };
        let mut save = store.save(EntryKind::Image, platform, *key)?;
        if save.reuse(&entry.manifest.chunks[..blobs])?.is_some() {
            return finish(save, &listing, subject.clone()).map(Some);
        }
    }
    Ok(None)
}

/// Saves the image whose config is `config`. `open` opens a layer by its index, lowest first. It is called only for
/// layers that are not in earlier entries. Fails if the store fails, if a layer cannot be read, or if the config or a
/// layer does not have the expected digest. No entry is created then.
pub(crate) fn assemble<'a>(
    store: &Store,
    destination: ImageDestination,
    config: &[u8],
    mut open: impl FnMut(usize) -> io::Result<LayerArchive<'a>>,
) -> Result<SavedImage, SaveImageError> {
    let unusable = |reason: &str| SaveImageError::Unusable(reason.to_owned());
    let ImageDestination { key, id, platform, subject, diff_ids, .. } = destination;
    if Digest::of(config) != id {
        return Err(unusable("the config does not match the image id"));
    }
    let layers = ImageConfig::parse(config).map_err(|_| unusable("the config is invalid"))?.layers;
    let mut save = store.save(EntryKind::Image, &platform, key)?;
    let known = KnownLayers::reuse(store, &platform, (&diff_ids, true), &mut save)?;
    let mut listing = ImageListing::new(id, &platform);
    let mut blobs: BTreeMap<Digest, Blob> = BTreeMap::new();
    for (place, diff_id) in layers.iter().enumerate() {
        let digest = diff_id.parse().map_err(|_| unusable("the id of a layer is not a digest"))?;
        listing.layers.push(digest);
        if let Some(blob) = known.layer(&digest) {
            blobs.insert(digest, blob);
        } else if let Entry::Vacant(blob) = blobs.entry(digest) {
            blob.insert(write_layer(open(place)?, digest, &mut save)?);
        }
    }
    blobs.insert(id, write_document(&mut save, id, config)?);
    listing.diff_ids = layers;
    listing.set_blobs(blobs.into_values());
    Ok(finish(save, &listing, subject)?)
}

fn write_layer(layer: LayerArchive<'_>, digest: Digest, save: &mut Save) -> Result<Blob, SaveImageError> {
    let LayerArchive { reader, size } = layer;
    let mut reader = DigestingReader::new(reader);
    let at = copy(&mut reader, size, save)?;
    if reader.digest() != digest {
        return Err(SaveImageError::Unusable("a layer does not match its digest in the config".to_owned()));
    }
    Ok(Blob { digest, at, size })
}
