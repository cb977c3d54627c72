//! The stage of a build whose image was found in a tier: records the hit, and pushes or archives the image.

use jiff::Timestamp;

use super::archiving::ArchiveOutcome;
use super::job::Job;
use super::keyed::Keyed;
use super::layer_export::{ExportedLayers, LayerExport};
use super::lookup::Lookup;
use crate::ledger::Phase;
use crate::pipeline::error::Result;
use crate::pipeline::keys::BuildKeys;
use crate::store::EntryKind;
use crate::tiers::{ArchiveTier, EngineTier, Hit, ImageTier, RegistryTier};

pub(super) struct CacheHit {
    pub(super) hit: Hit,
    pub(super) archived: ArchiveOutcome,
    pub(super) exported_layers: ExportedLayers,
}

impl CacheHit {
    pub(super) fn new(mut hit: Hit) -> Self {
        let archived = ArchiveOutcome { entry: hit.entry.take(), record: None };
        Self { hit, archived, exported_layers: ExportedLayers::default() }
    }

    /// Records the hit. Pushes the image to registries and archives it where it is missing.
    pub(super) async fn finish(&mut self, job: &Job<'_>, keyed: &Keyed, lookup: &Lookup) -> Result<()> {
        let Some(keys) = keyed.keys() else { return Ok(()) };
        let noted = job.identity().record_hit(
            &job.notes,
            &keys.keys,
            self.hit.age.map(|age| age.built),
            Timestamp::now(),
        );
        noted.or_else(|fault| job.faults.report_notes(&fault))?;
        if let (Some(image), Some(platform)) = (&self.hit.image, keys.sole_platform())
            && self.hit.tier != ArchiveTier::NAME
            && job.build.tiers.archive
            && !job.faults.is_cache_unusable()
        {
            // Mark the archived copy as used, so that it is not evicted first.
            let touched =
                job.session.store()?.touch_local(EntryKind::Image, platform, keys.keys.image.digest());
            touched.or_else(|fault| job.faults.report(&fault))?;
            if job.purpose.nodes.is_some() {
                self.archived.find(job, image, keys, lookup).await?;
            }
        }
        let needs_archive = self.hit.tier == EngineTier::NAME
            && (job.was_archiving_interrupted(keys) || job.lacks_archive(keys).await?);
        let archiving = if needs_archive {
            job.archive_built((keys, &self.hit.id), lookup, job.will_be_in_registry()).await?
        } else {
            None
        };
        self.push(job, keyed, keys, lookup).await?;
        self.archived.finish(job, archiving).await
    }

    async fn push(&mut self, job: &Job<'_>, keyed: &Keyed, keys: &BuildKeys, lookup: &Lookup) -> Result<()> {
        let Hit { id, tier, is_named, .. } = &self.hit;
        if *tier == RegistryTier::NAME || !job.wants_push() {
            return Ok(());
        }
        if !is_named {
            job.push(None).await?;
            if !lookup.is_registry_unreachable {
                job.publish(keys, id).await?;
            }
        }
        if job.losing_tiers().await.layers.is_none() && job.builder_has_layers_of(id).await {
            let layers = job.find_layer_caches(keyed, lookup).await?;
            if !layers.is_unreachable {
                let of = LayerExport { image: Some(id), steps: &[], layers: &layers };
                let _exporting = job.phases.enter(Phase::Export);
                self.exported_layers.export(job, keyed, of).await?;
            }
        }
        Ok(())
    }
}
