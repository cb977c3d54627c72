//! Whole images: archived in the store while other things are done.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::{BuildKeys, Job, Purpose};
use crate::commands::error::CommandError;
use crate::commands::store::{keep_within, key_inputs, send_unsent};
use crate::commands::transfers::transfer;
use crate::engine::Image;
use crate::images::SavedImage;
use crate::key::{Input, InputKind};
use crate::ledger::{self, KeptRecord, millis};
use crate::output::summary;
use crate::store::{Meter, Subject};
use crate::tiers::{ArchiveDecision, ArchivePolicy, ArchiveRequest, ArchiveTier, KeepError};

/// Inputs that an entry names one by one; where there are more, its files are left out: every look at the store reads them.
const MOST_INPUTS: usize = 500;

/// An image that is being kept while other things are done.
pub(super) struct Keeping {
    task: JoinHandle<Result<SavedImage, KeepError>>,
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
    pub(super) async fn archive_tier(&mut self) -> Result<Option<ArchiveTier>, CommandError> {
        let Some(engine) = self.engine.clone() else { return Ok(None) };
        let (images, deadline) = (self.connection.image_store().await?, self.build.tiers.archive_timeout);
        Ok(Some(ArchiveTier::new(self.session.store()?, engine, images, deadline)))
    }

    /// Returns `true` if archiving the image of these keys was begun and did not end.
    pub(super) fn was_archiving(&self, keys: &BuildKeys) -> bool {
        // What cannot be read was reported when the engine's image was looked for.
        self.notes.image(keys.keys.image).ok().flatten().is_some_and(|entry| entry.archiving)
    }

    /// Returns `true` if `--enable-cache` was typed and the store has no image of these keys.
    pub(super) async fn lacks_archive(&mut self, keys: &BuildKeys) -> Result<bool, CommandError> {
        if self.build.tiers.archive_request != ArchiveRequest::Typed
            || !self.build.tiers.archive
            || self.cache_is_down
        {
            return Ok(false);
        }
        let (Some(tier), Some(platform)) = (self.archive_tier().await?, keys.sole_platform()) else {
            return Ok(false);
        };
        Ok(!tier.has(keys.keys.image, platform).await)
    }

    /// Finds the entry of an image that the engine has, or makes it.
    pub(super) async fn find_entry(&mut self, image: &Image, keys: &BuildKeys) -> Result<(), CommandError> {
        let (Some(tier), Some(platform)) = (self.archive_tier().await?, keys.sole_platform()) else {
            return Ok(());
        };
        self.entry = tier.entry_of(keys.keys.image, platform, image).await;
        if self.entry.is_none() {
            let keeping = self.keep(image.clone(), keys).await?;
            self.finish_keeping(keeping).await?;
        }
        Ok(())
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

    /// Starts archiving the image that was built, unless it is better left.
    pub(super) async fn keep_built(
        &mut self,
        keys: &BuildKeys,
        is_in_registry: bool,
    ) -> Result<Option<Keeping>, CommandError> {
        let (Some(engine), Some(id), true) =
            (self.engine.clone(), self.record.image_id.clone(), self.is_of_key)
        else {
            return Ok(None);
        };
        let Some(platform) = keys.sole_platform() else { return Ok(None) };
        if !self.build.tiers.archive || self.cache_is_down {
            return Ok(None);
        }
        let replaces_archived = self.replaces_images()
            && match self.archive_tier().await? {
                Some(tier) => tier.has(keys.keys.image, platform).await,
                None => false,
            };
        if !self.should_archive(ArchivePolicy { replaces_archived, ..self.archive_policy(is_in_registry) }) {
            return Ok(None);
        }
        match engine.image(&id).await {
            Ok(Some(image)) => self.keep(image, keys).await,
            // It was removed as soon as it was there.
            Ok(None) => Ok(None),
            Err(error) => {
                self.cache_fault(&error)?;
                Ok(None)
            }
        }
    }

    /// Begins to keep an image, where that is allowed.
    pub(super) async fn keep(
        &mut self,
        image: Image,
        keys: &BuildKeys,
    ) -> Result<Option<Keeping>, CommandError> {
        let Some(platform) = keys.sole_platform().map(str::to_owned) else { return Ok(None) };
        if self.settings.saves_nothing().is_some() {
            return Ok(None);
        }
        let Some(tier) = self.archive_tier().await? else { return Ok(None) };
        let subject = self.subject(&keys.published(&self.settings.seal).await);
        let key = keys.keys.image;
        // What cannot be loaded is not to be taken over.
        let anew = self.is_refused;
        self.notes.note_archiving(key, true).or_else(|fault| self.notes_fault(&fault))?;
        let meter = Arc::new(Meter::default());
        let counter = Arc::clone(&meter);
        let keep = async move { tier.keep(key, &platform, &image, subject, anew, &counter).await };
        Ok(Some(Keeping { task: tokio::spawn(keep), meter, started: Instant::now() }))
    }

    /// Returns `true` if the image is to be archived; one that is not, although it was requested, is reported.
    pub(super) fn should_archive(&self, policy: ArchivePolicy) -> bool {
        // A ledger that cannot be read is reported when the build is written to it.
        let builds = || ledger::last_builds(&self.notes.ledger_path()).unwrap_or_default();
        let decision = policy.decide(builds);
        if decision == ArchiveDecision::Unused {
            self.printer.note(
                "the image is not archived: none of the last images archived here was used again (--enable-cache archives it)\n",
            );
        }
        decision == ArchiveDecision::Archive
    }

    /// What the image's entry is called.
    pub(super) fn subject(&self, inputs: &[Input]) -> Subject {
        let mut names = self.record.names.iter().cloned();
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

    /// Waits until the image is kept.
    pub(super) async fn finish_keeping(&mut self, keeping: Option<Keeping>) -> Result<(), CommandError> {
        let Some(mut keeping) = keeping else { return Ok(()) };
        let meter = Arc::clone(&keeping.meter);
        let keep = &mut keeping.task;
        let kept = transfer("keeping the image", keep, &meter, self.session, self.printer).await?;
        if let Some(key) = self.record.image_key {
            self.notes.note_archiving(key, false).or_else(|fault| self.notes_fault(&fault))?;
        }
        let kept = match kept {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => return self.cache_fault(&error),
            Err(error) => return self.cache_fault(&error),
        };
        let record = KeptRecord {
            entry: kept.saved.entry.short_id(),
            bytes: kept.bytes,
            added_bytes: kept.saved.added_bytes,
            millis: millis(keeping.started.elapsed()),
        };
        self.printer.note(&summary::kept(&record));
        self.record.kept = Some(record);
        self.entry = Some(kept.saved.entry);
        let mut faults = kept.saved.faults;
        faults.extend(send_unsent(&self.session.store()?, self.printer));
        faults.extend(keep_within(&self.session.store()?, &self.settings.store, self.printer));
        faults.iter().try_for_each(|fault| self.cache_fault(fault))
    }
}
