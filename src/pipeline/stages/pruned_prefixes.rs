//! Bounds the number of prefixes in a repository.

use super::job::Job;
use crate::pipeline::keys::BuildKeys;
use crate::registry::{ImageRef, RegistryError};
use crate::tiers::Tags;

/// The maximum number of prefixes of one lane in a repository; the oldest are deleted.
const MOST: usize = 10;

impl Job<'_> {
    /// Deletes the oldest prefixes of the job's lane, if there are too many and the registry allows it, and returns those
    /// that it does not. Those of this image are kept, whenever they were published.
    pub(super) async fn prune_prefixes(
        &self,
        keys: &BuildKeys,
        place: &ImageRef,
    ) -> Result<Vec<String>, RegistryError> {
        let mut repository = self.registries().repository(place).await?;
        let (tags, all) = (self.registry_tags(Some(keys)).await, repository.tags().await?);
        let own = tags.own_prefixes(&all);
        let Some(excess) = own.len().checked_sub(MOST) else { return Ok(Vec::new()) };
        let prefixes = keys.keys.prefixes.iter().flatten();
        let current: Vec<String> = prefixes.map(|key| tags.of_prefix(key.key).swap_remove(0)).collect();
        let platform = keys.sole_platform().unwrap_or_default();
        let (mut old, mut undeleted) = (Vec::new(), Vec::new());
        for tag in own.into_iter().filter(|tag| !current.iter().any(|current| current == tag)) {
            let Some(manifest) = repository.manifest(tag).await? else { continue };
            let mark = repository.prefix_mark(&manifest, platform).await?;
            old.push((mark.map(|mark| mark.published), tag, manifest));
        }
        old.sort_by_key(|(published, ..)| *published);
        for (_, tag, manifest) in old.into_iter().take(excess) {
            let is_alone = !all.iter().any(|other| other != tag && Tags::is_same_prefix(other, tag));
            // Once it has refused, it is not asked again.
            if !undeleted.is_empty() || !repository.delete_tag(tag, &manifest, is_alone).await? {
                undeleted.push(tag.to_owned());
            }
        }
        if !undeleted.is_empty() {
            self.reporter.note(&format!(
                "{} keeps old prefixes (larder-prefix-*) that it does not let larder delete; `larder cache stats` names them\n",
                place.repository()
            ));
        }
        Ok(undeleted)
    }
}
