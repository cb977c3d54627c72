//! Archives prefixes in the store together with their image, and loads them for builds that use no registry.
//!
//! The store already has the layers of the image, so the entry of a prefix adds only a config and a list of chunks. A
//! prefix that is loaded into the engine stays there under a name, as long as it is among the last that were used.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::cut_image::{UnsavedPrefix, UnsavedReason};
use super::job::Job;
use super::lookup::Lookup;
use super::prefix::{PrefixAnswer, PrefixLookup, base};
use crate::error_chain::chain;
use crate::key::PrefixKey;
use crate::notes::PrefixBase;
use crate::pipeline::error::Result;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::transfers::transfer;
use crate::registry::{ImageRef, PrefixDocuments, PrefixMark};
use crate::store::{Entry, Meter, StoreError, Subject};
use crate::tiers::{ArchiveTier, HitConditions, ImageRequest, ImageTier, LoadError};

/// The repository name that loaded prefixes have in the engine.
const LOADED_REPOSITORY: &str = "larder-prefix";
const DEADLINE: Duration = Duration::from_mins(1);

impl PrefixLookup {
    pub(super) async fn look_in_store(&mut self, job: &Job<'_>, keys: &BuildKeys) -> Result<PrefixAnswer> {
        let none = PrefixAnswer::miss("the store has no prefix of this image");
        // With --pull, BuildKit would look for the loaded image in a registry.
        if !job.build.tiers.archive || job.build.source.pull || job.faults.is_cache_unusable() {
            return Ok(none);
        }
        let Some(mut tier) = job.archive_tier().await?.map(ArchiveTier::for_prefixes) else {
            return Ok(none);
        };
        let accepted = HitConditions { since: job.earliest_accepted(), ..HitConditions::default() };
        for key in keys.keys.prefixes.iter().flatten() {
            let Ok(name) = format!("{LOADED_REPOSITORY}:{}", key.key.digest().hex()).parse::<ImageRef>()
            else {
                continue;
            };
            let wanted = ImageRequest {
                key: key.key,
                platforms: &keys.platforms,
                names: std::slice::from_ref(&name),
                accepted: &accepted,
            };
            let mut answer = job.run_until_interrupt(tier.look(&wanted)).await?;
            answer.faults.iter().try_for_each(|fault| job.faults.report(fault.as_ref()))?;
            self.has_expired |= answer.is_too_old;
            let Some(entry) = answer.found.take().and_then(|hit| hit.entry) else { continue };
            let meter = Arc::new(Meter::default());
            let loading = self.load(job, (keys, key), &tier, &entry, &name, &meter);
            let loading = transfer("loading the prefix", loading, &meter, job.session, job.reporter);
            match Box::pin(loading).await? {
                Ok((continuing, bytes)) => {
                    let reason = format!("the store has the layers up to {}", key.describe_end());
                    return Ok(PrefixAnswer { bytes, ..PrefixAnswer::of(continuing, reason) });
                }
                Err(error) => {
                    self.unusable.insert(key.key);
                    self.continuation = None;
                    job.faults.report(&error)?;
                    return Ok(PrefixAnswer::miss(chain(&error)));
                }
            }
        }
        Ok(none)
    }

    /// Prepares a build that continues from the prefix in `entry`, and loads the prefix. Returns the reason if the
    /// build cannot continue from it, and the number of bytes that were loaded.
    async fn load(
        &mut self,
        job: &Job<'_>,
        (keys, key): (&BuildKeys, &PrefixKey),
        tier: &ArchiveTier,
        entry: &Entry,
        name: &ImageRef,
        meter: &Arc<Meter>,
    ) -> Result<(Result<(), String>, u64), LoadError> {
        let (id, config) = tier.config(entry).await?;
        let base = base(name.familiar(), config.settings, entry.manifest.subject.oldest, Some(id));
        if let Err(reason) = self.continue_from(job, keys, key, base, true) {
            return Ok((Err(reason), 0));
        }
        let loaded = tier.load(entry, std::slice::from_ref(name), meter).await?;
        // If these notes cannot be written, the image stays in the engine.
        drop(job.note_loaded(&name.familiar()).await);
        Ok((Ok(()), loaded.bytes))
    }

