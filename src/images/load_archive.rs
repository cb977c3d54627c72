//! The archive that is sent to an engine, as `docker load` reads it: a whole image, or the parts that the engine lacks.
//! Does not talk to an engine.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use serde_json::json;

use super::listing::{Blob, BlobDescriptor, ImageListing};
use super::outline::blob_path;
use crate::digest::Digest;
use crate::store::{ContentRange, Entry, Store, StoreError};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The block size of tar.
const BLOCK: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveLayout {
    /// Docker's layout, for engines with a graph driver. Layers that the engine already has may be missing.
    Docker,
    /// The OCI layout, for containerd's store, in which the image is unchanged.
    Oci,
}

/// An archive that is created while it is sent.
#[derive(Debug, Default)]
pub(crate) struct LoadArchive {
    segments: Vec<ArchiveSegment>,
    bytes: u64,
}

#[derive(Debug)]
enum ArchiveSegment {
    Text(Bytes),
    Content(ContentRange),
}

impl ImageListing {
    /// Returns the id that an engine assigns to the image if it is loaded in this form.
    pub(crate) fn id_in(&self, form: ArchiveLayout) -> Digest {
        match (form, &self.root) {
            (ArchiveLayout::Docker, _) => self.config,
            (ArchiveLayout::Oci, Some(root)) => root.digest,
            (ArchiveLayout::Oci, None) => Digest::of(&self.manifest()),
        }
    }

    /// Returns the index at which to split the layers above the lowest `present` ones into two parts of about the same
    /// size. Returns `None` if a part would have fewer than `least` bytes.
    pub(crate) fn split_index(&self, present: usize, least: u64) -> Option<usize> {
        let size = |layer: &Digest| self.blob(layer).map_or(0, |blob| blob.size);
        let bytes = |layers: &[Digest]| layers.iter().map(size).sum::<u64>();
        let middle = (present + 1..self.layers.len()).min_by_key(|middle| {
            bytes(&self.layers[present..*middle]).abs_diff(bytes(&self.layers[*middle..]))
        })?;
        let parts = [bytes(&self.layers[present..middle]), bytes(&self.layers[middle..])];
        parts.iter().all(|part| *part >= least).then_some(middle)
    }

    /// Returns a config for an image that consists of the lowest `layers` layers.
    fn lower_config(&self, layers: usize) -> Vec<u8> {
        let mut platform = self.platform.split('/');
        let (os, architecture) = (platform.next().unwrap_or("linux"), platform.next().unwrap_or("amd64"));
        let diff_ids = &self.diff_ids[..layers];
        let files = json!({ "type": "layers", "diff_ids": diff_ids });
        json!({ "os": os, "architecture": architecture, "rootfs": files }).to_string().into_bytes()
    }

    /// Returns a manifest for an image with uncompressed layers, for which the engine wrote no manifest.
    pub(super) fn manifest(&self) -> Vec<u8> {
        let descriptor = |media_type: &str, digest: &Digest| BlobDescriptor {
            media_type: media_type.to_owned(),
            digest: *digest,
            size: self.blob(digest).map_or(0, |blob| blob.size),
        };
        let layers: Vec<BlobDescriptor> =
            self.layers.iter().map(|layer| descriptor(PLAIN_LAYER, layer)).collect();
        let config = descriptor(CONFIG, &self.config);
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        manifest.to_string().into_bytes()
    }
}

impl LoadArchive {
    /// Creates an archive of these layers in Docker's layout, for an engine that already has the layers below. If the
    /// range ends below the top layer, the archive is a different image, which consists of the lower layers. The image
    /// gets no name.
    pub(crate) fn docker(listing: &ImageListing, sent: Range<usize>) -> Self {
        let mut archive = Self::default();
        let ImageListing { config, layers, blobs, .. } = listing;
        let is_whole = sent.end == layers.len();
        let mut wanted: Vec<&Digest> = layers[sent.clone()].iter().collect();
        wanted.extend(is_whole.then_some(config));
        blobs.iter().filter(|blob| wanted.contains(&&blob.digest)).for_each(|blob| archive.put_blob(blob));
        let config = if is_whole {
            blob_path(config)
        } else {
            archive.put_text("config.json", listing.lower_config(sent.end));
            "config.json".to_owned()
        };
        let layers: Vec<String> = layers[..sent.end].iter().map(blob_path).collect();
        let image = json!([{ "Config": config, "RepoTags": null, "Layers": layers }]);
        archive.put_text("manifest.json", image.to_string().into_bytes());
        archive
    }

