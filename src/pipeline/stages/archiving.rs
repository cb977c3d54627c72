//! Whole images: archived in the store while other things are done.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::Purpose;
use super::job::Job;
use super::lookup::Lookup;
use crate::engine::Image;
use crate::images::SavedImage;
use crate::key::{CacheKey, Input, InputKind};
use crate::ledger::{self, KeptRecord, millis};
use crate::pipeline::error::PipelineError;
use crate::pipeline::explain::key_inputs;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::reporter::Event;
use crate::pipeline::session::store::{keep_within, send_unsent};
use crate::pipeline::transfers::transfer;
use crate::registry::ImageRef;
use crate::store::{Entry, Meter, Subject};
use crate::tiers::{ArchiveDecision, ArchiveError, ArchivePolicy, ArchiveRequest, ArchiveTier};

/// Inputs that an entry names one by one; where there are more, its files are left out: every look at the store reads them.
const MOST_INPUTS: usize = 500;

/// An image that is being kept while other things are done.
pub(super) struct Keeping {
    key: CacheKey,
    task: JoinHandle<Result<SavedImage, ArchiveError>>,
    meter: Arc<Meter>,
    started: Instant,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        // Who does not wait for it does not want it.
        self.meter.stop();
    }
}

impl Job<'_> {
    /// The store's whole images, for an engine that has any.
    pub(super) async fn archive_tier(&self) -> Result<Option<ArchiveTier>, PipelineError> {
        let Some(engine) = self.engine().cloned() else { return Ok(None) };
        let (images, deadline) = (self.connection.image_store().await?, self.build.tiers.archive_timeout);
        Ok(Some(ArchiveTier::new(self.session.store()?, engine, images, deadline)))
    }

    /// Returns `true` if archiving the image of these keys was begun and did not end.
    pub(super) fn was_archiving(&self, keys: &BuildKeys) -> bool {
        // What cannot be read was reported when the engine's image was looked for.
        self.notes.image(keys.keys.image).ok().flatten().is_some_and(|entry| entry.archiving)
    }

    /// Returns `true` if `--enable-cache` was typed and the store has no image of these keys.
    pub(super) async fn lacks_archive(&self, keys: &BuildKeys) -> Result<bool, PipelineError> {
        if self.build.tiers.archive_request != ArchiveRequest::Typed
            || !self.build.tiers.archive
            || self.faults.is_cache_down()
        {
            return Ok(false);
        }
        let (Some(tier), Some(platform)) = (self.archive_tier().await?, keys.sole_platform()) else {
            return Ok(false);
        };
        Ok(!tier.has(keys.keys.image, platform).await)
    }

    /// What decides whether images are archived, for one that a registry has under its key or has not.
    pub(super) fn archive_policy(&self, is_in_registry: bool) -> ArchivePolicy {
        ArchivePolicy {
            request: self.build.tiers.archive_request,
            has_remote: self.settings.store.remote.is_some(),
            is_for_several_engines: self.purpose.nodes.is_some(),
            needs_signature: self.settings.store.terms.trust.is_strict(),
            is_in_registry,
            replaces_archived: false,
        }
    }

    /// Starts archiving the image `id` of these keys, unless it is better left.
    pub(super) async fn keep_built(
        &self,
        (keys, id): (&BuildKeys, &str),
        lookup: &Lookup,
        is_in_registry: bool,
    ) -> Result<Option<Keeping>, PipelineError> {
        let (Some(engine), Some(platform)) = (self.engine(), keys.sole_platform()) else { return Ok(None) };
        if !self.build.tiers.archive || self.faults.is_cache_down() {
            return Ok(None);
        }
        let replaces_archived = lookup.replaces_images(self)
            && match self.archive_tier().await? {
                Some(tier) => tier.has(keys.keys.image, platform).await,
                None => false,
            };
        if !self.should_archive(ArchivePolicy { replaces_archived, ..self.archive_policy(is_in_registry) }) {
            return Ok(None);
        }
        match engine.image(id).await {
            Ok(Some(image)) => self.keep(image, keys, lookup).await,
            // It was removed as soon as it was there.
            Ok(None) => Ok(None),
            Err(error) => {
                self.faults.report(&error)?;
                Ok(None)
            }
        }
    }

    /// Begins to keep an image, where that is allowed.
    pub(super) async fn keep(
        &self,
        image: Image,
        keys: &BuildKeys,
        lookup: &Lookup,
    ) -> Result<Option<Keeping>, PipelineError> {
        let Some(platform) = keys.sole_platform().map(str::to_owned) else { return Ok(None) };
        if self.settings.saves_nothing().is_some() {
            return Ok(None);
        }
        let Some(tier) = self.archive_tier().await? else { return Ok(None) };
        let subject = self.subject(&keys.published(&self.settings.seal).await);
        let key = keys.keys.image;
        // What cannot be loaded is not to be taken over.
        let anew = lookup.is_unloadable;
        self.notes.note_archiving(key, true).or_else(|fault| self.faults.report_notes(&fault))?;
        let meter = Arc::new(Meter::default());
        let counter = Arc::clone(&meter);
        let keep = async move { tier.save(key, &platform, &image, subject, anew, &counter).await };
        Ok(Some(Keeping { key, task: tokio::spawn(keep), meter, started: Instant::now() }))
    }

    /// Returns `true` if the image is to be archived; one that is not, although it was requested, is reported.
    pub(super) fn should_archive(&self, policy: ArchivePolicy) -> bool {
        // A ledger that cannot be read is reported when the build is written to it.
        let builds = || ledger::last_builds(&self.notes.ledger_path()).unwrap_or_default();
        let decision = policy.decide(builds);
        if decision == ArchiveDecision::Unused {
            self.reporter.note(
                "the image is not archived: none of the last images archived here was used again (--enable-cache archives it)\n",
            );
        }
        decision == ArchiveDecision::Archive
    }

    /// What the image's entry is called.
    pub(super) fn subject(&self, inputs: &[Input]) -> Subject {
        let mut names = self.build.tags.iter().map(ImageRef::familiar);
        let title = names.next().unwrap_or_else(|| "an image without a name".to_owned());
        let tags = names.chain(self.build.source.key_tags.iter().cloned()).collect();
        let mut inputs = key_inputs(inputs);
        if inputs.len() > MOST_INPUTS {
            let file = InputKind::File.name();
            inputs.retain(|input| input.kind != file);
        }
        let Purpose { run, nodes, .. } = self.purpose.clone();
        let run = run.filter(|run| !run.flags.is_empty() || !run.command.is_empty());
        Subject { title, tags, nodes, run, inputs, ..Subject::default() }
    }
}

