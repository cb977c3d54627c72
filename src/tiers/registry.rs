//! The registry tier: the image of this very key stands in the registry that it is to be pushed to.
//!
//! After a push the image also gets its key's tag ([`Tags`]). A later build of
//! the key finds it there and names it by its manifest, or its whole index: no
//! layer moves, unless the image is wanted in the engine. The registry itself
//! sees to it that a manifest has all of its parts.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_blocking;

use super::{Accepted, Answer, Tags};
use crate::digest::Digest;
use crate::engine::{Engine, EngineError, Image, ImageStore};
use crate::images::read_listing;
use crate::key::CacheKey;
use crate::registry::{
    Credentials, ImageRef, RegistryError, RemoteImage, Repository, StoredManifest, within,
};
use crate::store::{EntryKind, Meter, Store};

/// How long registries may take to find images, and to name them.
const DEADLINE: Duration = Duration::from_secs(30);

/// Looks for whole images in registries, and sees to it that they are found again.
#[derive(Debug, Clone)]
pub struct RegistryTier {
    /// The tags of the job.
    pub tags: Tags,
    /// The key of the image.
    pub key: CacheKey,
    /// The platforms that it is for, `OS/ARCHITECTURE[/VARIANT]`; at least one.
    pub platforms: Vec<String>,
    /// How the engine keeps images; that is what an image's id depends on.
    pub images: ImageStore,
    /// The image that the engine has: its id and when it was built. No other is taken.
    pub only: Option<(String, Timestamp)>,
    /// The engine that the image is wanted in.
    pub wanted_in: Option<Engine>,
    /// How long moving an image may take.
    pub deadline: Duration,
    /// Nothing is left in registries but the image's own names.
    pub read_only: bool,
    /// The store that must have a trusted entry with the same image.
    pub vouched_by: Option<Store>,
}

/// A repository, the login for it, and the names that an image is to have in it; perhaps none.
pub struct Target {
    /// The repository.
    pub repository: Repository,
    /// The login.
    pub credentials: Credentials,
    /// The names.
    pub names: Vec<ImageRef>,
}

/// An image that was found.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The id that the engine has it under, or would have.
    pub id: String,
    /// The digest of what its names stand for.
    pub digest: Digest,
    /// The image in the engine, where it is wanted there.
    pub image: Option<Image>,
    /// When it was built, as far as it says.
    pub built: Option<Timestamp>,
}

/// An image that a registry has cannot be used, or is not found again.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The registry is at fault.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The engine cannot pull or name it.
    #[error("the engine cannot pull {0}")]
    Pull(ImageRef, #[source] EngineError),
    /// It pulled something else.
    #[error("the engine has another image than {0}")]
    Another(ImageRef),
    /// Copying to this repository took too long.
    #[error("copying the image to {0} took longer than {1:?}")]
    SlowCopy(String, Duration),
    /// Pulling took too long.
    #[error("pulling {0} took longer than {1:?}")]
    SlowPull(ImageRef, Duration),
}

impl TransferError {
    /// Whether the registry cannot be reached, so that nothing else need be asked of it.
    pub fn is_of_reach(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_of_reach())
    }

    /// Whether the registry takes the login for nobody's, or for one that has ended.
    pub fn is_of_login(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_of_login())
    }

    /// What went wrong and what would help.
    fn reason(&self) -> String {
        match self {
            Self::Registry(error) => format!("{error}; {}", error.remedy()),
            error => error.to_string(),
        }
    }
}

/// An image in one of the targets.
#[derive(Clone)]
struct Found {
    /// For each of its platforms.
    images: Vec<RemoteImage>,
    manifest: StoredManifest,
}

impl Found {
    /// When the oldest part was built, as far as they say.
    fn built(&self) -> Option<Timestamp> {
        self.images.iter().map(|image| image.created).min().flatten()
    }
}

impl RegistryTier {
    /// The tier's name in records and summaries.
    pub const NAME: &'static str = "registry";

