//! Saves the first layers of an archived image as a separate entry, which shares their chunks. Does not read from an
//! engine or a registry.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use super::known::reuse_blob;
use super::listing::{BlobDescriptor, ImageListing, ImageListingError, read_listing};
use super::outline::{IndexOrManifest, MAX_DEPTH};
use super::save::{SavedImage, finish, write_document};
use crate::digest::Digest;
use crate::registry::{ImageConfig, PrefixDocuments, PrefixError};
use crate::store::{Entry, EntryKind, Store, StoreError, Subject};

#[derive(Debug, thiserror::Error)]
pub(crate) enum SavePrefixError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Listing(#[from] ImageListingError),
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

/// Saves a prefix of the image in `entry` under `key`. `compose` creates the documents of the prefix from the manifest
/// and the config of the image.
///
/// Fails if the store fails, or if the entry has no readable manifest or config. No entry is created then.
pub(crate) fn save_prefix(
    store: &Store,
    entry: &Entry,
    key: Digest,
    subject: Subject,
    compose: impl FnOnce(&[u8], &[u8]) -> Result<PrefixDocuments, PrefixError>,
) -> Result<SavedImage, SavePrefixError> {
    let image = read_listing(store, entry)?;
    let config = image.document(store, entry, &image.config)?;
    let manifest = manifest(store, entry, &image)?;
    let PrefixDocuments { config, manifest, media_type, oldest } = compose(&manifest, &config)?;
    let subject = Subject { oldest, ..subject };
    let diff_ids = ImageConfig::parse(&config).map_err(|_| PrefixError::MalformedImage)?.layers;
    let layers = image.layers.get(..diff_ids.len()).ok_or(PrefixError::MalformedImage)?.to_vec();

    let mut save = store.save(EntryKind::Prefix, &image.platform, key)?;
    let mut blobs = BTreeMap::new();
    let mut small = Vec::new();
    for digest in &layers {
        let Slot::Vacant(slot) = blobs.entry(*digest) else { continue };
        match reuse_blob(entry, &image, digest, &mut save)? {
            Some(blob) => drop(slot.insert(blob)),
            None => small.push(*digest),
        }
    }
    for digest in small {
        if let Slot::Vacant(slot) = blobs.entry(digest) {
            let bytes = image.document(store, entry, &digest)?;
            slot.insert(write_document(&mut save, digest, &bytes)?);
        }
    }
    let id = Digest::of(&config);
    let mut listing = ImageListing::new(id, &image.platform);
    blobs.insert(id, write_document(&mut save, id, &config)?);
    // An entry without a manifest comes from an engine with a graph driver.
    if image.root.is_some() {
        let (digest, size) = (Digest::of(&manifest), manifest.len() as u64);
        blobs.insert(digest, write_document(&mut save, digest, &manifest)?);
        listing.root = Some(BlobDescriptor { media_type, digest, size });
    }
    listing.layers = layers;
    listing.diff_ids = diff_ids;
    listing.set_blobs(blobs.into_values());
    Ok(finish(save, &listing, subject)?)
}

/// Returns the manifest that contains the config of the image.
fn manifest(store: &Store, entry: &Entry, image: &ImageListing) -> Result<Vec<u8>, SavePrefixError> {
    let Some(root) = &image.root else { return Ok(image.manifest()) };
    let mut nodes = vec![root.digest];
    for _ in 0..MAX_DEPTH {
        let mut below = Vec::new();
        // The manifests of other platforms may be missing.
        for digest in nodes.iter().filter(|digest| image.blob(digest).is_some()) {
            let text = image.document(store, entry, digest)?;
            let node: IndexOrManifest =
                serde_json::from_slice(&text).map_err(|_| PrefixError::MalformedImage)?;
            if node.config.is_some_and(|config| config.digest == image.config) {
                return Ok(text);
            }
            below.extend(node.manifests.into_iter().map(|manifest| manifest.digest));
        }
        nodes = below;
    }
    Err(PrefixError::MalformedImage.into())
}
