//! Limits the number of prefixes in a repository. Prefixes of other lanes must not be deleted.

use super::job::Job;
use crate::pipeline::keys::BuildKeys;
use crate::registry::{ImageRef, RegistryError};
use crate::tiers::Tags;

/// The maximum number of prefixes of one lane in a repository. The oldest are deleted.
const MAX_PREFIXES: usize = 10;

impl Job<'_> {
    /// Deletes the oldest prefixes of the job's lane if there are too many. Prefixes of this image are never deleted.
    /// Returns the prefixes that the registry does not allow to delete.
    pub(super) async fn prune_prefixes(
        &self,
        keys: &BuildKeys,
        place: &ImageRef,
    ) -> Result<Vec<String>, RegistryError> {
        let mut repository = self.registries().repository(place).await?;
        let (tags, all) = (self.registry_tags(Some(keys)).await, repository.tags().await?);
        let own = tags.own_prefixes(&all);
        // Undeleted prefixes of other lanes stay recorded while they exist.
        let recorded =
            self.notes.undeleted().unwrap_or_default().remove(&place.repository()).unwrap_or_default();
        let is_other = |tag: &String| all.contains(tag) && !own.contains(&tag.as_str());
        let mut undeleted: Vec<String> = recorded.into_iter().filter(is_other).collect();
        let Some(excess) = own.len().checked_sub(MAX_PREFIXES).filter(|excess| *excess > 0) else {
            return Ok(undeleted);
        };
        let prefixes = keys.keys.prefixes.iter().flatten().chain(&keys.keys.grafted);
        let current: Vec<String> = prefixes.map(|key| tags.of_prefix(key.key).swap_remove(0)).collect();
        let platform = keys.sole_platform().unwrap_or_default();
        let mut old = Vec::new();
        for tag in own.into_iter().filter(|tag| !current.iter().any(|current| current == tag)) {
            let Some(manifest) = repository.manifest(tag).await? else { continue };
            let mark = repository.prefix_mark(&manifest, platform).await?;
            old.push((mark.map(|mark| mark.published), tag, manifest));
        }
        old.sort_by_key(|(published, ..)| *published);
        let mut is_refused = false;
        for (_, tag, manifest) in old.into_iter().take(excess) {
            let is_alone = !all.iter().any(|other| other != tag && Tags::is_same_prefix(other, tag));
            // After the registry has refused one deletion, do not request others.
            if is_refused || !repository.delete_tag(tag, &manifest, is_alone).await? {
                is_refused = true;
                undeleted.push(tag.to_owned());
            }
        }
        if is_refused {
            self.reporter.note(&format!(
                "{} does not let larder delete old prefixes (larder-prefix-*); `larder cache stats` lists them\n",
                place.repository()
            ));
        }
        Ok(undeleted)
    }
}
