//! The archive tier: archives whole images in the store, layer by layer, and loads them from there.

mod load;
mod policy;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::{JoinError, spawn_blocking};

use self::load::ImageLoad;
pub(crate) use self::policy::{ArchivePolicy, ArchiveRequest};
use super::{BoxedError, Hit, ImageRequest, ImageTier, TierAnswer};
use crate::digest::InvalidDigest;
use crate::engine::{Engine, EngineError, Image, ImageStore, archive_channel};
use crate::images::{
    self, ArchiveLayout, ImageDestination, ImageListing, ImageListingError, LayerArchive, SaveImageError,
    SavePrefixError, SavedImage, read_listing,
};
use crate::key::CacheKey;
use crate::notes::ImageAge;
use crate::registry::{ImageConfig, ImageRef, PrefixDocuments, PrefixError};
use crate::store::{Entry, EntryKind, FoundEntry, Meter, MeteredReader, Store, StoreError, Subject};

/// The number of parts of an archive that are buffered between the store and the engine.
const BUFFERED_PARTS: usize = 16;

/// A tier that archives whole images in a store, and loads them into an engine.
#[derive(Debug, Clone)]
pub struct ArchiveTier {
    store: Store,
    kind: EntryKind,
    engine: Engine,
    images: ImageStore,
    deadline: Duration,
}

