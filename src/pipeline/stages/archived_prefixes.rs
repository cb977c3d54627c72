//! The stage that archives prefixes of an image that was archived, from which builds without a registry continue.
//!
//! The store has their layers already, so that an entry of a prefix costs no more than its list of chunks.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::job::Job;
use super::lookup::Lookup;
use super::prefix::Prefixes;
use super::published_prefixes::PublishError;
use crate::engine::EngineError;
use crate::key::PrefixKey;
use crate::pipeline::error::PipelineError;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::transfers::transfer;
use crate::registry::PrefixError;
use crate::store::{Meter, StoreError, Subject};
use crate::tiers::{ArchiveError, ArchiveTier};

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
    Image(#[from] PublishError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl Prefixes {
    /// Archives the prefixes of an image that was archived, unless the store has them.
    ///
    /// # Errors
    ///
    /// Fails with a builder or a store at fault under `--strict`, or when the user interrupts.
    pub(super) async fn archive(
        &self,
        job: &Job<'_>,
        keys: &BuildKeys,
        lookup: &Lookup,
    ) -> Result<(), PipelineError> {
        let (Some(tier), None) = (job.archive_tier().await?, job.no_prefixes(keys, lookup)) else {
            return Ok(());
        };
        if !job.build.tiers.prefix {
            return Ok(());
        }
        let replaces = lookup.replaces_images(job);
        let platform = keys.sole_platform().unwrap_or_default();
        for key in keys.keys.prefixes.iter().flatten().filter(|key| self.makes(key)) {
            if !replaces && tier.has(key.key, platform).await {
                continue;
            }
            let meter = Arc::new(Meter::default());
            let archiving = Box::pin(self.archive_one(job, keys, key, &tier, &meter));
            let archived =
                transfer("keeping the prefix", archiving, &meter, job.session, job.reporter).await?;
            match archived {
                Ok(faults) => faults.iter().try_for_each(|fault| job.faults.report(fault))?,
                Err(error) => return job.faults.report(&Unarchived { place: key.place(), error }),
            }
        }
        Ok(())
    }

    /// Archives a prefix, and returns faults of the store that did not prevent it.
    async fn archive_one(
        &self,
        job: &Job<'_>,
        keys: &BuildKeys,
        key: &PrefixKey,
        tier: &ArchiveTier,
        meter: &Arc<Meter>,
    ) -> Result<Vec<StoreError>, ArchivePrefixError> {
        let Some(engine) = job.engine() else { return Ok(Vec::new()) };
        let platform = keys.sole_platform().unwrap_or_default();
        let id = job.make_cut_image((keys, key), self, "", &CancellationToken::new()).await?;
        let image = engine.image(&id).await?.ok_or(PublishError::from(PrefixError::Unusable))?;
        let name = job.build.tags.first().map(crate::registry::ImageRef::familiar).unwrap_or_default();
        let subject = Subject { title: format!("{name} up to {}", key.place()), ..Subject::default() };
        let saved = tier.save(key.key, platform, &image, subject, false, meter).await;
        if image.names.is_empty() {
            // An image that cannot be removed has no layers of its own.
            drop(engine.remove_image(&id).await);
        }
        Ok(saved?.saved.faults)
    }
}
