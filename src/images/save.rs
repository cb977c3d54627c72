//! Saving an image: an engine's archive is read as it comes, and what belongs to the image is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Component, Path};

use sha2::{Digest as _, Sha256};
use tar::{Archive, EntryType};

use super::listing::{Blob, Listing};
use super::outline::{Outline, blob_path};
use crate::digest::Digest;
use crate::registry::ImageConfig;
use crate::store::{CopyError, EntryKind, Save, Saved, Span, Store, StoreError, Subject};

/// Files up to this many bytes wait until it is known whether they belong to the image, and share chunks.
const SMALL: u64 = 1 << 20;
/// Bytes of such files that may wait, in all.
const MOST_WAITING: u64 = 32 << 20;
/// The largest description that is read; it may come last.
const LARGEST_JSON: u64 = 8 << 20;

/// Where an entry is to stand, and what it is called.
#[derive(Debug)]
pub struct Destination {
    /// The image's key.
    pub key: Digest,
    /// The id that the engine has it under.
    pub id: Digest,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub platform: String,
    /// Title, tags and inputs; what is counted is filled in.
    pub subject: Subject,
}

/// A saved image.
#[derive(Debug)]
pub struct SavedImage {
    /// The entry.
    pub saved: Saved,
    /// Bytes of its layers and descriptions.
    pub bytes: u64,
}

/// Why an image was not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The store is at fault.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive ended early or cannot be read.
    #[error("the engine's archive of the image cannot be read")]
    Archive(#[from] io::Error),
    /// It is not the archive of that image.
    #[error("the engine's archive of the image is unusable: {0}")]
    Unusable(String),
}

impl From<CopyError> for SaveError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Store(error) => Self::Store(error),
            CopyError::Reader(error) => Self::Archive(error),
        }
    }
}

/// Saves the image whose archive `archive` is, as `docker save ID` writes it.
///
/// # Errors
///
/// Fails when the store does, and when the archive is not whole or not the one of that image; then nothing is saved.
///
/// # Panics
///
/// Never: a list can be written as JSON.
pub fn save(store: &Store, archive: impl Read, destination: Destination) -> Result<SavedImage, SaveError> {
    let Destination { key, id, platform, subject } = destination;
    let mut save = store.save(EntryKind::Image, &platform, key)?;
    let members = Members::read(archive, &mut save)?;
    let outline = Outline::read(|path| members.text(path)).map_err(SaveError::Unusable)?;
    let listing = members.keep(outline, Listing::new(id, &platform), &mut save)?;
    let bytes = listing.bytes();
    let text = serde_json::to_vec(&listing).expect("a list has text keys only");
    save.boundary()?;
    let span = Span { at: save.position(), size: text.len() as u64 };
    save.write(&text)?;
    let subject = Subject { files: listing.layers.len() as u64, bytes, ..subject };
    Ok(SavedImage { saved: save.commit(subject, span)?, bytes })
}

/// The files of an archive by their paths.
#[derive(Default)]
struct Members(BTreeMap<String, Member>);

enum Member {
    /// In the content already.
    Written(Blob),
    /// Small enough to wait.
    Waiting { digest: Digest, bytes: Vec<u8> },
    /// Another name of a file.
    Link(String),
}

