//! The stages of a build whose image no tier has: restore, build, save, push and export.

use super::archiving::{ArchiveOutcome, ArchiveTask};
use super::job::Job;
use super::keyed::Keyed;
use super::layer_export::{ExportedLayers, LayerExport};
use super::lookup::Lookup;
use super::mounts::{Restored, SavedMounts};
use super::prefix::{PrefixLookup, UnusablePrefix};
use super::solved::Solved;
use crate::ledger::Phase;
use crate::notes::ImageAge;
use crate::pipeline::error::{PipelineError, Result};
use crate::registry::ImageRef;

#[derive(Default)]
pub(super) struct ImageBuild {
    pub(super) prefixes: PrefixLookup,
    pub(super) restored: Restored,
    pub(super) solved: Solved,
    pub(super) saved_mounts: SavedMounts,
    pub(super) archived: ArchiveOutcome,
    pub(super) exported_layers: ExportedLayers,
    /// The names of the image, if they differ from those in the settings.
    pub(super) names: Option<Vec<ImageRef>>,
}

#[derive(Default)]
struct RecordedImage {
    /// `true` if the inputs did not change during the build, so that the image belongs to its keys.
    is_of_key: bool,
    archiving: Option<ArchiveTask>,
}

impl ImageBuild {
    /// Restores what the builder lacks, builds the image, and saves the result. If this fails, `self` contains the
    /// outcomes of the stages before.
    pub(super) async fn run(&mut self, job: &Job<'_>, keyed: &Keyed, lookup: &Lookup) -> Result<()> {
        let looking = job.phases.enter(Phase::Layers);
        self.prefixes = PrefixLookup::look(job, keyed, lookup).await?;
        let expired = self.prefixes.has_expired.then(|| lookup.expired());
        let lookup = expired.as_ref().unwrap_or(lookup);
        // No cache has the steps after a prefix, because BuildKit does not identify them as those of the Dockerfile.
        let needs_layers =
            self.prefixes.continuation.as_ref().is_none_or(|continued| continued.reaches_stages);
        if needs_layers {
            self.solved.layers = job.find_layer_caches(keyed, lookup).await?;
        }
        drop(looking);
        let mut built = self.restore_and_solve(job, keyed, lookup).await;
        if let Ok(Some(fault)) = &built {
            self.prefixes.give_up(job, fault).await?;
            if !needs_layers {
                self.solved.layers = job.find_layer_caches(keyed, lookup).await?;
            }
            if fault.is_layer_fault {
                self.solved.layers.discard();
            }
            built = self.restore_and_solve(job, keyed, lookup).await;
        }
        let renamed = if built.is_ok() { job.with_unkeyed_name().await } else { None };
        self.names = renamed.as_ref().map(|job| job.build.tags.clone());
        let job = renamed.as_ref().unwrap_or(job);
        let built = match built {
            Ok(_) => job.give_names(self.solved.image_id()).await,
            Err(error) => Err(error),
        };
        let noted = if built.is_ok() {
            self.record_image(job, keyed, lookup).await
        } else {
            Ok(RecordedImage::default())
        };
        // Save the mounts after a failed build too: the next build can use the downloaded files.
        let saved = match &built {
            Err(error) if error.is_interrupt() => Ok(()),
            built => {
                let (restored, steps) = (&self.restored, &self.solved.mounting_steps);
                let _saving = job.phases.enter(Phase::Save);
                self.saved_mounts.save(job, keyed, restored, steps, built.is_err()).await
            }
        };
        let noted = noted?;
        built?;
        let (is_published, pushed) = self.push(job, keyed, lookup, noted.is_of_key).await;
        match pushed {
            Err(error) if error.is_interrupt() => Err(error),
            pushed => {
                self.finish_archiving(job, keyed, lookup, noted, is_published).await?;
                pushed.and(saved)
            }
        }
    }

