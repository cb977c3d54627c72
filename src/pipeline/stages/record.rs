//! The last stage: writes the record of a build to the ledger and to result files, and reports the summary.

use std::path::Path;

use jiff::Timestamp;

use super::cache_hit::CacheHit;
use super::graft::GraftedImage;
use super::image_build::ImageBuild;
use super::job::Job;
use super::keyed::Keyed;
use super::lookup::{BuilderState, Lookup};
use super::result_file;
use super::shared_builds::FoundBuilds;
use super::steps::unneeded_steps;
use crate::error_chain::chain;
use crate::ledger::{
    self, BuildOutcome, BuildRecord, History, LanesRecord, Phase, RemoteRecord, StepCountsRecord, appraise,
};
use crate::pipeline::confidential::storable_message;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::reporter::BuildEvent;
use crate::plan::JobLanes;
use crate::registry::ImageRef;
use crate::store::{Entry, Lane};
use crate::tiers::{ArchiveTier, EngineTier, ImageTier};

/// Writes the record of a build whose base image failed, unless the build could not start.
pub(crate) fn record_failed_base(path: &Path, error: &PipelineError) -> Result<()> {
    if error.is_before_build() {
        return Ok(());
    }
    let mut record = BuildRecord::started(Timestamp::now());
    record.outcome = outcome_of(error);
    record.error = Some(storable_message(&chain(error), true));
    write_json(path, &record)
}

fn write_json(path: &Path, record: &BuildRecord) -> Result<()> {
    let json = serde_json::to_vec_pretty(record).map_err(|error| PipelineError::Resource(chain(&error)))?;
    result_file::write(path, &json)
}

fn outcome_of(error: &PipelineError) -> BuildOutcome {
    if error.is_interrupt() { BuildOutcome::Interrupted } else { BuildOutcome::Failed }
}

fn lanes_record(job: &JobLanes) -> LanesRecord {
    LanesRecord {
        own: job.lanes.own().to_string(),
        own_from: job.own_from.to_owned(),
        trunk: job.lanes.trunk().iter().map(Lane::to_string).collect(),
        trunk_from: job.trunk_from.to_owned(),
    }
}

pub(super) enum ImageOrigin {
    /// The build ended without an image.
    None,
    CacheHit(Box<CacheHit>),
    /// The image was made on a prefix, without a builder.
    Grafted(Box<GraftedImage>),
    Built(Box<ImageBuild>),
}

pub(super) struct FinishedBuild {
    pub(super) keyed: Option<Keyed>,
    pub(super) lookup: Lookup,
    pub(super) origin: ImageOrigin,
    pub(super) found_builds: FoundBuilds,
    pub(super) end: Result<()>,
}

impl FinishedBuild {
    pub(super) fn names(&self, job: &Job<'_>) -> Vec<ImageRef> {
        match &self.origin {
            ImageOrigin::Built(made) => made.names.clone().unwrap_or_else(|| job.build.tags.clone()),
            _ => job.build.tags.clone(),
        }
    }

    pub(super) fn take_entry(&mut self) -> Option<Entry> {
        match &mut self.origin {
            ImageOrigin::None | ImageOrigin::Grafted(_) => None,
            ImageOrigin::CacheHit(hit) => hit.archived.entry.take(),
            ImageOrigin::Built(made) => made.archived.entry.take(),
        }
    }

