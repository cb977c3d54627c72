//! The registry tier: finds the image of the key in the registry that it is pushed to.
//!
//! After a push, the image also gets a tag with its key ([`Tags`]). A later build with that key finds the tag, and tags
//! the same manifest or index with the names of the image. No layer is transferred, unless the image is wanted in the
//! engine. The registry itself ensures that all parts of a manifest exist.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::{Hit, HitConditions, ImageRequest, ImageTier, Tags, TierAnswer};
use crate::engine::{Engine, EngineError, Image, ImageStore};
use crate::images::read_listing;
use crate::notes::ImageAge;
use crate::registry::{
    Compression, Credentials, ImageRef, RegistryError, RemoteImage, Repository, StoredManifest, with_timeout,
};
use crate::store::{EntryKind, Meter, Store};

const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct RegistryTier {
    terms: RegistryTerms,
    targets: Vec<PushTarget>,
    /// The image in each target; empty before the lookup.
    found: Vec<Option<FoundImage>>,
}

#[derive(Debug, Clone)]
pub(crate) struct RegistryTerms {
    pub(crate) tags: Tags,
    /// The engine's image store, on which an image's id depends.
    pub(crate) images: ImageStore,
    /// If set, only the image with this id is a hit. The engine has it, and it was built at this time.
    pub(crate) only_image: Option<(String, Timestamp)>,
    pub(crate) pull_into: Option<Engine>,
    pub(crate) deadline: Duration,
    /// `true` if nothing but the image's own names is written to registries.
    pub(crate) is_read_only: bool,
    /// If set, an image with layers that manifests of this compression cannot name is a miss.
    pub(crate) compression: Option<Compression>,
    /// If set, only an image with a trusted entry in this store is a hit.
    pub(crate) trusted_store: Option<Store>,
}

/// A repository, the login for it, and the names that the image gets there.
pub(crate) struct PushTarget {
    pub(crate) repository: Repository,
    pub(crate) credentials: Credentials,
    pub(crate) names: Vec<ImageRef>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the engine cannot pull {0}")]
    Pull(ImageRef, #[source] EngineError),
    #[error("the image that the engine pulled differs from {0}")]
    DifferentImage(ImageRef),
    #[error("copying the image to {0} took longer than {1:?}")]
    SlowCopy(String, Duration),
    #[error("pulling {0} took longer than {1:?}")]
    SlowPull(ImageRef, Duration),
}

impl TransferError {
    /// Returns `true` if the registry cannot be reached, so that further requests are pointless.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_unreachable())
    }

    pub(crate) fn is_login_error(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_login_error())
    }

    /// Returns the message of the error, with its remedy if there is one.
    fn reason(&self) -> String {
        match self {
            Self::Registry(error) => format!("{error}; {}", error.remedy()),
            error => error.to_string(),
        }
    }
}

#[derive(Clone)]
struct FoundImage {
    /// One image for each requested platform.
    images: Vec<RemoteImage>,
    manifest: StoredManifest,
}

impl FoundImage {
    /// Returns when the oldest of the images was built, if all of them record it.
    fn created(&self) -> Option<Timestamp> {
        self.images.iter().map(|image| image.created).min().flatten()
    }

    fn age(&self, accepted: &HitConditions) -> Option<ImageAge> {
        let built = self.created()?;
        let oldest = |count: usize| self.images.iter().filter_map(|image| image.oldest_step(count)).min();
        Some(ImageAge::new(built, accepted.base_layers.and_then(oldest)))
    }
}

impl ImageTier for RegistryTier {
    const NAME: &'static str = "registry";

    async fn look(&mut self, wanted: &ImageRequest<'_>) -> TierAnswer<Hit> {
        self.found = match self.look_in_targets(wanted).await {
            Ok(found) => found,
            Err(error) => return TransferError::from(error).into(),
        };
        let Some(first) = self.found.iter().flatten().next() else {
            let name = self.targets.first().map(|target| target.repository.name());
            return TierAnswer::miss(name.map_or("no registry is queried".to_owned(), |name| {
                format!("{name} has no image of this key")
            }));
        };
        let hit = Hit::of(Self::NAME, self.id(first), first.age(wanted.accepted));
        if self.terms.pull_into.is_some() && wanted.platforms.len() > 1 {
            // An engine would pull only one platform, without attestations, and could later push only that.
            return TierAnswer::miss("an engine cannot pull an image for several platforms");
        }
        for found in self.found.iter().flatten() {
            let age = found.age(wanted.accepted).unwrap_or(ImageAge::new(Timestamp::UNIX_EPOCH, None));
            if let Some((id, own)) = &self.terms.only_image
                && *id != self.id(found)
            {
                let other = TierAnswer::miss("the registry has a different image of this key");
                return TierAnswer { has_newer: age.built > *own, ..other };
            }
            if let Some(refusal) = wanted.accepted.refusal(Some(&self.id(found)), age) {
                return refusal;
            }
            if self
                .terms
                .compression
                .is_some_and(|wanted| !found.images.iter().all(|image| image.supports_compression(wanted)))
            {
                return TierAnswer::miss("the layers in the registry are compressed with zstd");
            }
            if !self.has_trusted_entry(found, wanted).await {
                return TierAnswer::miss("the store has no signed entry for the image in the registry");
            }
        }
        TierAnswer::hit(hit, "the image is in its registry")
    }