    /// Looks in every target for the image; brings it into the engine where it is wanted there, under these `names`, and
    /// gives it its names in the targets.
    pub async fn take(
        &self,
        targets: &mut [Target],
        names: &[ImageRef],
        accepted: &Accepted,
        meter: &Arc<Meter>,
    ) -> Answer<Taken> {
        let host = host_of(targets);
        let found = match within(&host, DEADLINE, self.look(targets)).await {
            Ok(found) => found,
            Err(error) => return fault(error.into()),
        };
        if found.iter().all(Option::is_none) {
            let asked = targets.first().map(|target| target.repository.name());
            return Answer::miss(asked.map_or("no registry is asked".to_owned(), |name| {
                format!("{name} has no image of this key")
            }));
        }
        if self.wanted_in.is_some() && self.platforms.len() > 1 {
            // Engines pull one platform, without its attestations, and push no more than that afterwards.
            return Answer::miss("no engine pulls all of an image for several platforms");
        }
        for found in found.iter().flatten() {
            let built = found.built().unwrap_or(Timestamp::UNIX_EPOCH);
            if let Some((id, own)) = &self.only
                && *id != self.id(found)
            {
                let other = Answer::miss("the registry has another image of this key");
                return if built > *own { other.newer() } else { other };
            }
            if let Some(refusal) = accepted.refusal(Some(&self.id(found)), built) {
                return refusal;
            }
            if !self.is_vouched_for(found).await {
                return Answer::miss("no signed entry of the store vouches for the image in the registry");
            }
        }
        let (found, copied) = match self.copy(targets, &found, meter).await {
            Ok(everywhere) => everywhere,
            Err(error) => return fault(error),
        };
        let (mut image, mut bytes) = (None, 0);
        if let Some(engine) = &self.wanted_in {
            match self.pull(&targets[0], &found[0], engine, names, meter).await {
                Ok((pulled, moved)) => (image, bytes) = (Some(pulled), moved),
                Err(error) => return fault(error),
            }
        }
        if let Err(error) = within(&host, DEADLINE, name(targets, &found)).await {
            return fault(error.into());
        }
        let first = &found[0];
        let digest = first.manifest.digest;
        let taken = Taken { id: self.id(first), digest, image, built: first.built() };
        let reason = match (bytes, copied) {
            (0, 0) => "the image is in its registry",
            (0, _) => "copied from one registry to another",
            _ => "pulled from its registry",
        };
        Answer { bytes: bytes + copied, ..Answer::hit(taken, reason) }
    }

    /// Looks in every target for an image that would be a hit, and moves and names nothing. Returns when it was built.
    pub async fn find(&self, targets: &mut [Target], accepted: &Accepted) -> Answer<Option<Timestamp>> {
        let host = host_of(targets);
        let found = match within(&host, DEADLINE, self.look(targets)).await {
            Ok(found) => found,
            Err(error) => return fault(error.into()),
        };
        let mut built = None;
        for found in found.iter().flatten() {
            let when = found.built();
            let refusal = accepted.refusal(Some(&self.id(found)), when.unwrap_or(Timestamp::UNIX_EPOCH));
            if let Some(refusal) = refusal {
                return refusal;
            }
            if !self.is_vouched_for(found).await {
                return Answer::miss("no signed entry of the store vouches for the image in the registry");
            }
            built = Some(when);
        }
        built.map_or_else(
            || Answer::miss("no registry has an image of this key"),
            |built| Answer::hit(built, "the image is in its registry"),
        )
    }

