//! The stage that publishes prefixes of a pushed image, so that later builds can continue from them.
//!
//! ```text
//!  Dockerfile, cut ─▶ frontend of the builder ─▶ settings, history ─┐
//!  pushed image ─▶ manifest, config ────────────────────────────────┴─▶ config, manifest, tag
//! ```
//!
//! Only the config and the manifest of a prefix are uploaded, because its layers are those of the pushed image. The
//! settings cannot be copied from the pushed image, because later instructions overwrite them.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout;

use super::cut_image::{UnsavedPrefix, UnsavedReason};
use super::job::Job;
use super::lookup::Lookup;
use super::prefix::PrefixLookup;
use crate::error_chain::chain;
use crate::key::PrefixKey;
use crate::ledger::millis;
use crate::pipeline::error::Result;
use crate::pipeline::keys::BuildKeys;
use crate::registry::{ImageRef, PrefixDocuments, PrefixError, PrefixMark, Repository, StoredManifest};

const DEADLINE: Duration = Duration::from_mins(1);

impl PrefixLookup {
    pub(super) async fn publish(&mut self, job: &Job<'_>, keys: &BuildKeys, lookup: &Lookup) -> Result<()> {
        let (Some(place), None) = (job.prefix_repository(), job.no_prefixes_reason(keys, lookup)) else {
            return Ok(());
        };
        if lookup.losing.prefix.is_some() {
            return Ok(());
        }
        let clock = Instant::now();
        let replaces = lookup.replaces_images(job);
        let prefixes = keys.keys.prefixes.as_deref().unwrap_or_default();
        let missing = prefixes.iter().filter(|key| replaces || !self.published.contains(&key.key));
        let missing: Vec<PrefixKey> = missing.filter(|key| self.has_made(key)).cloned().collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let unpublished = |key: &PrefixKey, reason| UnsavedPrefix::new(key, "published", reason);
        let publishing = Box::pin(async {
            let mut published = Vec::new();
            for key in &missing {
                let replaces = replaces || self.unusable.contains(&key.key);
                let name = job.publish_prefix((keys, key), &place, self, replaces).await;
                match name.map_err(|reason| unpublished(key, reason)) {
                    Ok(name) => published.push((key.key.digest(), name)),
                    Err(error) if error.is_base_unsupported() => {
                        job.reporter.note(&format!("{}\n", chain(&error)));
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            let undeleted = job.prune_prefixes(keys, &place).await;
            let undeleted = undeleted.map_err(|error| unpublished(first, error.into()))?;
            Ok((published, undeleted))
        });
        let published = job.run_until_interrupt(timeout(DEADLINE, publishing)).await;
        if let Some(tier) = &mut self.tier {
            tier.saving_millis += millis(clock.elapsed());
        }
        let late = |_| Err(unpublished(first, UnsavedReason::TimedOut(DEADLINE)));
        let (names, undeleted) = match published?.unwrap_or_else(late) {
            Ok(published) => published,
            Err(error) => return job.faults.report(&error),
        };
        let noted = job.notes.note_undeleted(&place.repository(), undeleted);
        noted.or_else(|fault| job.faults.report_notes(&fault))?;
        // If the build continued from a prefix, the builder does not identify these layers as those of the Dockerfile.
        if self.continuation.is_some() {
            return Ok(());
        }
        let now = Timestamp::now();
        job.note_builder(|entry| {
            for (key, name) in names {
                entry.note_prefix(key, None, Some(name), now);
            }
        })
        .await
    }

    /// Returns `true` if this build has made the layers of the prefix and the same history as a build without prefixes.
    pub(super) fn has_made(&self, key: &PrefixKey) -> bool {
        self.continuation.as_ref().is_none_or(|continued| {
            key.cut.instructions > continued.key.cut.instructions && !continued.adds_history()
        })
    }
}

impl Job<'_> {
    /// Publishes a prefix, unless it exists. Returns its name.
    async fn publish_prefix(
        &self,
        (keys, key): (&BuildKeys, &PrefixKey),
        place: &ImageRef,
        prefixes: &PrefixLookup,
        replaces: bool,
    ) -> Result<String, UnsavedReason> {
        let tags = self.registry_tags(Some(keys)).await;
        let tag = tags.of_prefix(key.key).swap_remove(0);
        let name = place.with_tag(&tag).map(|name| name.to_string()).unwrap_or_default();
        let platform = keys.sole_platform().unwrap_or_default();
        let mut repository = self.registries().repository(place).await?;
        if !replaces && let Some(manifest) = repository.manifest(&tag).await? {
            let mark = repository.prefix_mark(&manifest, platform).await?;
            let is_same = |mark: PrefixMark| mark.key == key.key.digest();
            if mark.is_some_and(|mark| is_same(mark) && (mark.has_index || !self.wants_index(keys, key))) {
                return Ok(name);
            }
        }
        let Some(pushed_name) = self.build.tags.first() else { return Ok(name) };
        let mut pushed = self.registries().repository(pushed_name).await?;
        let mut cut = self.cut_image((keys, key), prefixes).await?;
        if self.wants_index(keys, key) {
            match Box::pin(self.prefix_index((keys, key), prefixes)).await {
                Ok(index) => cut.index = Some(index),
                Err(error) => self.reporter.note(&format!(
                    "the files up to {} are not listed: {}\n",
                    key.describe_end(),
                    chain(&error)
                )),
            }
        }
        // Use the tag of the key: another job may have pushed its image under the names of the build in the meantime.
        let reference = tags.of_image(keys.keys.image).swap_remove(0);
        let (manifest, config) = manifest_and_config(&mut pushed, &reference, platform).await?;
        let mark = PrefixMark::new(key.key.digest(), Timestamp::now());
        let PrefixDocuments { config, manifest, media_type, .. } =
            PrefixDocuments::compose(&manifest, &config, cut, mark)?;
        let manifest = StoredManifest::new(&media_type, manifest);
        repository.upload_blob(&config.into()).await?;
        if repository.name() != pushed.name() {
            repository.copy_image(&mut pushed, &manifest, &mut |_, _| {}).await?;
        }
        repository.put_manifest(&tag, &manifest).await?;
        Ok(name)
    }

    /// Returns `true` if an image could be grafted on the prefix.
    pub(super) fn wants_index(&self, keys: &BuildKeys, key: &PrefixKey) -> bool {
        let deepest = keys.keys.prefixes.iter().flatten().next();
        self.build.tiers.graft && deepest.is_some_and(|deepest| deepest.key == key.key)
    }
}

async fn manifest_and_config(
    repository: &mut Repository,
    reference: &str,
    platform: &str,
) -> Result<(Vec<u8>, Vec<u8>), UnsavedReason> {
    let stored = repository.manifest(reference).await?.ok_or(PrefixError::MalformedImage)?;
    let image = repository.image(&stored, platform).await?.ok_or(PrefixError::MalformedImage)?;
    Ok(repository.documents(&image).await?.ok_or(PrefixError::MalformedImage)?)
}