    /// Copies the image to targets that lack it, pulls it if it is wanted in an engine, and tags it in all targets.
    async fn fetch(&mut self, hit: Hit, wanted: &ImageRequest<'_>, meter: &Arc<Meter>) -> TierAnswer<Hit> {
        let (found, copied) = match self.copy(wanted, meter).await {
            Ok(everywhere) => everywhere,
            Err(error) => return error.into(),
        };
        let (mut hit, mut bytes) = (hit, 0);
        if let Some(engine) = &self.terms.pull_into {
            match self.pull(&found[0], engine, wanted, meter).await {
                Ok((pulled, moved)) => (hit, bytes) = (hit.in_engine(pulled), moved),
                Err(error) => return error.into(),
            }
        }
        let host = self.host();
        if let Err(error) = with_timeout(&host, DEADLINE, tag_in_targets(&mut self.targets, &found)).await {
            return TransferError::from(error).into();
        }
        let reason = match (bytes, copied) {
            (0, 0) => "the image is in its registry",
            (0, _) => "copied from one registry to another",
            _ => "pulled from its registry",
        };
        let digest = Some(found[0].manifest.digest.to_string());
        let hit =
            Hit { id: self.id(&found[0]), age: found[0].age(wanted.accepted), digest, is_named: true, ..hit };
        TierAnswer { bytes: bytes + copied, ..TierAnswer::hit(hit, reason) }
    }
}

impl RegistryTier {
    pub(crate) fn new(terms: RegistryTerms, targets: Vec<PushTarget>) -> Self {
        Self { terms, targets, found: Vec::new() }
    }

    /// Returns the newest image under the targets' names and their tags for inline caches, and when it was built.
    pub(crate) async fn last_built(
        &mut self,
        platform: &str,
    ) -> Result<Option<(ImageRef, Timestamp)>, RegistryError> {
        let host = self.host();
        let search = async {
            let mut last: Option<(ImageRef, Timestamp)> = None;
            for PushTarget { repository, names, .. } in &mut self.targets {
                let place = repository.image_name().clone();
                let tags = self.terms.tags.inline_caches();
                let last_images = tags.iter().filter_map(|tag| place.with_tag(tag));
                for name in names.iter().cloned().chain(last_images) {
                    let Some(manifest) = repository.manifest(name.tag_or_latest()).await? else {
                        continue;
                    };
                    let image = repository.image(&manifest, platform).await?;
                    if let Some(built) = image.and_then(|image| image.created)
                        && last.as_ref().is_none_or(|(_, newest)| *newest < built)
                    {
                        last = Some((name, built));
                    }
                }
            }
            Ok(last)
        };
        with_timeout(&host, DEADLINE, search).await
    }

    /// Tags the image `id`, which consists of `layers`, with its key. The image was just pushed under the first name of
    /// each target. Returns `true` if all targets have it; another job may have pushed a different image in between.
    pub(crate) async fn save(
        &mut self,
        wanted: &ImageRequest<'_>,
        id: &str,
        layers: Option<&[String]>,
    ) -> Result<bool, RegistryError> {
        let (host, own) = (self.host(), self.own_tag(wanted));
        let publish = async {
            let mut all = true;
            for PushTarget { repository, names, .. } in &mut self.targets {
                let Some(tag) = names.first().and_then(ImageRef::tag) else { continue };
                let Some(manifest) = repository.manifest(tag).await? else { return Ok(false) };
                let image = repository.image(&manifest, &wanted.platforms[0]).await?;
                // An engine may push the image alone instead of an index.
                let is_same = |image: RemoteImage| {
                    image.id.to_string() == id || layers.is_some_and(|layers| layers == image.config.layers)
                };
                let is_it = manifest.digest.to_string() == id || image.is_some_and(is_same);
                if is_it {
                    repository.put_manifest(&own, &manifest).await?;
                }
                all &= is_it;
            }
            Ok(all)
        };
        with_timeout(&host, DEADLINE, publish).await
    }

    async fn look_in_targets(
        &mut self,
        wanted: &ImageRequest<'_>,
    ) -> Result<Vec<Option<FoundImage>>, RegistryError> {
        let (host, tags) = (self.host(), self.terms.tags.of_image(wanted.key));
        let looking = async {
            let mut found = Vec::new();
            for PushTarget { repository, .. } in &mut self.targets {
                found.push(look_in(repository, &tags, wanted.platforms).await?);
            }
            Ok(found)
        };
        with_timeout(&host, DEADLINE, looking).await
    }