    /// Returns the image that was built last under one of the targets' names, or their tags for the last image, and when.
    ///
    /// # Errors
    ///
    /// Fails when a registry cannot be asked.
    pub async fn last_built(
        &self,
        targets: &mut [Target],
    ) -> Result<Option<(ImageRef, Timestamp)>, RegistryError> {
        let host = host_of(targets);
        let search = async {
            let mut last: Option<(ImageRef, Timestamp)> = None;
            for Target { repository, names, .. } in targets {
                let place = repository.image_name().clone();
                let tags = self.tags.inline_caches();
                let last_images = tags.iter().filter_map(|tag| place.with_tag(tag));
                for name in names.iter().cloned().chain(last_images) {
                    let Some(manifest) = repository.manifest(name.tag().unwrap_or("latest")).await? else {
                        continue;
                    };
                    let Some(platform) = self.platforms.first() else { continue };
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
        within(&host, DEADLINE, search).await
    }

    /// The image in each target that has it.
    async fn look(&self, targets: &mut [Target]) -> Result<Vec<Option<Found>>, RegistryError> {
        let mut found = Vec::new();
        for Target { repository, .. } in targets {
            found.push(self.look_in(repository).await?);
        }
        Ok(found)
    }

    /// Lets the targets that have no image take it over from one that was found to have it, rather of the same registry.
    /// Answers what each of them has now, and the bytes that moved.
    async fn copy(
        &self,
        targets: &mut [Target],
        found: &[Option<Found>],
        meter: &Meter,
    ) -> Result<(Vec<Found>, u64), TransferError> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        for index in 0..targets.len() {
            if let Some(own) = &found[index] {
                all.push(own.clone());
                continue;
            }
            let host = targets[index].repository.image_name().host();
            let have = targets
                .iter()
                .zip(found)
                .filter_map(|(target, found)| Some((&target.repository, found.as_ref()?)));
            let nearest = have.max_by_key(|(repository, _)| repository.image_name().host() == host);
            let Some((mut from, image)) = nearest.map(|(from, image)| (from.clone(), image)) else {
                continue;
            };
            let into = &mut targets[index].repository;
            let name = into.name();
            let mut moved = |done, total| meter.set(bytes + done, bytes + total);
            let copying = Box::pin(async {
                let moved = into.take_over(&mut from, &image.manifest, &mut moved).await?;
                if !self.read_only {
                    into.put(&self.own_tag(), &image.manifest).await?;
                }
                Ok::<_, RegistryError>(moved)
            });
            let copied = tokio::time::timeout(self.deadline, copying).await;
            bytes += copied.map_err(|_| TransferError::SlowCopy(name, self.deadline))??;
            all.push(image.clone());
        }
        Ok((all, bytes))
    }

    /// The image in this repository, the newest of those that the job may take.
    async fn look_in(&self, repository: &mut Repository) -> Result<Option<Found>, RegistryError> {
        let mut newest: Option<Found> = None;
        for tag in self.tags.of_image(self.key) {
            let Some(manifest) = repository.manifest(&tag).await? else { continue };
            let mut images = Vec::new();
            for platform in &self.platforms {
                images.extend(repository.image(&manifest, platform).await?);
            }
            if images.len() < self.platforms.len() {
                continue;
            }
            let found = Found { images, manifest };
            if newest.as_ref().is_none_or(|newest| newest.built() < found.built()) {
                newest = Some(found);
            }
        }
        Ok(newest)
    }

    /// The tag that the job gives the image.
    fn own_tag(&self) -> String {
        self.tags.of_image(self.key).swap_remove(0)
    }

    /// Whether the store has the image, too, if that is asked for.
    async fn is_vouched_for(&self, found: &Found) -> bool {
        let Some(store) = self.vouched_by.clone() else { return true };
        // Nobody vouches for further images of an index.
        let ([platform], [image]) = (&*self.platforms, &*found.images) else { return false };
        if !image.is_alone {
            return false;
        }
        let (family, key, id) = (platform.clone(), self.key.digest(), image.id);
        let look = move || {
            let entry = store.find(EntryKind::Image, &family, key, false).entry?;
            read_listing(&store, &entry).ok().map(|listing| listing.config)
        };
        spawn_blocking(look).await.ok().flatten() == Some(id)
    }

    /// The id that the engine has an image under.
    fn id(&self, found: &Found) -> String {
        match self.images {
            ImageStore::GraphDriver => found.images[0].id.to_string(),
            ImageStore::Containerd => found.manifest.digest.to_string(),
        }
    }

    async fn pull(
        &self,
        target: &Target,
        found: &Found,
        engine: &Engine,
        names: &[ImageRef],
        meter: &Arc<Meter>,
    ) -> Result<(Image, u64), TransferError> {
        let source = target.repository.image_name().pinned(found.manifest.digest);
        let failed = |error| TransferError::Pull(source.clone(), error);
        let progress = |done, total| meter.set(done, total);
        let pulling = engine.pull(&source, &self.platforms[0], &target.credentials, progress);
        let bytes = tokio::time::timeout(self.deadline, pulling)
            .await
            .map_err(|_| TransferError::SlowPull(source.clone(), self.deadline))?
            .map_err(failed)?;
        let image = engine.image(&self.id(found)).await.map_err(failed)?;
        let image = image.filter(|image| image.config.layers == found.images[0].config.layers);
        let image = image.ok_or_else(|| TransferError::Another(source.clone()))?;
        for name in names.iter().filter(|name| !image.names.contains(&name.familiar())) {
            engine.tag(&image.id, name).await.map_err(failed)?;
        }
        Ok((image, bytes))
    }

    /// Lets the image `id` of these `layers`, which was just pushed under the first name of each target, be found again.
    /// Answers whether it is in all of them; somebody else may have pushed meanwhile.
    ///
    /// # Errors
    ///
    /// Fails when a registry refuses or takes too long.
    pub async fn publish(
        &self,
        targets: &mut [Target],
        id: &str,
        layers: Option<&[String]>,
    ) -> Result<bool, RegistryError> {
        let host = host_of(targets);
        let own = self.own_tag();
        let publish = async {
            let mut all = true;
            for Target { repository, names, .. } in targets {
                let Some(tag) = names.first().and_then(ImageRef::tag) else { continue };
                let Some(manifest) = repository.manifest(tag).await? else { return Ok(false) };
                let image = repository.image(&manifest, &self.platforms[0]).await?;
                // An engine may push less than an index: the image alone.
                let is_same = |image: RemoteImage| {
                    image.id.to_string() == id || layers.is_some_and(|layers| layers == image.config.layers)
                };
                let is_it = manifest.digest.to_string() == id || image.is_some_and(is_same);
                if is_it {
                    repository.put(&own, &manifest).await?;
                }
                all &= is_it;
            }
            Ok(all)
        };
        within(&host, DEADLINE, publish).await
    }
}

/// The registry of the first target, which stands for all where it is told who is slow.
fn host_of(targets: &[Target]) -> String {
    targets.first().map(|target| target.repository.image_name().host().to_owned()).unwrap_or_default()
}

/// Gives the image that was found in each target its names there.
async fn name(targets: &mut [Target], found: &[Found]) -> Result<(), RegistryError> {
    for (Target { repository, names, .. }, found) in targets.iter_mut().zip(found) {
        for name in names {
            repository.put(name.tag().unwrap_or("latest"), &found.manifest).await?;
        }
    }
    Ok(())
}

impl<T> From<TransferError> for Answer<T> {
    fn from(error: TransferError) -> Self {
        fault(error)
    }
}

fn fault<T>(error: TransferError) -> Answer<T> {
    let reason = error.reason();
    Answer::fault(error, reason)
}
