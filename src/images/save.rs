//! Saves an image from an engine's archive, which is read as a stream. Never writes a temporary file.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path};

use tar::{Archive, EntryType};

use super::known::KnownLayers;
use super::listing::{Blob, ImageListing};
use super::outline::{ArchiveOutline, blob_digest, blob_path};
use crate::digest::Digest;
use crate::registry::ImageConfig;
use crate::store::{ContentRange, CopyError, EntryKind, Save, SavedEntry, Store, StoreError, Subject};

/// Files up to this size, in bytes, are kept in memory until it is known whether they belong to the image, and share
/// chunks.
pub(super) const SMALL: u64 = 1 << 20;
/// The maximum total size of such files, in bytes.
const MAX_IN_MEMORY: u64 = 32 << 20;
/// The maximum size of a JSON file, in bytes. It may be needed in addition to that limit, because JSON files may come
/// last.
pub(super) const LARGEST_JSON: u64 = 8 << 20;

#[derive(Debug, Clone)]
pub(crate) struct ImageDestination {
    pub(crate) key: Digest,
    pub(crate) id: Digest,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) platform: String,
    /// Title, tags and inputs; the numbers of layers and bytes are filled in.
    pub(crate) subject: Subject,
    /// The digests of the uncompressed layers. Layers that are in earlier entries are not read again.
    pub(crate) diff_ids: Vec<String>,
    /// `true` if the layers in the archive are not compressed.
    pub(crate) plain: bool,
}

#[derive(Debug)]
pub(crate) struct SavedImage {
    pub(crate) saved: SavedEntry,
    pub(crate) bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveImageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the engine's archive of the image cannot be read")]
    Archive(#[from] io::Error),
    #[error("the engine's archive of the image is unusable: {0}")]
    Unusable(String),
}

impl From<CopyError> for SaveImageError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Store(error) => Self::Store(error),
            CopyError::Reader(error) => Self::Archive(error),
        }
    }
}

/// Saves an image from an archive as written by `docker save ID`. Fails if the store fails, or if the archive is
/// incomplete or not that of the image. No entry is created then.
pub(crate) fn save(
    store: &Store,
    archive: impl Read,
    destination: ImageDestination,
) -> Result<SavedImage, SaveImageError> {
    let ImageDestination { key, id, platform, subject, diff_ids, plain } = destination;
    let mut save = store.save(EntryKind::Image, &platform, key)?;
    let known = KnownLayers::reuse(store, &platform, (&diff_ids, plain), &mut save)?;
    let members = ArchiveFiles::read(archive, &known, &mut save)?;
    let outline = ArchiveOutline::read(|path| members.text(path)).map_err(SaveImageError::Unusable)?;
    let listing = members.write_blobs(outline, ImageListing::new(id, &platform), &mut save)?;
    Ok(finish(save, &listing, subject)?)
}

pub(super) fn finish(
    mut save: Save,
    listing: &ImageListing,
    subject: Subject,
) -> Result<SavedImage, StoreError> {
    let bytes = listing.bytes();
    let text = serde_json::to_vec(listing).expect("a list has text keys only");
    save.boundary()?;
    let span = ContentRange { at: save.position(), size: text.len() as u64 };
    save.write(&text)?;
    let subject = Subject { files: listing.layers.len() as u64, bytes, ..subject };
    Ok(SavedImage { saved: save.commit(subject, span)?, bytes })
}

#[derive(Default)]
struct ArchiveFiles(BTreeMap<String, ArchiveFile>);

enum ArchiveFile {
    /// A large file that was already written to the content.
    Written { at: u64, size: u64 },
    /// A layer that is in an earlier entry.
    Known(Blob),
    /// A small file, which is not written yet.
    InMemory { digest: Digest, bytes: Vec<u8> },
    /// The path in the archive that the link leads to.
    Link(String),
}