    /// Assembles the record of the build, including its worth according to the ledger.
    pub(super) fn record(&self, job: &Job<'_>) -> BuildRecord {
        let mut record = BuildRecord::started(job.phases.started);
        record.job.clone_from(&job.settings.ci);
        record.changes.clone_from(&self.lookup.changes);
        let builder = self.lookup.builder;
        record.was_builder_empty = builder.map(|state| matches!(state, BuilderState::Empty));
        record.base.clone_from(&job.purpose.base);
        record.lanes = Some(lanes_record(&job.settings.lanes));
        record.repositories = job.identity().repositories();
        record.names = self.names(job).iter().map(ImageRef::familiar).collect();
        record.remote = job.session.remote_fault().map(|(place, fault)| RemoteRecord { place, fault });
        record.tiers.clone_from(&self.lookup.tiers);
        let keys = self.keyed.as_ref().and_then(Keyed::keys);
        record.image_key = keys.map(|keys| keys.keys.image);
        record.dependency_key = keys.map(|keys| keys.keys.dependency);
        record.no_key = self.keyed.as_ref().and_then(Keyed::unknown_reason);
        match &self.origin {
            ImageOrigin::None => {}
            ImageOrigin::CacheHit(hit) => {
                let CacheHit { hit, archived, exported_layers } = &**hit;
                let total = keys.map_or(0, |keys| keys.steps);
                record.steps = StepCountsRecord { total, cached: total, imported: 0 };
                record.step_list = keys.map_or_else(Vec::new, |keys| {
                    unneeded_steps(&keys.resolution, |stage, line| match builder {
                        // The builder of an image that is in the engine has its steps.
                        _ if hit.tier == EngineTier::NAME => Some(None),
                        Some(builder) => Some(builder.tier_of_step((stage, line), hit.tier)),
                        None => Some(Some(hit.tier)),
                    })
                });
                record.outcome = BuildOutcome::ImageHit;
                record.hit_tier = Some(hit.tier.to_owned());
                record.image_id = Some(hit.id.clone());
                let digest =
                    hit.digest.clone().map(|digest| ("containerimage.digest".to_owned(), digest.into()));
                record.more = digest.into_iter().collect();
                record.kept.clone_from(&archived.record);
                record.kept_layers.clone_from(&exported_layers.record);
            }
            ImageOrigin::Grafted(grafted) => {
                let GraftedImage { tier, id, config, manifest, steps, step_list } = &**grafted;
                record.step_list.clone_from(step_list);
                record.tiers.push(tier.clone());
                record.steps = *steps;
                record.outcome = BuildOutcome::Built;
                record.image_id = Some(id.clone());
                let digests = [("containerimage.digest", manifest), ("containerimage.config.digest", config)];
                let digests = digests.map(|(name, digest)| (name.to_owned(), digest.to_string().into()));
                record.more = digests.into_iter().collect();
            }
            ImageOrigin::Built(made) => {
                let ImageBuild {
                    prefixes, restored, solved, saved_mounts, archived, exported_layers, ..
                } = &**made;
                let (mounts, of_mounts) = saved_mounts.records(restored);
                let of_layers = solved.tier.clone().map(|mut tier| {
                    tier.reason.extend(exported_layers.fault.iter().map(|fault| format!("; {fault}")));
                    tier.failed |= exported_layers.fault.is_some();
                    tier.saving_millis = exported_layers.record.as_ref().map_or(0, |record| record.millis);
                    tier
                });
                let of_prefix = prefixes.tier.clone().map(|mut tier| {
                    if prefixes.continuation.is_some() {
                        tier.bytes += solved.prefix_bytes;
                        // The layers of the prefix were fetched during the solve.
                        let import = solved.times.map_or(0, |times| times.import_millis);
                        tier.millis +=
                            import.saturating_sub(of_layers.as_ref().map_or(0, |tier| tier.millis));
                    }
                    tier
                });
                record.tiers.extend(of_prefix.into_iter().chain(of_mounts).chain(of_layers));
                record.mounts = mounts;
                record.steps = solved.steps;
                record.step_list.clone_from(&solved.step_list);
                let before = (record.was_builder_empty == Some(true), record.started);
                saved_mounts.mark_steps(restored, before, &mut record.step_list);
                record.solve = solved.times;
                record.outcome = BuildOutcome::Built;
                record.image_id = solved.image_id().map(str::to_owned);
                record.more = solved.exporter_answers();
                record.kept.clone_from(&archived.record);
                record.kept_layers.clone_from(&exported_layers.record);
            }
        }
        if let Err(error) = &self.end {
            record.outcome = outcome_of(error);
            let may_quote_args = error.quotes_engine() && job.has_build_args();
            record.error = Some(storable_message(&chain(error), may_quote_args));
        }
        if record.kept.is_some() || record.tiers.iter().any(|tier| tier.saved_bytes > 0) {
            // Saving has listed the files as well, so that this takes little time in comparison.
            record.stored_bytes = job.notes.bytes().ok();
        }
        record.phases = job.phases.records();
        let archiving = record.millis_of_only(Phase::Archive);
        if let Some(tier) = record.tiers.iter_mut().find(|tier| tier.tier == ArchiveTier::NAME) {
            tier.saving_millis = archiving;
        }
        record.millis = job.phases.millis();
        let is_named = !record.repositories.is_empty();
        let builds = job.earlier_builds(|build| is_named && build.repositories == record.repositories);
        appraise(&mut record, &History::of(&builds), job.wants_push());
        record
    }
}

pub(super) fn write(record: &BuildRecord, job: &Job<'_>, end: &Result<()>) -> Result<()> {
    if end.as_ref().is_err_and(PipelineError::is_before_build) {
        // Such a build is not counted.
        return Ok(());
    }
    if !job.notes.is_read_only() {
        let path = job.notes.ledger_path();
        let written = job.notes.prepare(&path).map_err(|error| Box::new(error) as Box<dyn std::error::Error>);
        let written = written.and_then(|()| ledger::append(&path, record).map_err(Into::into));
        if let Err(error) = written {
            job.faults.report(error.as_ref())?;
        }
    }
    job.reporter.report(&BuildEvent::Ended(record));
    if let Some(path) = &job.build.metadata_file {
        write_json(path, record)?;
        job.note_result(path)?;
    }
    if let (Some(path), Some(id)) = (&job.build.iid_file, &record.image_id) {
        result_file::write(path, id.as_bytes())?;
        job.note_result(path)?;
    }
    Ok(())
}
