//! Archives whole images in the store, concurrently with other work of the build.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::BuildPurpose;
use super::job::Job;
use super::lookup::Lookup;
use crate::engine::Image;
use crate::images::SavedImage;
use crate::key::{CacheKey, Input, InputKind};
use crate::ledger::{ArchivedImageRecord, Phase, millis};
use crate::pipeline::error::Result;
use crate::pipeline::explain::key_inputs;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::reporter::BuildEvent;
use crate::pipeline::session::store::{evict_beyond_limits, send_unsent};
use crate::pipeline::transfers::transfer;
use crate::registry::ImageRef;
use crate::store::{Entry, Meter, Subject};
use crate::tiers::{ArchiveError, ArchivePolicy, ArchiveRequest, ArchiveTier};

/// The maximum number of inputs in an entry. If there are more, the files are left out, because every lookup in the
/// store reads the inputs.
const MAX_INPUTS: usize = 500;

pub(super) struct ArchiveTask {
    key: CacheKey,
    /// Returns the result and when it was ready, because no one may wait for it at that time.
    task: JoinHandle<(Result<SavedImage, ArchiveError>, Instant)>,
    meter: Arc<Meter>,
    started: Instant,
}

impl Drop for ArchiveTask {
    fn drop(&mut self) {
        // No one waits for the result any more.
        self.meter.stop();
    }
}

impl Job<'_> {
    /// Returns the tier of archived images, or `None` if the engine stores no images.
    pub(super) async fn archive_tier(&self) -> Result<Option<ArchiveTier>> {
        let Some(engine) = self.engine().cloned() else { return Ok(None) };
        let (images, deadline) = (self.connection.image_store().await?, self.build.tiers.archive_timeout);
        Ok(Some(ArchiveTier::new(self.session.store()?, engine, images, deadline)))
    }

    /// Returns `true` if an earlier run was interrupted while it archived the image of these keys.
    pub(super) fn was_archiving_interrupted(&self, keys: &BuildKeys) -> bool {
        // A read fault was reported when the engine's image was looked up.
        self.notes.image(keys.keys.image).ok().flatten().is_some_and(|entry| entry.archiving)
    }

    /// Returns `true` if `--enable-cache` was given on the command line and the store has no image of these keys.
    pub(super) async fn lacks_archive(&self, keys: &BuildKeys) -> Result<bool> {
        if self.build.tiers.archive_request != ArchiveRequest::CommandLine
            || !self.build.tiers.archive
            || self.faults.is_cache_unusable()
        {
            return Ok(false);
        }
        let (Some(tier), Some(platform)) = (self.archive_tier().await?, keys.sole_platform()) else {
            return Ok(false);
        };
        Ok(!tier.contains(keys.keys.image, platform).await)
    }

    pub(super) fn archive_policy(&self, lookup: &Lookup, is_in_registry: bool) -> ArchivePolicy {
        ArchivePolicy {
            request: self.build.tiers.archive_request,
            has_remote: self.settings.store.remote.is_some(),
            is_for_several_engines: self.purpose.nodes.is_some(),
            needs_signature: self.settings.store.terms.trust.is_strict(),
            is_in_registry,
            replaces_archived: false,
            loses_time: lookup.losing.archive.is_some(),
        }
    }

    pub(super) async fn archive_built(
        &self,
        (keys, id): (&BuildKeys, &str),
        lookup: &Lookup,
        is_in_registry: bool,
    ) -> Result<Option<ArchiveTask>> {
        let (Some(engine), Some(platform)) = (self.engine(), keys.sole_platform()) else { return Ok(None) };
        if !self.build.tiers.archive || self.faults.is_cache_unusable() {
            return Ok(None);
        }
        let replaces_archived = lookup.replaces_images(self)
            && match self.archive_tier().await? {
                Some(tier) => tier.contains(keys.keys.image, platform).await,
                None => false,
            };
        let policy = self.archive_policy(lookup, is_in_registry);
        if !(ArchivePolicy { replaces_archived, ..policy }).should_archive() {
            return Ok(None);
        }
        match engine.image(id).await {
            Ok(Some(image)) => self.start_archiving(image, keys, lookup).await,
            // The image was removed immediately after the build.
            Ok(None) => Ok(None),
            Err(error) => self.faults.report(&error).map(|()| None),
        }
    }

    pub(super) async fn start_archiving(
        &self,
        image: Image,
        keys: &BuildKeys,
        lookup: &Lookup,
    ) -> Result<Option<ArchiveTask>> {
        let Some(platform) = keys.sole_platform().map(str::to_owned) else { return Ok(None) };
        if self.settings.reason_nothing_is_saved().is_some() {
            return Ok(None);
        }
        let Some(tier) = self.archive_tier().await? else { return Ok(None) };
        let key = keys.keys.image;
        // A read fault was reported when the engine's image was looked up.
        let noted = self.notes.image(key).ok().flatten();
        let noted = noted.and_then(|entry| entry.images.into_iter().find(|known| known.id == image.id));
        let subject = Subject {
            oldest: noted.map(|known| known.age().oldest),
            ..self.subject(&keys.published(&self.settings.seal).await)
        };
        // The layers of an entry that cannot be loaded must not be reused.
        let without_reuse = lookup.is_unloadable;
        self.notes.note_archiving(key, true).or_else(|fault| self.faults.report_notes(&fault))?;
        let meter = Arc::new(Meter::default());
        let counter = Arc::clone(&meter);
        let saving = async move {
            let saved = tier.save(key, &platform, &image, subject, without_reuse, &counter).await;
            (saved, Instant::now())
        };
        Ok(Some(ArchiveTask { key, task: tokio::spawn(saving), meter, started: Instant::now() }))
    }

    pub(super) fn maintain_store(&self) -> Result<()> {
        let store = self.session.store()?;
        let mut faults = send_unsent(&store, self.reporter);
        faults.extend(evict_beyond_limits(&store, &self.settings.store, self.reporter));
        faults.iter().try_for_each(|fault| self.faults.report(fault))
    }

    pub(super) fn title(&self) -> String {
        self.build.tags.first().map_or_else(|| "an image without a name".to_owned(), ImageRef::familiar)
    }

    pub(super) fn subject(&self, inputs: &[Input]) -> Subject {
        let names = self.build.tags.iter().skip(1).map(ImageRef::familiar);
        let tags = names.chain(self.build.source.key_tags.iter().cloned()).collect();
        let mut inputs = key_inputs(inputs);
        if inputs.len() > MAX_INPUTS {
            let file = InputKind::File.name();
            inputs.retain(|input| input.kind != file);
        }
        let BuildPurpose { run, nodes, .. } = self.purpose.clone();
        let run = run.filter(|run| !run.flags.is_empty() || !run.command.is_empty());
        Subject { title: self.title(), tags, nodes, run, inputs, ..Subject::default() }
    }
}