    /// Restores mounts and runs the build. Returns the fault of the prefix if the build could not continue from it.
    async fn restore_and_solve(
        &mut self,
        job: &Job<'_>,
        keyed: &Keyed,
        lookup: &Lookup,
    ) -> Result<Option<UnusablePrefix>> {
        let continued = self.prefixes.continuation.as_ref();
        // The deadline does not apply to this future: visits of mounts respect it themselves, so that they can clean
        // up.
        let restoring = job.phases.enter(Phase::Restore);
        self.restored.restore(job, keyed, lookup, &self.solved.layers, continued).await?;
        drop(restoring);
        if job.session.interrupts().is_pending() {
            return Err(PipelineError::Interrupted);
        }
        self.solved.solve(job, keyed, lookup, &self.restored, continued).await
    }

    /// Records the image under its keys if its inputs did not change, and starts to archive it.
    async fn record_image(&self, job: &Job<'_>, keyed: &Keyed, lookup: &Lookup) -> Result<RecordedImage> {
        let has_image = job.build.outputs.iter().any(|output| output.kind.is_image());
        let (Some(keys), Some(id), true) =
            (keyed.keys(), self.solved.image_id(), has_image && job.build.tiers.has_any())
        else {
            return Ok(RecordedImage::default());
        };
        if job.have_inputs_changed(keys, "built").await {
            return Ok(RecordedImage::default());
        }
        job.note_inputs(keys, lookup).await?;
        if job.engine().is_none() {
            return Ok(RecordedImage { is_of_key: true, archiving: None });
        }
        job.note_image(keys, id, Some(ImageAge::new(jiff::Timestamp::now(), self.prefixes.oldest())))?;
        self.prefixes.note_built(job, keys, lookup).await?;
        if self.prefixes.continuation.is_none() {
            job.note_layers(keys, id, !self.restored.carried.is_empty()).await?;
        }
        let archiving = job.archive_built((keys, id), lookup, job.will_be_in_registry()).await?;
        Ok(RecordedImage { is_of_key: true, archiving })
    }

    /// Pushes the image, tags it with its key, and exports its layers. The first value is `true` if it was tagged.
    async fn push(
        &mut self,
        job: &Job<'_>,
        keyed: &Keyed,
        lookup: &Lookup,
        is_of_key: bool,
    ) -> (bool, Result<()>) {
        let mut is_published = false;
        let pushing = async {
            if self.solved.should_push {
                job.push(self.prefixes.base().as_ref()).await?;
            }
            let is_unreachable = lookup.is_registry_unreachable || self.solved.layers.is_unreachable;
            if let (Some(keys), Some(id)) = (keyed.keys(), self.solved.image_id())
                && job.wants_push()
                && is_of_key
                && !is_unreachable
            {
                is_published = job.publish(keys, id).await?;
                if is_published {
                    let _exporting = job.phases.enter(Phase::Export);
                    self.prefixes.publish(job, keys, lookup).await?;
                }
            }
            // If inputs have changed, the layers do not belong to the keys. If the build continued from a prefix,
            // BuildKit does not identify its layers as those of the Dockerfile.
            let has_all = self.prefixes.continuation.is_none() && (keyed.keys().is_none() || is_of_key);
            if !is_unreachable && has_all {
                let Solved { step_list: steps, layers, .. } = &self.solved;
                let of = LayerExport { image: self.solved.image_id(), steps, layers };
                let _exporting = job.phases.enter(Phase::Export);
                self.exported_layers.export(job, keyed, of).await?;
            }
            Ok(())
        };
        let pushed = Box::pin(pushing).await;
        (is_published, pushed)
    }

    /// Waits until the image is archived. If the image was not archived because the registry should have it, but the
    /// registry has rejected it, archives it now.
    async fn finish_archiving(
        &mut self,
        job: &Job<'_>,
        keyed: &Keyed,
        lookup: &Lookup,
        RecordedImage { is_of_key, mut archiving }: RecordedImage,
        is_published: bool,
    ) -> Result<()> {
        if let (false, None, true, true, Some(keys), Some(id)) = (
            is_published,
            &archiving,
            is_of_key,
            job.will_be_in_registry(),
            keyed.keys(),
            self.solved.image_id(),
        ) {
            archiving = job.archive_built((keys, id), lookup, false).await?;
        }
        self.archived.finish(job, archiving).await?;
        match (keyed.keys(), &self.archived.entry) {
            (Some(keys), Some(entry)) => {
                let _exporting = job.phases.enter(Phase::Export);
                self.prefixes.archive(job, keys, lookup, entry).await
            }
            _ => Ok(()),
        }
    }
}