    /// Archives the prefixes of the image in `entry` that the store lacks, unless the build uses a registry for
    /// prefixes.
    pub(super) async fn archive(
        &self,
        job: &Job<'_>,
        keys: &BuildKeys,
        lookup: &Lookup,
        entry: &Entry,
    ) -> Result<()> {
        if !job.build.tiers.prefix
            || job.prefix_repository().is_some()
            || job.no_prefixes_reason(keys, lookup).is_some()
            || lookup.losing.prefix.is_some()
        {
            return Ok(());
        }
        let Some(tier) = job.archive_tier().await?.map(ArchiveTier::for_prefixes) else { return Ok(()) };
        let platform = keys.sole_platform().unwrap_or_default();
        let replaces = lookup.replaces_images(job);
        let mut is_added = false;
        for key in keys.keys.prefixes.iter().flatten().filter(|key| self.has_made(key)) {
            let is_replaced = replaces || self.unusable.contains(&key.key);
            if !is_replaced && tier.contains(key.key, platform).await {
                continue;
            }
            let archiving = Box::pin(self.archive_one(job, (keys, key), &tier, entry));
            let archived = job.run_until_interrupt(timeout(DEADLINE, archiving)).await?;
            let archived = archived.unwrap_or(Err(UnsavedReason::TimedOut(DEADLINE)));
            match archived.map_err(|reason| UnsavedPrefix::new(key, "archived", reason)) {
                Ok(faults) => faults.iter().try_for_each(|fault| job.faults.report(fault))?,
                Err(error) if error.is_base_unsupported() => {
                    job.reporter.note(&format!("{}\n", chain(&error)));
                    break;
                }
                Err(error) => {
                    job.faults.report(&error)?;
                    break;
                }
            }
            is_added = true;
        }
        if is_added { job.maintain_store() } else { Ok(()) }
    }

    /// Archives a prefix. Returns the faults of the store that did not prevent that.
    async fn archive_one(
        &self,
        job: &Job<'_>,
        (keys, key): (&BuildKeys, &PrefixKey),
        tier: &ArchiveTier,
        entry: &Entry,
    ) -> Result<Vec<StoreError>, UnsavedReason> {
        let cut = job.cut_image((keys, key), self).await?;
        let mark = PrefixMark::new(key.key.digest(), Timestamp::now());
        let subject = Subject { title: format!("prefix of {}", job.title()), ..Subject::default() };
        let compose =
            move |manifest: &[u8], config: &[u8]| PrefixDocuments::compose(manifest, config, cut, mark);
        Ok(tier.save_prefix(key.key, entry, subject, compose).await?.saved.faults)
    }
}

impl Job<'_> {
    /// Returns `false` if the store has no prefix of the image. A remote is not queried.
    pub(super) async fn may_have_stored_prefix(&self, keys: &BuildKeys) -> Result<bool> {
        if !self.build.tiers.archive || self.faults.is_cache_unusable() {
            return Ok(false);
        }
        if self.settings.store.remote.is_some() {
            return Ok(true);
        }
        let (Some(tier), Some(platform)) =
            (self.archive_tier().await?.map(ArchiveTier::for_prefixes), keys.sole_platform())
        else {
            return Ok(false);
        };
        for key in keys.keys.prefixes.iter().flatten() {
            if tier.contains(key.key, platform).await {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns `true` unless the image was loaded into the engine and has been removed since.
    pub(super) async fn has_loaded_base(&self, base: &PrefixBase) -> bool {
        let (Some(id), Some(engine)) = (&base.id, self.engine()) else { return true };
        let image = engine.image(&base.name).await.ok().flatten();
        if self.build.source.pull || image.is_none_or(|image| image.id != *id) {
            return false;
        }
        // If these notes cannot be written, the image stays in the engine.
        drop(self.note_loaded(&base.name).await);
        true
    }

    /// Records that a loaded prefix is used, and removes the names of prefixes that have not been used for a long time.
    async fn note_loaded(&self, name: &str) -> Result<()> {
        let mut forgotten = Vec::new();
        self.note_builder(|entry| forgotten = entry.note_loaded(name, Timestamp::now())).await?;
        let Some(engine) = self.engine() else { return Ok(()) };
        for name in forgotten.iter().filter_map(|name| name.parse().ok()) {
            drop(engine.remove_name(&name).await);
        }
        Ok(())
    }
}
