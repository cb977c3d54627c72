//! Loads an entry's image into an engine.
//!
//! A graph driver accepts an archive without the layers that it has. If it lacks one of them, its error names the first
//! such layer. Therefore the image is first sent without any layers, then with the layers from the missing one on. The
//! engine reads an archive to its end before it unpacks the layers one by one, so a large image is sent in two parts:
//! an image of the lower layers, and, while that is being unpacked, the rest.
//!
//! ```text
//!  sent      lower layers ─┬─ upper layers ─┐ waits ┌ end
//!  unpacked                └─ lower layers ─────────┴─ upper layers
//! ```
//!
//! containerd's store accepts an archive without layers that it has, but also one without layers that it lacks, which
//! creates an incomplete image. Layers are omitted only if other images in the store begin with them. If the engine
//! does not report the result as complete, the whole image is sent.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::{ArchiveTier, BUFFERED_PARTS, LoadError};
use crate::engine::EngineError;
use crate::images::{ArchiveLayout, ImageListing, LoadArchive};
use crate::store::{Entry, Meter, StoreError};

/// The minimum size of each of the two parts, in bytes of layers.
const WORTH_SPLITTING: u64 = 32 << 20;

pub(super) struct ImageLoad<'a> {
    pub(super) tier: &'a ArchiveTier,
    pub(super) entry: Arc<Entry>,
    pub(super) listing: Arc<ImageListing>,
    pub(super) meter: &'a Arc<Meter>,
    pub(super) bytes: u64,
}

/// The image's id in the engine, and the faults of the store that only cost time.
type TransferResult = (String, Vec<StoreError>);

/// The synchronisation of one part with the other.
#[derive(Default)]
struct PartSync {
    /// Signalled once everything but the end has been sent.
    sent: Option<oneshot::Sender<()>>,
    /// Awaited before the end is sent.
    end: Option<oneshot::Receiver<()>>,
}

impl ImageLoad<'_> {
    pub(super) async fn run(&mut self, form: ArchiveLayout) -> Result<TransferResult, LoadError> {
        if form == ArchiveLayout::Oci {
            return self.run_oci().await;
        }
        let layers = self.listing.layers.len();
        let mut present = layers;
        let mut may_split = true;
        loop {
            let middle = self.listing.split_index(present, WORTH_SPLITTING).filter(|_| may_split);
            let transferred = if let Some(middle) = middle {
                self.send_in_two(present, middle).await
            } else {
                let parcel = LoadArchive::docker(&self.listing, present..layers);
                self.send(parcel, PartSync::default()).await
            };
            match transferred {
                // A concurrent job may have removed the image of the lower part, if it loads the same image.
                Err(LoadError::Engine(EngineError::Refused(_))) if middle.is_some() => {
                    (may_split, present) = (false, 0);
                }
                Err(LoadError::Engine(EngineError::Refused(message))) if present > 0 => {
                    let missed = self.listing.layers.iter().position(|layer| message.contains(&layer.hex()));
                    present = missed.filter(|missed| *missed < present).unwrap_or(0);
                }
                transferred => return transferred,
            }
        }
    }

    async fn run_oci(&mut self) -> Result<TransferResult, LoadError> {
        let engine = &self.tier.engine;
        // If the engine cannot report its content, no layer is omitted.
        let present = if engine.reports_content() {
            // The title of a prefix is `prefix of NAME`.
            let name = self.entry.manifest.subject.title.rsplit(' ').next().unwrap_or_default();
            let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
            engine.common_layers(&self.listing.diff_ids, repository).await.unwrap_or_default()
        } else {
            0
        };
        if present > 0 {
            let parcel = LoadArchive::oci(&self.listing, present);
            if let Ok((id, faults)) = self.send(parcel, PartSync::default()).await {
                if engine.has_all_content(&id).await.unwrap_or_default() {
                    return Ok((id, faults));
                }
                let _ = engine.remove_image(&id).await;
            }
        }
        self.send(LoadArchive::oci(&self.listing, 0), PartSync::default()).await
    }

    /// Sends the layers from `present` on in two parts. Those below `middle` become a separate image, which is removed
    /// afterwards.
    async fn send_in_two(&mut self, present: usize, middle: usize) -> Result<TransferResult, LoadError> {
        let layers = self.listing.layers.len();
        let lower = LoadArchive::docker(&self.listing, present..middle);
        let upper = LoadArchive::docker(&self.listing, middle..layers);
        self.bytes += lower.bytes() + upper.bytes();
        let ((sent, is_sent), (unpacked, is_unpacked)) = (oneshot::channel(), oneshot::channel());
        let this = &*self;
        let first = async {
            let transferred = this.transfer(lower, PartSync { sent: Some(sent), end: None }).await;
            if transferred.is_ok() {
                // The receiver is dropped only if the second part has failed.
                let _ = unpacked.send(());
            }
            transferred
        };
        let second = async {
            // An error means that the first part has failed, whose result contains the reason.
            let _ = is_sent.await;
            this.transfer(upper, PartSync { sent: None, end: Some(is_unpacked) }).await
        };
        let (first, second) = tokio::join!(first, second);
        let (lower_id, mut faults) = first?;
        // Its layers now belong to the whole image, or are not needed.
        let _ = self.tier.engine.remove_image(&lower_id).await;
        let (id, more) = second?;
        faults.extend(more);
        Ok((id, faults))
    }

    async fn send(&mut self, parcel: LoadArchive, ties: PartSync) -> Result<TransferResult, LoadError> {
        self.bytes += parcel.bytes();
        self.transfer(parcel, ties).await
    }

    async fn transfer(&self, parcel: LoadArchive, ties: PartSync) -> Result<TransferResult, LoadError> {
        let (parts, archive) = mpsc::channel(BUFFERED_PARTS);
        let (store, entry) = (self.tier.store.clone(), Arc::clone(&self.entry));
        let meter = Arc::clone(self.meter);
        meter.set_total(self.bytes);
        let sending = spawn_blocking(move || {
            let sink = |part: Bytes| {
                meter.check()?;
                meter.add(part.len() as u64);
                parts.blocking_send(Ok(part)).map_err(|_| io::ErrorKind::BrokenPipe.into())
            };
            let sent = parcel.send(&store, &entry, sink);
            drop(ties.sent);
            let may_end = ties.end.is_none_or(|end| end.blocking_recv().is_ok());
            // A regular end would mean to the engine that the archive is complete.
            let end = match (&sent, may_end) {
                (Ok(_), true) => Ok(LoadArchive::end()),
                _ => Err(io::Error::other("the archive cannot be completed")),
            };
            let _ = parts.blocking_send(end);
            sent
        });
        let loaded = self.tier.engine.load_image(archive).await;
        match sending.await? {
            Ok(faults) => Ok((loaded?, faults)),
            // The engine has closed the connection, and its response contains the reason.
            Err(StoreError::Sink(_)) if loaded.is_err() => Ok((loaded?, Vec::new())),
            Err(error) => Err(error.into()),
        }
    }
}
