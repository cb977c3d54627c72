//! Saving an image: an engine's archive is read as it comes, and what belongs to the image is kept.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path};

use tar::{Archive, EntryType};

use super::known::KnownLayers;
use super::listing::{Blob, Listing};
use super::outline::{Outline, blob_digest, blob_path};
use crate::digest::Digest;
use crate::registry::ImageConfig;
use crate::store::{CopyError, EntryKind, Save, Saved, Span, Store, StoreError, Subject};

/// Files up to this many bytes wait until it is known whether they belong to the image, and share chunks.
pub(super) const SMALL: u64 = 1 << 20;
/// Bytes of such files that may wait, in all.
const MOST_WAITING: u64 = 32 << 20;
/// The largest description that is read; it may come last.
const LARGEST_JSON: u64 = 8 << 20;

/// Where an entry is to stand, and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// The image's key.
    pub(crate) key: Digest,
    /// The id that the engine has it under.
    pub(crate) id: Digest,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) platform: String,
    /// Title, tags and inputs; what is counted is filled in.
    pub(crate) subject: Subject,
    /// Its layers uncompressed, as the engine tells them: those that earlier entries have are not read again.
    pub(crate) diff_ids: Vec<String>,
    /// The engine hands its layers out as they are, and not compressed.
    pub(crate) plain: bool,
}

/// A saved image.
#[derive(Debug)]
pub struct SavedImage {
    /// The entry.
    pub(crate) saved: Saved,
    /// Bytes of its layers and descriptions.
    pub(crate) bytes: u64,
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
pub(crate) fn save(
    store: &Store,
    archive: impl Read,
    destination: Destination,
) -> Result<SavedImage, SaveError> {
    let Destination { key, id, platform, subject, diff_ids, plain } = destination;
    let mut save = store.save(EntryKind::Image, &platform, key)?;
    let known = KnownLayers::take_over(store, &platform, (&diff_ids, plain), &mut save)?;
    let members = Members::read(archive, &known, &mut save)?;
    let outline = Outline::read(|path| members.text(path)).map_err(SaveError::Unusable)?;
    let listing = members.keep(outline, Listing::new(id, &platform), &mut save)?;
    Ok(finish(save, &listing, subject)?)
}

/// Writes the list behind the blobs and commits the entry.
pub(super) fn finish(mut save: Save, listing: &Listing, subject: Subject) -> Result<SavedImage, StoreError> {
    let bytes = listing.bytes();
    let text = serde_json::to_vec(listing).expect("a list has text keys only");
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
    /// In the content already, at this place with this size.
    Written { at: u64, size: u64 },
    /// A layer that an earlier entry has.
    Known(Blob),
    /// Small enough to wait.
    Waiting { digest: Digest, bytes: Vec<u8> },
    /// Another name of a file.
    Link(String),
}

impl Members {
    /// Reads an archive to its end; large files go into the content at once, unless they are there.
    fn read(archive: impl Read, known: &KnownLayers, save: &mut Save) -> Result<Self, SaveError> {
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
                    } else if let Some(blob) = known.get(&path, size) {
                        Member::Known(blob)
                    } else {
                        write(&mut entry, size, save)?
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

    /// The digest of the file at a path. A large one has that which its name or its image claims; who loads it finds out.
    fn digest(&self, path: &str, claimed: Option<Digest>) -> Option<Digest> {
        match self.at(path)? {
            Member::Waiting { digest, .. } | Member::Known(Blob { digest, .. }) => Some(*digest),
            Member::Written { .. } => blob_digest(path).or(claimed),
            Member::Link(_) => None,
        }
    }

    /// Checks that the files are the image's, and brings those into the content that are not there yet.
    fn keep(self, outline: Outline, mut listing: Listing, save: &mut Save) -> Result<Listing, SaveError> {
        let unusable = |reason: &str| SaveError::Unusable(reason.to_owned());
        let mut files: BTreeMap<Digest, String> = BTreeMap::new();
        for digest in &outline.blobs {
            let path = blob_path(digest);
            match self.digest(&path, None) {
                Some(found) if found == *digest => drop(files.insert(found, path)),
                Some(_) => return Err(unusable("a blob is not the one that it is named after")),
                // It may be of another platform; what is needed is looked for below.
                None => {}
            }
        }
        let config = self.text(&outline.config).ok_or_else(|| unusable("its config is not there"))?;
        listing.config = Digest::of(config);
        files.insert(listing.config, outline.config.clone());
        let config = ImageConfig::parse(config).map_err(|_| unusable("its config is none"))?;
        for (path, diff_id) in outline.layers.iter().zip(&config.layers) {
            let claimed = diff_id.parse().ok();
            let layer = self.digest(path, claimed).ok_or_else(|| unusable("a layer is not there"))?;
            if Some(layer) != claimed && !outline.blobs.contains(&layer) {
                return Err(unusable("a layer is not the one that its config names"));
            }
            files.insert(layer, path.clone());
            if blob_digest(path).is_none() {
                listing.files.insert(path.clone(), layer);
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
        listing.blobs = self.place(&files, save)?;
        Ok(listing)
    }

    /// Where each of these files stands in the content; those that waited are written now.
    fn place(&self, files: &BTreeMap<Digest, String>, save: &mut Save) -> Result<Vec<Blob>, SaveError> {
        save.boundary()?;
        let mut blobs = Vec::new();
        for (digest, path) in files {
            let (at, size) = match self.at(path) {
                Some(Member::Written { at, size } | Member::Known(Blob { at, size, .. })) => (*at, *size),
                Some(Member::Waiting { bytes, .. }) => {
                    let at = save.position();
                    save.write(bytes)?;
                    (at, bytes.len() as u64)
                }
                _ => continue,
            };
            blobs.push(Blob { digest: *digest, at, size });
        }
        blobs.sort_unstable_by_key(|blob| (blob.at, blob.size));
        Ok(blobs)
    }
}

/// Writes a large file, with chunks of its own.
fn write(mut file: impl Read, size: u64, save: &mut Save) -> Result<Member, SaveError> {
    save.boundary()?;
    let at = save.position();
    save.copy_from(&mut file, size)?;
    save.boundary()?;
    Ok(Member::Written { at, size })
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
