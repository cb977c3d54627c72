//! Pushes an image of an engine with a graph driver faster than the engine does.
//!
//! The engine stores layers uncompressed, and compresses each of them on one core. Here all cores compress a layer, and
//! it is uploaded at the same time; the blobs of layers that a registry already has are reused. The config is pushed
//! byte for byte, so that the id of the image does not change. After any failure the caller can still let the engine
//! push: nothing is tagged before everything else is in the registry.
//!
//! ```text
//!  data root or docker save ─▶ layers ─▶ compressed on all cores ─▶ temporary file ─▶ upload
//!  manifests in registries ─▶ diff ids and blobs ─▶ found, mounted or copied
//! ```

mod choice;
mod engine_time;
mod known_layers;
mod layer_sources;
mod layers;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use self::choice::is_larder_faster;
pub(super) use self::engine_time::EngineSpeed;
use self::layer_sources::LayerSource;
use self::layers::{RootLayers, read_saved};
use super::blocking::blocking;
use super::registries::Registries;
use crate::digest::{Digest, DigestingReader, InvalidDigest};
use crate::engine::{Engine, EngineError, Image, PushProgress, archive_channel};
use crate::images::{CompressionTime, compress, cores};
use crate::plan::PushSettings;
use crate::registry::ecr::EcrError;
use crate::registry::{
    Compression, GrowingBlob, ImageRef, LayerBlob, RegistryError, Repository, StoredManifest, UploadError,
    growing_blob,
};
use crate::store::Meter;

/// The number of blobs that are uploaded, mounted or copied at the same time. The same number as in Docker.
const MAX_TRANSFERS: usize = 5;

pub(crate) struct DirectPush<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) registries: &'a Registries,
    pub(crate) image: &'a Image,
    pub(crate) settings: PushSettings,
    /// Images in registries that may share layers with this one, the most likely first.
    pub(crate) related: Vec<ImageRef>,
    /// The base images. They are only queried if the lowest layer is in no other image.
    pub(crate) bases: Vec<ImageRef>,
    /// `true` if `docker save` of the image may be faster than the engine's push.
    pub(crate) may_save: bool,
    pub(crate) engine_speed: EngineSpeed,
}