/// The reason why an image cannot be loaded from the store.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The entry does not contain an image.
    #[error(transparent)]
    Unlisted(#[from] ImageListingError),
    /// The engine rejects the image.
    #[error("the engine rejected the image")]
    Engine(#[from] EngineError),
    /// The image in the engine differs from the entry's.
    #[error("the image in the engine differs from the entry's")]
    DifferentImage,
    /// The time limit was exceeded.
    #[error("loading the image took longer than {0:?}")]
    TimedOut(Duration),
    /// A background thread failed.
    #[error("a background thread failed")]
    Thread(#[from] JoinError),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("cannot archive the image")]
    Save(#[from] SaveImageError),
    #[error("cannot archive the image: the engine does not export it")]
    Engine(#[source] EngineError),
    #[error("cannot archive the image: its id is not a digest")]
    Id(#[from] InvalidDigest),
    #[error("cannot archive the image: it took longer than {0:?}")]
    TimedOut(Duration),
    #[error("cannot archive the image: a background thread failed")]
    Thread(#[from] JoinError),
}

/// The result of loading an entry's image.
#[derive(Debug)]
pub struct LoadedEntry {
    /// The image in the engine.
    pub image: Image,
    /// The bytes that were sent to the engine.
    pub bytes: u64,
    /// Faults that did not prevent the load.
    pub(crate) faults: Vec<StoreError>,
}

impl ArchiveTier {
    /// Creates a tier between `store` and `engine`, whose image store is `images`. `deadline` limits each transfer.
    pub fn new(store: Store, engine: Engine, images: ImageStore, deadline: Duration) -> Self {
        Self { store, kind: EntryKind::Image, engine, images, deadline }
    }

    /// Returns a tier for prefixes of images, with the same store and engine.
    pub(crate) fn for_prefixes(self) -> Self {
        Self { kind: EntryKind::Prefix, ..self }
    }

    /// Loads the image of `entry` into the engine, and tags it with these names.
    pub async fn load(
        &self,
        entry: &Entry,
        names: &[ImageRef],
        meter: &Arc<Meter>,
    ) -> Result<LoadedEntry, LoadError> {
        let loading = self.load_without_limit(entry, names, meter);
        tokio::time::timeout(self.deadline, loading).await.unwrap_or(Err(LoadError::TimedOut(self.deadline)))
    }

    /// Returns the image of `entry` if the engine has it already.
    pub(crate) async fn image_in_engine(&self, entry: &Entry) -> Result<Option<Image>, LoadError> {
        Ok(self.engine.image(&self.id_of(entry).await?).await?)
    }

    async fn listing(&self, entry: &Entry) -> Result<ImageListing, LoadError> {
        let (store, entry) = (self.store.clone(), entry.clone());
        Ok(spawn_blocking(move || read_listing(&store, &entry)).await??)
    }

    /// Returns the id that the image of `entry` has in the engine, and its config.
    pub(crate) async fn config(&self, entry: &Entry) -> Result<(String, ImageConfig), LoadError> {
        let (store, entry, form) = (self.store.clone(), entry.clone(), self.form());
        let reading = move || {
            let listing = read_listing(&store, &entry)?;
            let config = images::read_config(&store, &entry, &listing)?;
            Ok::<_, LoadError>((listing.id_in(form).to_string(), config))
        };
        spawn_blocking(reading).await?
    }

    async fn id_of(&self, entry: &Entry) -> Result<String, LoadError> {
        Ok(self.listing(entry).await?.id_in(self.form()).to_string())
    }

    async fn find(&self, key: CacheKey, platform: &str) -> Result<FoundEntry, JoinError> {
        let (store, kind, family) = (self.store.clone(), self.kind, platform.to_owned());
        spawn_blocking(move || store.find(kind, &family, key.digest(), false)).await
    }

    fn form(&self) -> ArchiveLayout {
        match self.images {
            ImageStore::GraphDriver => ArchiveLayout::Docker,
            ImageStore::Containerd => ArchiveLayout::Oci,
        }
    }

    async fn load_without_limit(
        &self,
        entry: &Entry,
        names: &[ImageRef],
        meter: &Arc<Meter>,
    ) -> Result<LoadedEntry, LoadError> {
        let entry = Arc::new(entry.clone());
        let listing = Arc::new(self.listing(&entry).await?);
        let mut handover = ImageLoad {
            tier: self,
            entry: Arc::clone(&entry),
            listing: Arc::clone(&listing),
            meter,
            bytes: 0,
        };
        let (id, mut faults) = handover.run(self.form()).await?;
        let bytes = handover.bytes;
        let image = self.engine.image(&id).await?.filter(|image| image.config.layers == listing.diff_ids);
        let image = image.ok_or(LoadError::DifferentImage)?;
        self.engine.add_names(&image.id, &image.names, names).await?;
        let store = self.store.clone();
        faults.extend(spawn_blocking(move || store.touch(&entry)).await?.err());
        Ok(LoadedEntry { image, bytes, faults })
    }

    /// Returns `true` if the store has an image of `key` for `platform`, of any age.
    pub(crate) async fn contains(&self, key: CacheKey, platform: &str) -> bool {
        self.find(key, platform).await.is_ok_and(|found| found.entry.is_some())
    }

    /// Returns `true` if the newest image of `key` for `platform` in the store is newer than `built`, and different
    /// from the engine's image `id`. Also returns the faults of reading the store; an unreadable image counts as not
    /// newer.
    pub(crate) async fn has_newer(
        &self,
        key: CacheKey,
        platform: &str,
        id: &str,
        built: Timestamp,
    ) -> (bool, Vec<StoreError>) {
        let Ok(found) = self.find(key, platform).await else { return (false, Vec::new()) };
        let is_newer = match found.entry.filter(|entry| entry.manifest.created > built) {
            Some(entry) => self.id_of(&entry).await.is_ok_and(|newer| newer != id),
            None => false,
        };
        (is_newer, found.faults)
    }

    /// Returns the entry of `key` for `platform` if it contains this image of the engine.
    pub(crate) async fn entry_of(&self, key: CacheKey, platform: &str, image: &Image) -> Option<Entry> {
        let entry = self.find(key, platform).await.ok()?.entry?;
        let id = self.id_of(&entry).await.ok()?;
        (id == image.id).then_some(entry)
    }

    /// Archives the engine's `image` under `key`. Reuses the layers of earlier entries, unless `anew` is set. If this
    /// fails or exceeds the time limit, no entry is created.
    pub(crate) async fn save(
        &self,
        key: CacheKey,
        platform: &str,
        image: &Image,
        subject: Subject,
        anew: bool,
        meter: &Arc<Meter>,
    ) -> Result<SavedImage, ArchiveError> {
        self.store.check_size(image.size).map_err(SaveImageError::from)?;
        let diff_ids = if anew { Vec::new() } else { image.config.layers.clone() };
        let destination = ImageDestination {
            key: key.digest(),
            id: image.id.parse()?,
            platform: platform.to_owned(),
            subject,
            diff_ids,
            plain: matches!(self.images, ImageStore::GraphDriver),
        };
        let archiving = async {
            if !anew && let Some(saved) = self.copy_earlier(&destination).await? {
                return Ok(saved);
            }
            if let Some(saved) = self.save_layers(&destination, image, meter).await? {
                return Ok(saved);
            }
            self.save_archive(destination, image, meter).await
        };
        let Ok(saved) = tokio::time::timeout(self.deadline, archiving).await else {
            meter.stop();
            return Err(ArchiveError::TimedOut(self.deadline));
        };
        saved
    }

    /// Archives the image by copying an earlier entry of the same image, if there is one.
    async fn copy_earlier(&self, destination: &ImageDestination) -> Result<Option<SavedImage>, ArchiveError> {
        let (store, destination) = (self.store.clone(), destination.clone());
        let copied = spawn_blocking(move || images::copy_earlier(&store, &destination)).await?;
        Ok(copied.map_err(SaveImageError::from)?)
    }

    /// Archives the image layer by layer from the data root of an engine on this machine. Returns `None` if that is not
    /// possible.
    async fn save_layers(
        &self,
        destination: &ImageDestination,
        image: &Image,
        meter: &Arc<Meter>,
    ) -> Result<Option<SavedImage>, ArchiveError> {
        // The caller falls back to the engine's archive.
        let Ok(Some(root)) = self.engine.data_root().await else { return Ok(None) };
        let Ok(config) = root.config(&destination.id.hex()) else { return Ok(None) };
        let (store, destination, counter) = (self.store.clone(), destination.clone(), Arc::clone(meter));
        let chains = images::chain_ids(&image.config.layers);
        let saving = move || {
            let (counter, mut expected) = (&*counter, 0);
            images::assemble(&store, destination, &config, |place| {
                let chain = chains.get(place).ok_or(io::ErrorKind::NotFound)?;
                let (reader, size) = root.layer(&chain.hex())?;
                expected += size;
                counter.set_total(expected);
                Ok(LayerArchive { reader: Box::new(MeteredReader { inner: reader, meter: counter }), size })
            })
        };
        match spawn_blocking(saving).await? {
            Ok(saved) => Ok(Some(saved)),
            Err(error @ SaveImageError::Store(_)) => Err(error.into()),
            Err(error) if meter.is_stopped() => Err(error.into()),
            // The directory belongs to a different engine, or the image is being removed: fall back to the engine's
            // archive.
            Err(SaveImageError::Archive(_) | SaveImageError::Unusable(_)) => Ok(None),
        }
    }

    /// Archives the first layers of the image in `entry` under `key`. `compose` creates the documents of the prefix
    /// from the manifest and the config of the image. If this fails, no entry is created.
    pub(crate) async fn save_prefix(
        &self,
        key: CacheKey,
        entry: &Entry,
        subject: Subject,
        compose: impl FnOnce(&[u8], &[u8]) -> Result<PrefixDocuments, PrefixError> + Send + 'static,
    ) -> Result<SavedImage, SavePrefixError> {
        let (store, entry) = (self.store.clone(), entry.clone());
        let saving = move || images::save_prefix(&store, &entry, key.digest(), subject, compose);
        spawn_blocking(saving).await.map_err(|error| StoreError::Worker(error.into()))?
    }

    async fn save_archive(
        &self,
        destination: ImageDestination,
        image: &Image,
        meter: &Arc<Meter>,
    ) -> Result<SavedImage, ArchiveError> {
        let (parts, archive) = archive_channel();
        let (store, counter) = (self.store.clone(), Arc::clone(meter));
        meter.set_total(image.size);
        let saving = spawn_blocking(move || {
            images::save(&store, MeteredReader { inner: archive, meter: &counter }, destination)
        });
        let (exported, saved) = (self.engine.save_image(&image.id, parts).await, saving.await);
        exported.map_err(ArchiveError::Engine)?;
        Ok(saved??)
    }
}

impl ImageTier for ArchiveTier {
    const NAME: &'static str = "archive";

    async fn look(&mut self, wanted: &ImageRequest<'_>) -> TierAnswer<Hit> {
        let [platform] = wanted.platforms else {
            return TierAnswer::miss("an image for several platforms is not archived");
        };
        let found = match self.find(wanted.key, platform).await {
            Ok(found) => found,
            Err(error) => return TierAnswer::fault(error, "the cache cannot be read"),
        };
        let faults: Vec<BoxedError> = found.faults.into_iter().map(Into::into).collect();
        let answer = match found.entry {
            None if faults.is_empty() => TierAnswer::miss("no image of this key is archived"),
            None => TierAnswer::miss("the cache cannot be read"),
            Some(entry) => {
                let age = ImageAge::new(entry.manifest.created, entry.manifest.subject.oldest);
                wanted.accepted.refusal(None, age).unwrap_or_else(|| {
                    let hit = Hit::of(Self::NAME, String::new(), Some(age));
                    TierAnswer::hit(Hit { entry: Some(entry), ..hit }, "the image is archived")
                })
            }
        };
        TierAnswer { faults, ..answer }
    }

    async fn fetch(&mut self, hit: Hit, wanted: &ImageRequest<'_>, meter: &Arc<Meter>) -> TierAnswer<Hit> {
        let Some(entry) = &hit.entry else { return TierAnswer::miss("no image of this key is archived") };
        let id = entry.short_id();
        match self.load(entry, wanted.names, meter).await {
            Ok(loaded) => {
                let faults = loaded.faults.into_iter().map(Into::into).collect();
                let answer = TierAnswer::hit(hit.in_engine(loaded.image), format!("loaded from entry {id}"));
                TierAnswer { bytes: loaded.bytes, faults, ..answer }
            }
            Err(error) => TierAnswer::fault(error, format!("entry {id} cannot be loaded")),
        }
    }
}
