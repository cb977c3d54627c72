//! The prefix tier: finds images of the first layers of the wanted image, from which a build can continue.
//!
//! Their keys depend neither on the engine nor on the version of BuildKit. The config of a prefix contains its key, so
//! that a tag that was moved to a different image is detected.

use std::time::Duration;

use jiff::Timestamp;

use super::{Tags, TierAnswer};
use crate::key::PrefixKey;
use crate::registry::{ImageRef, RegistryError, RemoteImage, Repository, with_timeout};

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct PrefixTier<'a> {
    pub(crate) place: &'a ImageRef,
    pub(crate) tags: &'a Tags,
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(crate) platform: &'a str,
    /// If set, the layers of a prefix must have been created at this time or later.
    pub(crate) since: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(crate) struct RegistryPrefix {
    pub(crate) key: PrefixKey,
    /// `REPOSITORY@DIGEST`
    pub(crate) name: String,
    pub(crate) image: RemoteImage,
    /// `true` if the tag belongs to the job's own lane.
    pub(crate) is_own: bool,
}

impl PrefixTier<'_> {
    pub(crate) const NAME: &'static str = "prefix";

    /// Looks for the deepest of these prefixes. `keys` must be sorted, the deepest first.
    ///
    /// Fails if the registry fails or exceeds the time limit.
    pub(crate) async fn look(
        &self,
        repository: &mut Repository,
        keys: &[PrefixKey],
    ) -> Result<TierAnswer<RegistryPrefix>, RegistryError> {
        with_timeout(self.place.host(), DEADLINE, Box::pin(self.find(repository, keys))).await
    }

    async fn find(
        &self,
        repository: &mut Repository,
        keys: &[PrefixKey],
    ) -> Result<TierAnswer<RegistryPrefix>, RegistryError> {
        let place = self.place.repository();
        let mut refusal = None;
        for key in keys {
            for (number, tag) in self.tags.of_prefix(key.key).into_iter().enumerate() {
                let Some(manifest) = repository.manifest(&tag).await? else { continue };
                let image = repository.image(&manifest, self.platform).await?;
                let Some(image) =
                    image.filter(|image| image.prefix.is_some_and(|mark| mark.key == key.key.digest()))
                else {
                    refusal = Some(TierAnswer::miss(format!("{place}:{tag} was moved to a different image")));
                    continue;
                };
                let made = image.created.unwrap_or(Timestamp::UNIX_EPOCH);
                if self.since.is_some_and(|since| made < since) {
                    refusal = Some(TierAnswer::too_old(made));
                    continue;
                }
                let name = format!("{place}@{}", manifest.digest);
                let reason = format!("{place} has the layers up to {}", key.describe_end());
                let found = RegistryPrefix { key: key.clone(), name, image, is_own: number == 0 };
                return Ok(TierAnswer::hit(found, reason));
            }
        }
        Ok(refusal.unwrap_or_else(|| TierAnswer::miss(format!("{place} has no prefix of this image"))))
    }
}