/// What archiving an image came to.
#[derive(Default)]
pub(super) struct Archived {
    pub(super) record: Option<KeptRecord>,
    /// The entry that holds the image.
    pub(super) entry: Option<Entry>,
}

impl Archived {
    /// Finds the entry of an image that the engine has, or makes it.
    ///
    /// # Errors
    ///
    /// Fails with a cache at fault under `--strict`, or when the user interrupts.
    pub(super) async fn find(
        &mut self,
        job: &Job<'_>,
        image: &Image,
        keys: &BuildKeys,
        lookup: &Lookup,
    ) -> Result<(), PipelineError> {
        let (Some(tier), Some(platform)) = (job.archive_tier().await?, keys.sole_platform()) else {
            return Ok(());
        };
        self.entry = tier.entry_of(keys.keys.image, platform, image).await;
        if self.entry.is_none() {
            let keeping = job.keep(image.clone(), keys, lookup).await?;
            self.finish(job, keeping).await?;
        }
        Ok(())
    }

    /// Waits until the image is kept.
    ///
    /// # Errors
    ///
    /// Fails with a cache at fault under `--strict`, or when the user interrupts.
    pub(super) async fn finish(
        &mut self,
        job: &Job<'_>,
        keeping: Option<Keeping>,
    ) -> Result<(), PipelineError> {
        let Some(mut keeping) = keeping else { return Ok(()) };
        let meter = Arc::clone(&keeping.meter);
        let kept =
            transfer("keeping the image", &mut keeping.task, &meter, job.session, job.reporter).await?;
        job.notes.note_archiving(keeping.key, false).or_else(|fault| job.faults.report_notes(&fault))?;
        let kept = match kept {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => return job.faults.report(&error),
            Err(error) => return job.faults.report(&error),
        };
        let record = KeptRecord {
            entry: kept.saved.entry.short_id(),
            bytes: kept.bytes,
            added_bytes: kept.saved.added_bytes,
            millis: millis(keeping.started.elapsed()),
        };
        job.reporter.report(&Event::Archived(&record));
        self.record = Some(record);
        self.entry = Some(kept.saved.entry);
        let mut faults = kept.saved.faults;
        faults.extend(send_unsent(&job.session.store()?, job.reporter));
        faults.extend(keep_within(&job.session.store()?, &job.settings.store, job.reporter));
        faults.iter().try_for_each(|fault| job.faults.report(fault))
    }
}
