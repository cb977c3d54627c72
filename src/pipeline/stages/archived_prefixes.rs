//! Prefixes in the store: they are archived with their image, and builds without a registry continue from them.
//!
//! The store has the layers of the image already, so that an entry of a prefix adds a config and a list of chunks. A prefix
//! that is loaded into the engine stays there under a name, until a build of the same image loads another one.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::cut_image::CutError;
use super::job::Job;
use super::lookup::Lookup;
use super::prefix::{Looked, Prefixes, base, is_too_old};
use crate::error_chain::chain;
use crate::images::SavePrefixError;
use crate::key::PrefixKey;
use crate::notes::{LoadedPrefix, PrefixBase};
use crate::pipeline::error::PipelineError;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::transfers::transfer;
use crate::registry::{ImageRef, PrefixDocuments, PrefixError, PrefixMark};
use crate::store::{Entry, Meter, StoreError, Subject};
use crate::tiers::{Accepted, ArchiveTier, ImageTier, Wanted};

/// The repository of the names that loaded prefixes have in the engine.
const LOADED: &str = "larder-prefix";
/// How long archiving the prefixes of an image may take.
const DEADLINE: Duration = Duration::from_mins(1);

#[derive(Debug, thiserror::Error)]
#[error("the layers up to {place} are not archived")]
struct Unarchived {
    place: String,
    #[source]
    error: ArchivePrefixError,
}

#[derive(Debug, thiserror::Error)]
enum ArchivePrefixError {
    #[error(transparent)]
    Cut(#[from] CutError),
    #[error(transparent)]
    Save(#[from] SavePrefixError),
    #[error("that took longer than {0:?}")]
    Late(Duration),
}

impl Prefixes {
    /// Loads the deepest prefix that the store has into the engine.
    pub(super) async fn in_store(
        &mut self,
        job: &Job<'_>,
        keys: &BuildKeys,
    ) -> Result<Looked, PipelineError> {
        let none = Looked::miss("the store has no prefix of this image");
        // With --pull, BuildKit would look for the loaded image in a registry.
        if !job.build.tiers.archive || job.build.source.pull || job.faults.is_cache_down() {
            return Ok(none);
        }
        let Some(mut tier) = job.archive_tier().await?.map(ArchiveTier::of_prefixes) else { return Ok(none) };
        let accepted = Accepted { since: job.youngest(), ..Accepted::default() };
        for key in keys.keys.prefixes.iter().flatten() {
            let Ok(name) = format!("{LOADED}:{}", key.key.digest().hex()).parse::<ImageRef>() else {
                continue;
            };
            let names = [name.clone()];
            let wanted =
                Wanted { key: key.key, platforms: &keys.platforms, names: &names, accepted: &accepted };
            let meter = Arc::new(Meter::default());
            let taking = tier.take(&wanted, &meter);
            let loading = transfer("loading the prefix", taking, &meter, job.session, job.reporter);
            let mut answer = Box::pin(loading).await?;
            answer.faults.iter().try_for_each(|fault| job.faults.report(fault.as_ref()))?;
            self.are_too_old |= answer.is_too_old;
            let Some(image) = answer.found.take().and_then(|hit| hit.image) else {
                if !answer.faults.is_empty() {
                    self.broken = Some(key.key);
                }
                continue;
            };
            if is_too_old(job, image.created) {
                self.are_too_old = true;
                job.unload(&[name.familiar()]).await;
                continue;
            }
            let of = job.build.tags.first().map(ImageRef::repository).unwrap_or_default();
            let loaded = Some(LoadedPrefix { id: image.id, of });
            let base = base(name.familiar(), image.config.settings, image.created, loaded);
            let reason = format!("the store has the layers up to {}", key.place());
            let looked = Looked::of(self.continue_from(job, keys, key, base, true), reason);
            if self.continued.is_none() {
                job.unload(&[name.familiar()]).await;
            }
            return Ok(Looked { bytes: answer.bytes, ..looked });
        }
        Ok(none)
    }

    /// Archives the prefixes of the image in `entry` that the store lacks, if the build uses no registry for them.
    ///
    /// # Errors
    ///
    /// Fails with a builder or a store at fault under `--strict`, or when the user interrupts.
    pub(super) async fn archive(
        &self,
        job: &Job<'_>,
        keys: &BuildKeys,
        lookup: &Lookup,
        entry: &Entry,
    ) -> Result<(), PipelineError> {
        if !job.build.tiers.prefix || job.prefix_place().is_some() || job.no_prefixes(keys, lookup).is_some()
        {
            return Ok(());
        }
        let Some(tier) = job.archive_tier().await?.map(ArchiveTier::of_prefixes) else { return Ok(()) };
        let platform = keys.sole_platform().unwrap_or_default();
        let replaces = lookup.replaces_images(job);
        let mut is_added = false;
        for key in keys.keys.prefixes.iter().flatten().filter(|key| self.makes(key)) {
            if !(replaces || self.replaces(key.key)) && tier.has(key.key, platform).await {
                continue;
            }
            let archiving = Box::pin(self.archive_one(job, (keys, key), &tier, entry));
            let archived = job.session.interrupts().bound(tokio::time::timeout(DEADLINE, archiving)).await?;
            match archived.unwrap_or(Err(ArchivePrefixError::Late(DEADLINE))) {
                Ok(faults) => faults.iter().try_for_each(|fault| job.faults.report(fault))?,
                Err(
                    error @ ArchivePrefixError::Save(SavePrefixError::Prefix(PrefixError::UnknownLayers)),
                ) => {
                    job.reporter.note(&format!("{}\n", chain(&Unarchived { place: key.place(), error })));
                    break;
                }
                Err(error) => return job.faults.report(&Unarchived { place: key.place(), error }),
            }
            is_added = true;
        }
        if is_added { job.settle_store() } else { Ok(()) }
    }

    /// Archives a prefix, and returns faults of the store that did not prevent that.
    async fn archive_one(
        &self,
        job: &Job<'_>,
        (keys, key): (&BuildKeys, &PrefixKey),
        tier: &ArchiveTier,
        entry: &Entry,
    ) -> Result<Vec<StoreError>, ArchivePrefixError> {
        let cut = job.cut_image((keys, key), self).await?;
        let mark = PrefixMark { key: key.key.digest(), published: Timestamp::now() };
        let name = job.build.tags.first().map_or_else(String::new, ImageRef::familiar);
        let subject = Subject { title: format!("{name} up to {}", key.place()), ..Subject::default() };
        let compose =
            move |manifest: &[u8], config: &[u8]| PrefixDocuments::compose(manifest, config, cut, mark);
        Ok(tier.save_prefix(key.key, entry, subject, compose).await?.saved.faults)
    }
}

impl Job<'_> {
    /// Returns `true` unless the image was loaded into the engine and is no longer there.
    pub(super) async fn still_has(&self, base: &PrefixBase) -> bool {
        let (Some(loaded), Some(engine)) = (&base.loaded, self.engine()) else { return true };
        let image = engine.image(&base.name).await.ok().flatten();
        !self.build.source.pull && image.is_some_and(|image| image.id == loaded.id)
    }

    /// Removes names of loaded prefixes. If that fails, the engine keeps the images.
    pub(super) async fn unload(&self, names: &[String]) {
        let Some(engine) = self.engine() else { return };
        for name in names.iter().filter_map(|name| name.parse().ok()) {
            drop(engine.remove_name(&name).await);
        }
    }
}