impl Members {
    /// Reads an archive to its end; large files go into the content at once.
    fn read(archive: impl Read, save: &mut Save) -> Result<Self, SaveError> {
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
                    if (size <= SMALL || is_text) && waiting + size <= MOST_WAITING + LARGEST_JSON {
                        waiting += size;
                        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
                        entry.read_to_end(&mut bytes)?;
                        Member::Waiting { digest: Digest::of(&bytes), bytes }
                    } else {
                        Member::Written(write(&mut entry, size, save)?)
                    }
                }
                kind @ (EntryType::Symlink | EntryType::Link) => {
                    // A link is relative to its own directory, a further name to the archive's root.
                    let from = if kind == EntryType::Symlink { Path::new(&path).parent() } else { None };
                    let target = entry.link_name()?.and_then(|to| plain(from.unwrap_or(Path::new("")), &to));
                    let Some(target) = target else { continue };
                    Member::Link(target)
                }
                _ => continue,
            };
            members.0.insert(path, member);
        }
        Ok(members)
    }

    /// The file at a path, or the one that a link there leads to.
    fn at(&self, path: &str) -> Option<&Member> {
        let found = self.0.get(&plain(Path::new(""), Path::new(path))?)?;
        match found {
            // Engines link to files, never to links.
            Member::Link(target) => self.0.get(target),
            found => Some(found),
        }
    }

    fn text(&self, path: &str) -> Option<&[u8]> {
        match self.at(path)? {
            Member::Waiting { bytes, .. } => Some(bytes),
            _ => None,
        }
    }

    fn digest(&self, path: &str) -> Option<Digest> {
        match self.at(path)? {
            Member::Waiting { digest, .. } => Some(*digest),
            Member::Written(blob) => Some(blob.digest),
            Member::Link(_) => None,
        }
    }

    /// Checks that the files are the image's, and brings those into the content that are not there yet.
    fn keep(self, outline: Outline, mut listing: Listing, save: &mut Save) -> Result<Listing, SaveError> {
        let unusable = |reason: &str| SaveError::Unusable(reason.to_owned());
        for digest in &outline.blobs {
            // What is missing may be of another platform; what is needed is looked for below.
            if self.digest(&blob_path(digest)).is_some_and(|found| found != *digest) {
                return Err(unusable("a blob is not the one that it is named after"));
            }
        }
        let config = self.text(&outline.config).ok_or_else(|| unusable("its config is not there"))?;
        listing.config = Digest::of(config);
        let config = ImageConfig::parse(config).map_err(|_| unusable("its config is none"))?;
        for (path, diff_id) in outline.layers.iter().zip(&config.layers) {
            let layer = self.digest(path).ok_or_else(|| unusable("a layer is not there"))?;
            if layer.to_string() != *diff_id && !outline.blobs.contains(&layer) {
                return Err(unusable("a layer is not the one that its config names"));
            }
            listing.layers.push(layer);
        }
        if outline.layers.len() != config.layers.len() {
            return Err(unusable("it has another number of layers than its config"));
        }
        let root = outline.root.as_ref().map(|root| root.digest);
        if listing.id != listing.config && Some(listing.id) != root {
            return Err(unusable("it is another image"));
        }
        if outline.root.is_some() && !outline.blobs.contains(&listing.config) {
            return Err(unusable("its index does not lead to its config"));
        }
        listing.diff_ids = config.layers;
        listing.root = outline.root;
        let wanted: BTreeSet<Digest> =
            listing.layers.iter().copied().chain([listing.config]).chain(outline.blobs).collect();
        listing.blobs = self.place(&wanted, save)?;
        Ok(listing)
    }

    /// Where each of these blobs stands; those that waited are written now.
    fn place(self, wanted: &BTreeSet<Digest>, save: &mut Save) -> Result<Vec<Blob>, SaveError> {
        let mut placed: BTreeMap<Digest, Blob> = BTreeMap::new();
        let mut waiting: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        for member in self.0.into_values() {
            match member {
                // The same content may have come twice.
                Member::Written(blob) if wanted.contains(&blob.digest) => {
                    placed.entry(blob.digest).or_insert(blob);
                }
                Member::Waiting { digest, bytes } if wanted.contains(&digest) => {
                    waiting.insert(digest, bytes);
                }
                _ => {}
            }
        }
        save.boundary()?;
        for (digest, bytes) in waiting {
            if let std::collections::btree_map::Entry::Vacant(place) = placed.entry(digest) {
                place.insert(Blob { digest, at: save.position(), size: bytes.len() as u64 });
                save.write(&bytes)?;
            }
        }
        let mut blobs: Vec<Blob> = placed.into_values().collect();
        blobs.sort_unstable_by_key(|blob| (blob.at, blob.size));
        Ok(blobs)
    }
}

/// Writes a large file as a blob with chunks of its own.
fn write(file: impl Read, size: u64, save: &mut Save) -> Result<Blob, SaveError> {
    save.boundary()?;
    let at = save.position();
    let mut hashed = Hashed { inner: file, hash: Sha256::new() };
    save.copy_from(&mut hashed, size)?;
    save.boundary()?;
    Ok(Blob { digest: Digest::from(<[u8; 32]>::from(hashed.hash.finalize())), at, size })
}

/// Digests what is read.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

/// A path of an archive in its plain form; `None` for one that leads out of it or is no text.
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