    /// Creates an archive in the OCI layout without the content of the lowest `present` layers. The image gets no name.
    pub(crate) fn oci(listing: &ImageListing, present: usize) -> Self {
        let mut archive = Self::default();
        let (left_out, sent) = listing.layers.split_at(present);
        let is_left_out = |blob: &&Blob| left_out.contains(&blob.digest) && !sent.contains(&blob.digest);
        listing.blobs.iter().filter(|blob| !is_left_out(blob)).for_each(|blob| archive.put_blob(blob));
        let root = listing.root.clone().unwrap_or_else(|| {
            let manifest = listing.manifest();
            let (digest, size) = (Digest::of(&manifest), manifest.len() as u64);
            archive.put_text(&blob_path(&digest), manifest);
            BlobDescriptor { media_type: MANIFEST.to_owned(), digest, size }
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [root] });
        archive.put_text("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        archive.put_text("index.json", index.to_string().into_bytes());
        archive
    }

    /// Returns the end of the archive, which follows everything that [`Self::send`] sends.
    pub(crate) fn end() -> Bytes {
        Bytes::from_static(&[0; 2 * BLOCK])
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sends everything except the end. Returns the store errors that did not prevent this.
    pub(crate) fn send(
        &self,
        store: &Store,
        entry: &Entry,
        mut sink: impl FnMut(Bytes) -> io::Result<()> + Send,
    ) -> Result<Vec<StoreError>, StoreError> {
        let starts = entry.chunk_offsets();
        let is_needed = |place: &usize| {
            self.segments.iter().any(|segment| match segment {
                ArchiveSegment::Content(ContentRange { at, size }) => {
                    starts[*place] < at + size && starts[place + 1] > *at
                }
                ArchiveSegment::Text(_) => false,
            })
        };
        let places: Vec<usize> = (0..entry.manifest.chunks.len()).filter(is_needed).collect();
        let mut left = self.segments.iter().peekable();
        let mut sent = 0;
        let faults = store.load_in_order(entry, &places, |place, chunk| {
            let chunk = Bytes::from(chunk);
            while let Some(segment) = left.peek() {
                match segment {
                    ArchiveSegment::Text(text) => sink(text.clone())?,
                    ArchiveSegment::Content(ContentRange { at, size }) => {
                        let from = at + sent;
                        let to = (at + size).min(starts[place + 1]);
                        if from < to {
                            sink(chunk.slice(offset(from - starts[place])..offset(to - starts[place])))?;
                            sent += to - from;
                        }
                        if sent < *size {
                            return Ok(());
                        }
                        sent = 0;
                    }
                }
                left.next();
            }
            Ok(())
        })?;
        for segment in left {
            if let ArchiveSegment::Text(text) = segment {
                sink(text.clone()).map_err(StoreError::Sink)?;
            }
        }
        Ok(faults)
    }

    fn put_blob(&mut self, Blob { digest, at, size }: &Blob) {
        let content = ContentRange { at: *at, size: *size };
        self.put(&blob_path(digest), *size, ArchiveSegment::Content(content));
    }

    fn put_text(&mut self, path: &str, text: Vec<u8>) {
        self.put(path, text.len() as u64, ArchiveSegment::Text(text.into()));
    }

    fn put(&mut self, path: &str, size: u64, content: ArchiveSegment) {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).expect("a path of digits fits");
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        self.segments.push(ArchiveSegment::Text(Bytes::copy_from_slice(header.as_bytes())));
        self.segments.push(content);
        let padding = vec![0; offset(size.next_multiple_of(BLOCK as u64) - size)];
        if !padding.is_empty() {
            self.segments.push(ArchiveSegment::Text(padding.into()));
        }
        self.bytes += size;
    }
}

fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).expect("an offset in memory")
}