    /// Copies the image to the targets that lack it, preferably from the same registry. Returns the image in each
    /// target, and the number of bytes that were transferred.
    async fn copy(
        &mut self,
        wanted: &ImageRequest<'_>,
        meter: &Meter,
    ) -> Result<(Vec<FoundImage>, u64), TransferError> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        let own_tag = self.own_tag(wanted);
        for index in 0..self.targets.len() {
            if let Some(own) = &self.found[index] {
                all.push(own.clone());
                continue;
            }
            let host = self.targets[index].repository.image_name().host();
            let have = self.targets.iter().zip(&self.found);
            let have = have.filter_map(|(target, found)| Some((&target.repository, found.as_ref()?)));
            let nearest = have.max_by_key(|(repository, _)| repository.image_name().host() == host);
            let Some((mut from, image)) = nearest.map(|(from, image)| (from.clone(), image)) else {
                continue;
            };
            let into = &mut self.targets[index].repository;
            let name = into.name();
            let mut moved = |done, total| meter.set(bytes + done, bytes + total);
            let copying = Box::pin(async {
                let moved = into.copy_image(&mut from, &image.manifest, &mut moved).await?;
                if !self.terms.is_read_only {
                    into.put_manifest(&own_tag, &image.manifest).await?;
                }
                Ok::<_, RegistryError>(moved)
            });
            let copied = tokio::time::timeout(self.terms.deadline, copying).await;
            bytes += copied.map_err(|_| TransferError::SlowCopy(name, self.terms.deadline))??;
            all.push(image.clone());
        }
        Ok((all, bytes))
    }

    fn own_tag(&self, wanted: &ImageRequest<'_>) -> String {
        self.terms.tags.of_image(wanted.key).swap_remove(0)
    }

    /// Returns `true` if no trusted entry is required, or if there is one.
    async fn has_trusted_entry(&self, found: &FoundImage, wanted: &ImageRequest<'_>) -> bool {
        let Some(store) = self.terms.trusted_store.clone() else { return true };
        // An entry contains a single image, so it proves nothing about an index with several.
        let ([platform], [image]) = (wanted.platforms, &*found.images) else { return false };
        if !image.is_only_image {
            return false;
        }
        let (family, key, id) = (platform.clone(), wanted.key.digest(), image.id);
        let look = move || {
            let entry = store.find(EntryKind::Image, &family, key, false).entry?;
            read_listing(&store, &entry).ok().map(|listing| listing.config)
        };
        spawn_blocking(look).await.ok().flatten() == Some(id)
    }

    /// Returns the id that the image has in the engine.
    fn id(&self, found: &FoundImage) -> String {
        match self.terms.images {
            ImageStore::GraphDriver => found.images[0].id.to_string(),
            ImageStore::Containerd => found.manifest.digest.to_string(),
        }
    }

    async fn pull(
        &self,
        found: &FoundImage,
        engine: &Engine,
        wanted: &ImageRequest<'_>,
        meter: &Arc<Meter>,
    ) -> Result<(Image, u64), TransferError> {
        let PushTarget { repository, credentials, .. } = &self.targets[0];
        let source = repository.image_name().pinned(found.manifest.digest);
        let failed = |error| TransferError::Pull(source.clone(), error);
        let progress = |done, total| meter.set(done, total);
        let pulling = engine.pull(&source, &wanted.platforms[0], credentials, progress);
        let bytes = tokio::time::timeout(self.terms.deadline, pulling)
            .await
            .map_err(|_| TransferError::SlowPull(source.clone(), self.terms.deadline))?
            .map_err(failed)?;
        let image = engine.image(&self.id(found)).await.map_err(failed)?;
        let image = image.filter(|image| image.config.layers == found.images[0].config.layers);
        let image = image.ok_or_else(|| TransferError::DifferentImage(source.clone()))?;
        engine.add_names(&image.id, &image.names, wanted.names).await.map_err(failed)?;
        Ok((image, bytes))
    }

    fn host(&self) -> String {
        let first = self.targets.first();
        first.map(|target| target.repository.image_name().host().to_owned()).unwrap_or_default()
    }
}

/// Returns the newest image under one of these tags that supports all of these platforms.
async fn look_in(
    repository: &Repository,
    tags: &[String],
    platforms: &[String],
) -> Result<Option<FoundImage>, RegistryError> {
    let looking = tags.iter().map(|tag| {
        let mut repository = repository.clone();
        async move {
            let Some(manifest) = repository.manifest(tag).await? else { return Ok(None) };
            let mut images = Vec::new();
            for platform in platforms {
                images.extend(repository.image(&manifest, platform).await?);
            }
            let is_whole = images.len() == platforms.len();
            Ok::<_, RegistryError>(is_whole.then_some(FoundImage { images, manifest }))
        }
    });
    let mut newest: Option<FoundImage> = None;
    for found in try_join_all(looking).await?.into_iter().flatten() {
        if newest.as_ref().is_none_or(|newest| newest.created() < found.created()) {
            newest = Some(found);
        }
    }
    Ok(newest)
}

async fn tag_in_targets(targets: &mut [PushTarget], found: &[FoundImage]) -> Result<(), RegistryError> {
    for (PushTarget { repository, names, .. }, found) in targets.iter_mut().zip(found) {
        repository.put_all(names.iter().map(ImageRef::tag_or_latest), &found.manifest).await?;
    }
    Ok(())
}

impl From<TransferError> for TierAnswer<Hit> {
    fn from(error: TransferError) -> Self {
        let reason = error.reason();
        Self::fault(error, reason)
    }
}