pub(crate) struct DirectlyPushed {
    pub(crate) progress: PushProgress,
    /// An estimate of the time that the engine would have taken for compressing; `None` with zstd, which engines do not
    /// push.
    pub(crate) engine_time: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectPushError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Login(#[from] EcrError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
    #[error("the layers cannot be read and compressed")]
    Layers(#[source] io::Error),
    #[error("the file system of {place} has no space for {bytes} bytes of layers")]
    NoSpace { place: String, bytes: u64 },
}

impl DirectPushError {
    pub(crate) fn is_unreachable(&self) -> bool {
        let (Self::Registry(error) | Self::Upload(UploadError::Registry(error))) = self else { return false };
        error.is_unreachable()
    }
}

/// A compressed layer by its diff id.
type CompressedLayer = (Digest, GrowingBlob);

impl DirectPush<'_> {
    /// Pushes the image as `name`. Returns `None` if the engine is expected to push it faster.
    pub(crate) async fn push(
        &self,
        name: &ImageRef,
        meter: &Arc<Meter>,
    ) -> Result<Option<DirectlyPushed>, DirectPushError> {
        let id: Digest = self.image.id.parse()?;
        let diff_ids = self.image.config.layers.iter().map(|layer| layer.parse());
        let diff_ids = diff_ids.collect::<Result<Vec<Digest>, _>>()?;
        let root = self.engine.data_root().await?;
        let layers = self.image.config.layers.clone();
        let found = blocking(move || root.and_then(|root| RootLayers::find(root, id, &layers))).await;
        let (size, is_readable) = (self.image.size, found.is_some());
        let is_left_to_engine = |missing| {
            self.settings.may_leave_to_engine()
                && !is_larder_faster(size, missing, is_readable, self.may_save)
        };
        if is_left_to_engine(Some(size)) {
            return Ok(None);
        }
        let mut repository = self.registries.repository(name).await?;
        let known = known_layers::find_layers(self, name, &diff_ids, &mut repository).await?;
        let mut ways = layer_sources::layer_sources(&diff_ids, &known, name, self.settings.compression);
        known_layers::check_blobs(&repository, &mut ways).await?;
        let missing = match &found {
            Some(found) => Some(to_compress(&ways).iter().map(|layer| found.size(layer)).sum()),
            None => self.missing_bytes(&diff_ids, &ways).await,
        };
        if is_left_to_engine(missing) {
            return Ok(None);
        }
        let mut blobs = self.mount_or_copy(&repository, &mut ways).await;
        let present = blobs.len();
        let wanted = to_compress(&ways);
        let (config, uploaded, times) = match found {
            Some(found) => {
                check_space(&std::env::temp_dir(), missing.unwrap_or_default())?;
                let found = Arc::new(found);
                let (config, plain) = (found.config.clone(), missing.unwrap_or_default());
                let read = move |take: &mut layers::LayerSink<'_>| found.read(&wanted, take);
                let ((), uploaded, times) = self.upload(&repository, read, plain, meter).await?;
                (config, uploaded, times)
            }
            None => self.upload_saved(&repository, id, wanted, missing, meter).await?,
        };
        blobs.extend(uploaded);
        let layers = diff_ids.iter().map(|diff_id| blobs.get(diff_id).copied()).collect::<Option<Vec<_>>>();
        let layers = layers.ok_or_else(|| DirectPushError::Layers(io::ErrorKind::NotFound.into()))?;
        let config = Bytes::from(config);
        repository.upload_blob(&config).await?;
        let manifest = StoredManifest::for_image(&config, &layers, self.settings.compression);
        repository.put_manifest(name.tag_or_latest(), &manifest).await?;
        self.record_digest(&name.pinned(manifest.digest)).await;
        let is_gzip = self.settings.compression == Compression::Gzip;
        Ok(Some(DirectlyPushed {
            progress: PushProgress { sent: blobs.len() - present, present },
            engine_time: is_gzip.then(|| self.engine_speed.time(&times, cores())),
        }))
    }

    /// Mounts or copies the blobs that other repositories have. Returns all blobs that the repository has afterwards.
    /// Layers whose blobs cannot be mounted or copied are marked for compression.
    async fn mount_or_copy(
        &self,
        repository: &Repository,
        ways: &mut BTreeMap<Digest, LayerSource>,
    ) -> BTreeMap<Digest, LayerBlob> {
        let taking = ways.clone().into_iter().map(|(diff_id, way)| {
            let mut repository = repository.clone();
            async move {
                let blob = match way {
                    LayerSource::Present(blob) => Some(blob),
                    LayerSource::Compress => None,
                    LayerSource::CopyFrom(from, blob) => {
                        let from = self.registries.repository(&from).await;
                        let taken = match from {
                            Ok(mut from) => {
                                let parts = (blob.digest, blob.size);
                                repository.copy_blob(&mut from, parts, &mut |_| {}).await
                            }
                            Err(error) => Err(error),
                        };
                        taken.ok().map(|_| blob)
                    }
                };
                (diff_id, blob)
            }
        });
        let taken: Vec<_> = stream::iter(taking).buffer_unordered(MAX_TRANSFERS).collect().await;
        for (diff_id, blob) in &taken {
            ways.insert(*diff_id, blob.map_or(LayerSource::Compress, LayerSource::Present));
        }
        taken.into_iter().filter_map(|(diff_id, blob)| Some((diff_id, blob?))).collect()
    }

    async fn upload_saved(
        &self,
        repository: &Repository,
        id: Digest,
        wanted: BTreeSet<Digest>,
        missing: Option<u64>,
        meter: &Arc<Meter>,
    ) -> Result<(Vec<u8>, BTreeMap<Digest, LayerBlob>, Vec<CompressionTime>), DirectPushError> {
        // The engine writes all layers to a temporary directory in its data root before it sends the first byte.
        if let Some(root) = self.engine.root_directory().await? {
            check_space(&root, self.image.size)?;
        }
        let plain = missing.unwrap_or(self.image.size);
        check_space(&std::env::temp_dir(), plain)?;
        let (parts, archive) = archive_channel();
        let read = move |take: &mut layers::LayerSink<'_>| read_saved(archive, id, &wanted, take);
        let saving = self.engine.save_image(&self.image.id, parts);
        let (saved, uploaded) = tokio::join!(saving, self.upload(repository, read, plain, meter));
        saved?;
        uploaded
    }

    /// Uploads layers while they are compressed. `read` passes them on and runs on a separate thread; `plain` is their
    /// uncompressed size in bytes, as far as it is known. Also returns how long compressing each layer took.
    async fn upload<T: Send + 'static>(
        &self,
        repository: &Repository,
        read: impl FnOnce(&mut layers::LayerSink<'_>) -> io::Result<T> + Send + 'static,
        plain: u64,
        meter: &Arc<Meter>,
    ) -> Result<(T, BTreeMap<Digest, LayerBlob>, Vec<CompressionTime>), DirectPushError> {
        meter.set_total(plain);
        let compression = self.settings.compression;
        let (sender, grown) = mpsc::unbounded_channel();
        let counter = Arc::clone(meter);
        let compressing = blocking(move || {
            let mut times = Vec::new();
            let mut take = |claimed, plain: &mut dyn Read| {
                let (diff_id, time) = compress_layer(compression, claimed, plain, &sender, &counter)?;
                times.push(time);
                Ok(diff_id)
            };
            read(&mut take).map(|read| (read, times))
        });
        let uploading = UnboundedReceiverStream::new(grown).map(|(diff_id, blob): CompressedLayer| {
            let mut repository = repository.clone();
            async move {
                let mut most = 0;
                let mut moved = |bytes: u64| {
                    meter.add(bytes.saturating_sub(most));
                    most = bytes.max(most);
                };
                let (digest, size) = repository.upload_growing(&blob, &mut moved).await?;
                Ok((diff_id, LayerBlob { digest, size, compression }))
            }
        });
        let uploading = uploading.buffer_unordered(MAX_TRANSFERS).try_collect::<BTreeMap<_, _>>();
        let (compressed, uploaded) = tokio::join!(compressing, uploading);
        match (compressed, uploaded) {
            // The other side then fails too, so report the registry's error.
            (_, Err(error @ UploadError::Registry(_))) => Err(error.into()),
            (Err(error), _) => Err(DirectPushError::Layers(error)),
            (_, Err(error)) => Err(error.into()),
            (Ok((read, times)), Ok(blobs)) => Ok((read, blobs, times)),
        }
    }

    /// Returns the size of the layers that have to be compressed, or `None` if the engine does not report it.
    async fn missing_bytes(&self, diff_ids: &[Digest], ways: &BTreeMap<Digest, LayerSource>) -> Option<u64> {
        let sizes = self.engine.layer_sizes(&self.image.id).await.ok()?;
        let missing = to_compress(ways);
        let is_known = sizes.len() == diff_ids.len();
        let sizes = diff_ids.iter().zip(&sizes).filter(|(diff_id, _)| missing.contains(diff_id));
        is_known.then(|| sizes.map(|(_, size)| size).sum())
    }

    /// Makes the engine record the digest of its image in the registry, as its own push does. The engine has all
    /// layers, so it only fetches a manifest.
    async fn record_digest(&self, name: &ImageRef) {
        // A failure is ignored: the image is pushed, and only the engine's `RepoDigests` is incomplete.
        if let Ok(credentials) = self.registries.login().credentials(name.host()).await {
            let _ = self.engine.pull(name, &self.image.platform, &credentials, |_, _| {}).await;
        }
    }
}

fn to_compress(ways: &BTreeMap<Digest, LayerSource>) -> BTreeSet<Digest> {
    ways.iter().filter(|(_, way)| **way == LayerSource::Compress).map(|(diff_id, _)| *diff_id).collect()
}

/// Compresses a layer to a blob. If its diff id is known, the blob is uploaded at the same time, otherwise afterwards.
/// Returns the diff id, and how long compressing took.
fn compress_layer(
    compression: Compression,
    claimed: Option<Digest>,
    plain: &mut dyn Read,
    grown: &mpsc::UnboundedSender<CompressedLayer>,
    meter: &Meter,
) -> io::Result<(Digest, CompressionTime)> {
    let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let (mut writer, blob) = growing_blob()?;
    let waiting = match claimed {
        Some(diff_id) => grown.send((diff_id, blob)).map(|()| None).map_err(closed)?,
        None => Some(blob),
    };
    let mut read = 0;
    let mut plain = DigestingReader::new(InterruptibleReader { inner: plain, meter, read: &mut read });
    let time = compress(compression, &mut plain, &mut writer, cores())?;
    let diff_id = plain.digest();
    if claimed.is_some_and(|claimed| claimed != diff_id) {
        return Err(io::Error::other(format!(
            "the engine returned different content for a layer: its diff id is {diff_id}"
        )));
    }
    let (_, size) = writer.finish();
    // Now the number of bytes to send is known.
    meter.set_total((meter.amounts().1 + size).saturating_sub(read));
    if let Some(blob) = waiting {
        grown.send((diff_id, blob)).map_err(closed)?;
    }
    Ok((diff_id, time))
}

/// A reader that fails after the user has interrupted.
struct InterruptibleReader<'a> {
    inner: &'a mut dyn Read,
    meter: &'a Meter,
    read: &'a mut u64,
}

impl Read for InterruptibleReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.meter.check()?;
        let read = self.inner.read(buffer)?;
        *self.read += read as u64;
        Ok(read)
    }
}

fn check_space(directory: &Path, bytes: u64) -> Result<(), DirectPushError> {
    // The directory may be on a different machine.
    let Ok(disk) = rustix::fs::statvfs(directory) else { return Ok(()) };
    if disk.f_bavail.saturating_mul(disk.f_frsize) < bytes {
        return Err(DirectPushError::NoSpace { place: directory.display().to_string(), bytes });
    }
    Ok(())
}
