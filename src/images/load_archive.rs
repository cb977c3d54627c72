//! The archive that is sent to an engine, as `docker load` reads it: a whole image, or the parts that the engine lacks.
//! Does not talk to an engine.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::listing::{Blob, BlobDescriptor, ImageListing};
use super::outline::blob_path;
use crate::digest::Digest;
use crate::store::{Entry, Store, StoreError};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// The block size of tar.
const BLOCK: usize = 512;

/// The layout of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveLayout {
    /// Docker's layout, for engines with a graph driver. Layers that the engine already has may be missing.
    Docker,
    /// The OCI layout, for containerd's store, in which the image is unchanged.
    Oci,
}

/// An archive that is created while it is sent.
#[derive(Debug)]
pub(crate) struct LoadArchive {
    listing: Arc<ImageListing>,
    segments: Vec<ArchiveSegment>,
    bytes: u64,
}

#[derive(Debug)]
enum ArchiveSegment {
    Text(Bytes),
    /// A range of the entry's content.
    Content {
        at: u64,
        size: u64,
    },
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
    /// range ends below the top layer, the archive is a different image, which consists of the lower layers.
    pub(crate) fn docker(listing: Arc<ImageListing>, layers: Range<usize>) -> Self {
        let mut parcel = Self { listing, segments: Vec::new(), bytes: 0 };
        parcel.put_docker(layers);
        parcel
    }

    /// Creates an archive in the OCI layout without the content of the lowest `present` layers.
    pub(crate) fn oci(listing: Arc<ImageListing>, present: usize) -> Self {
        let mut parcel = Self { listing, segments: Vec::new(), bytes: 0 };
        parcel.put_oci(present);
        parcel
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
                ArchiveSegment::Content { at, size } => starts[*place] < at + size && starts[place + 1] > *at,
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
                    ArchiveSegment::Content { at, size } => {
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

    /// Adds config and layers under their digests. The image gets no name.
    fn put_docker(&mut self, sent: Range<usize>) {
        let ImageListing { config, layers, blobs, .. } = &*Arc::clone(&self.listing);
        let is_whole = sent.end == layers.len();
        let mut wanted: Vec<&Digest> = layers[sent.clone()].iter().collect();
        wanted.extend(is_whole.then_some(config));
        for blob in blobs.iter().filter(|blob| wanted.contains(&&blob.digest)) {
            self.put_blob(blob);
        }
        let config = if is_whole {
            blob_path(config)
        } else {
            self.put_text("config.json", self.listing.lower_config(sent.end));
            "config.json".to_owned()
        };
        let layers: Vec<String> = layers[..sent.end].iter().map(blob_path).collect();
        let image = json!([{ "Config": config, "RepoTags": null, "Layers": layers }]);
        self.put_text("manifest.json", image.to_string().into_bytes());
    }

    /// Adds all blobs under their digests, with an index. The image gets no name.
    fn put_oci(&mut self, present: usize) {
        let ImageListing { layers, blobs, .. } = &*Arc::clone(&self.listing);
        let (left_out, sent) = layers.split_at(present);
        let is_left_out = |blob: &&Blob| left_out.contains(&blob.digest) && !sent.contains(&blob.digest);
        for blob in blobs.iter().filter(|blob| !is_left_out(blob)) {
            self.put_blob(blob);
        }
        let root = self.listing.root.clone().unwrap_or_else(|| {
            let manifest = self.listing.manifest();
            let (digest, size) = (Digest::of(&manifest), manifest.len() as u64);
            self.put_text(&blob_path(&digest), manifest);
            BlobDescriptor { media_type: MANIFEST.to_owned(), digest, size }
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [root] });
        self.put_text("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        self.put_text("index.json", index.to_string().into_bytes());
    }

    fn put_blob(&mut self, blob: &Blob) {
        self.put_header(&blob_path(&blob.digest), blob.size);
        self.segments.push(ArchiveSegment::Content { at: blob.at, size: blob.size });
        self.pad(blob.size);
    }

    fn put_text(&mut self, path: &str, text: Vec<u8>) {
        let size = text.len() as u64;
        self.put_header(path, size);
        self.segments.push(ArchiveSegment::Text(text.into()));
        self.pad(size);
    }

    fn put_header(&mut self, path: &str, size: u64) {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).expect("a path of digits fits");
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        self.segments.push(ArchiveSegment::Text(Bytes::copy_from_slice(header.as_bytes())));
        self.bytes += size;
    }

    fn pad(&mut self, size: u64) {
        let padding = vec![0; offset(size.next_multiple_of(BLOCK as u64) - size)];
        if !padding.is_empty() {
            self.segments.push(ArchiveSegment::Text(padding.into()));
        }
    }
}

fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).expect("an offset in memory")
}