impl ArchiveFiles {
    /// Reads a whole archive. Large files that are not known are written to the content at once.
    fn read(archive: impl Read, known: &KnownLayers, save: &mut Save) -> Result<Self, SaveImageError> {
        let mut members = Self::default();
        let mut waiting = 0;
        let mut archive = Archive::new(archive);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let Some(path) = plain(Path::new(""), &entry.path()?) else { continue };
            let size = entry.size();
            let member = match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    let is_text =
                        Path::new(&path).extension() == Some("json".as_ref()) && size <= LARGEST_JSON;
                    if (size <= SMALL || is_text) && waiting + size <= MAX_IN_MEMORY + LARGEST_JSON {
                        waiting += size;
                        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
                        entry.read_to_end(&mut bytes)?;
                        ArchiveFile::InMemory { digest: Digest::of(&bytes), bytes }
                    } else if let Some(blob) = known.get(&path, size) {
                        ArchiveFile::Known(blob)
                    } else {
                        ArchiveFile::Written { at: copy(&mut entry, size, save)?, size }
                    }
                }
                kind @ (EntryType::Symlink | EntryType::Link) => {
                    // A symbolic link is relative to its directory, and a hard link to the root of the archive.
                    let from = if kind == EntryType::Symlink { Path::new(&path).parent() } else { None };
                    let target = entry.link_name()?.and_then(|to| plain(from.unwrap_or(Path::new("")), &to));
                    let Some(target) = target else { continue };
                    ArchiveFile::Link(target)
                }
                _ => continue,
            };
            members.0.insert(path, member);
        }
        Ok(members)
    }

    /// Returns the file at a path, or the target of the link at the path.
    fn at(&self, path: &str) -> Option<&ArchiveFile> {
        let found = self.0.get(&plain(Path::new(""), Path::new(path))?)?;
        match found {
            // Engines link to files, never to links.
            ArchiveFile::Link(target) => self.0.get(target),
            found => Some(found),
        }
    }

    fn text(&self, path: &str) -> Option<&[u8]> {
        match self.at(path)? {
            ArchiveFile::InMemory { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    /// Returns the digest of the file at a path. For a large file, this is the digest in its name or in the config,
    /// which the engine verifies when it loads the image.
    fn digest(&self, path: &str, claimed: Option<Digest>) -> Option<Digest> {
        match self.at(path)? {
            ArchiveFile::InMemory { digest, .. } | ArchiveFile::Known(Blob { digest, .. }) => Some(*digest),
            ArchiveFile::Written { .. } => blob_digest(path).or(claimed),
            ArchiveFile::Link(_) => None,
        }
    }

    /// Checks that the files belong to the image, and writes those that are still in memory.
    fn write_blobs(
        self,
        outline: ArchiveOutline,
        mut listing: ImageListing,
        save: &mut Save,
    ) -> Result<ImageListing, SaveImageError> {
        let unusable = |reason: &str| SaveImageError::Unusable(reason.to_owned());
        let mut files: BTreeMap<Digest, String> = BTreeMap::new();
        for digest in &outline.blobs {
            let path = blob_path(digest);
            match self.digest(&path, None) {
                Some(found) if found == *digest => drop(files.insert(found, path)),
                Some(_) => return Err(unusable("a blob does not match the digest in its name")),
                // The blob may belong to a different platform. Required files are checked below.
                None => {}
            }
        }
        let config = self.text(&outline.config).ok_or_else(|| unusable("the config is missing"))?;
        listing.config = Digest::of(config);
        files.insert(listing.config, outline.config.clone());
        let config = ImageConfig::parse(config).map_err(|_| unusable("the config is invalid"))?;
        for (path, diff_id) in outline.layers.iter().zip(&config.layers) {
            let claimed = diff_id.parse().ok();
            let layer = self.digest(path, claimed).ok_or_else(|| unusable("a layer is missing"))?;
            if Some(layer) != claimed && !outline.blobs.contains(&layer) {
                return Err(unusable("a layer does not match its digest in the config"));
            }
            files.insert(layer, path.clone());
            if blob_digest(path).is_none() {
                listing.files.insert(path.clone(), layer);
            }
            listing.layers.push(layer);
        }
        if outline.layers.len() != config.layers.len() {
            return Err(unusable("the number of layers differs from the config"));
        }
        let root = outline.root.as_ref().map(|root| root.digest);
        if listing.id != listing.config && Some(listing.id) != root {
            return Err(unusable("it contains a different image"));
        }
        if outline.root.is_some() && !outline.blobs.contains(&listing.config) {
            return Err(unusable("the index does not lead to the config"));
        }
        listing.diff_ids = config.layers;
        listing.root = outline.root;
        save.boundary()?;
        let mut blobs = Vec::new();
        for (digest, path) in files {
            let (at, size) = match self.at(&path) {
                Some(ArchiveFile::Written { at, size } | ArchiveFile::Known(Blob { at, size, .. })) => {
                    (*at, *size)
                }
                Some(ArchiveFile::InMemory { bytes, .. }) => {
                    let at = save.position();
                    save.write(bytes)?;
                    (at, bytes.len() as u64)
                }
                _ => continue,
            };
            blobs.push(Blob { digest, at, size });
        }
        listing.set_blobs(blobs);
        Ok(listing)
    }
}

/// Appends a blob to the content, and returns its offset. A large one gets separate chunks, so that later entries can
/// reuse them; small ones share chunks.
pub(super) fn copy(reader: &mut dyn Read, size: u64, save: &mut Save) -> Result<u64, SaveImageError> {
    if size > SMALL {
        save.boundary()?;
    }
    let at = save.position();
    save.copy_from(reader, size)?;
    if size > SMALL {
        save.boundary()?;
    }
    Ok(at)
}

/// Appends a document in a separate chunk.
pub(super) fn write_document(save: &mut Save, digest: Digest, bytes: &[u8]) -> Result<Blob, StoreError> {
    save.boundary()?;
    let at = save.position();
    save.write(bytes)?;
    Ok(Blob { digest, at, size: bytes.len() as u64 })
}

/// Normalizes a path in an archive. Returns `None` if it leads out of the archive or is not UTF-8.
fn plain(directory: &Path, path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in directory.components().chain(path.components()) {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir | Component::RootDir => {}
            Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}