#[derive(Default)]
pub(super) struct ArchiveOutcome {
    pub(super) record: Option<ArchivedImageRecord>,
    pub(super) entry: Option<Entry>,
}

impl ArchiveOutcome {
    /// Finds the entry of an image that the engine has, or archives the image.
    pub(super) async fn find(
        &mut self,
        job: &Job<'_>,
        image: &Image,
        keys: &BuildKeys,
        lookup: &Lookup,
    ) -> Result<()> {
        let (Some(tier), Some(platform)) = (job.archive_tier().await?, keys.sole_platform()) else {
            return Ok(());
        };
        self.entry = tier.entry_of(keys.keys.image, platform, image).await;
        if self.entry.is_none() {
            let archiving = job.start_archiving(image.clone(), keys, lookup).await?;
            self.finish(job, archiving).await?;
        }
        Ok(())
    }

    pub(super) async fn finish(&mut self, job: &Job<'_>, archiving: Option<ArchiveTask>) -> Result<()> {
        let Some(mut archiving) = archiving else { return Ok(()) };
        let meter = Arc::clone(&archiving.meter);
        let saved =
            transfer("archiving the image", &mut archiving.task, &meter, job.session, job.reporter).await?;
        job.notes.note_archiving(archiving.key, false).or_else(|fault| job.faults.report_notes(&fault))?;
        let (saved, ended) = match saved {
            Ok((Ok(saved), ended)) => (saved, ended),
            Ok((Err(error), _)) => return job.faults.report(&error),
            Err(error) => return job.faults.report(&error),
        };
        job.phases.record(Phase::Archive, archiving.started, ended);
        let record = ArchivedImageRecord {
            entry: saved.saved.entry.short_id(),
            bytes: saved.bytes,
            added_bytes: saved.saved.added_bytes,
            millis: millis(ended - archiving.started),
        };
        job.reporter.report(&BuildEvent::Archived(&record));
        self.record = Some(record);
        self.entry = Some(saved.saved.entry);
        saved.saved.faults.iter().try_for_each(|fault| job.faults.report(fault))?;
        job.maintain_store()
    }
}
