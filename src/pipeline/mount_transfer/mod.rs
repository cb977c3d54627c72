//! Saves the cache mounts of a build to the store, and restores them in the builder.

mod deleted_mounts;
mod visits;

use std::time::{Duration, Instant};

use self::deleted_mounts::VisitedMount;
use super::session::store::{evict_beyond_limits, report_faults, send_unsent};
use super::session::{EngineConnection, Session};
use super::stages::VisitRequest;
use crate::archive::ListingError;
use crate::buildkit::trace::Trace;
use crate::courier::protocol::{FailureNotes, Owner};
use crate::error_chain::chain;
use crate::ledger::millis;
use crate::mounts::{
    CacheKind, ExistingFiles, MountAction, MountError, MountOutcome, MountReportEntry, Mounts, MountsReport,
    RestoredMount, SaveOutcome, SaveTerms, SavedMount, SkippedMount, Tally, TargetMount, access_problem,
    restore, save,
};
use crate::notes::Notes;
use crate::pipeline::changes::abridged;
use crate::pipeline::error::Result;
use crate::pipeline::reporter::Reporter;
use crate::plan::{JobSettings, MountSettings};
use crate::store::{Entry, EntryKind, FaultRecord, FoundEntry, Store, StoreError, Subject};

fn record(mount: &TargetMount) -> MountReportEntry {
    let mut targets: Vec<String> = mount.uses.iter().map(|used| used.target.clone()).collect();
    targets.dedup();
    MountReportEntry {
        id: mount.id.to_string(),
        kind: mount.kind.to_string(),
        targets,
        lines: mount.uses.iter().map(|used| used.line).collect(),
        ..MountReportEntry::default()
    }
}

fn skipped_record(passed: &SkippedMount) -> MountReportEntry {
    let target = passed.used.target.clone();
    MountReportEntry {
        id: target.clone(),
        kind: CacheKind::Other.to_string(),
        targets: vec![target],
        lines: vec![passed.used.line],
        outcome: MountOutcome::Passed,
        reason: Some(passed.reason.to_owned()),
        ..MountReportEntry::default()
    }
}

fn set_entry(record: &mut MountReportEntry, entry: &Entry) {
    record.entry = Some(entry.id.hex());
    record.lane = Some(entry.manifest.address.lane.to_string());
    record.created = Some(entry.manifest.created);
    record.kept = Tally { files: entry.manifest.subject.files, bytes: entry.manifest.subject.bytes };
}

fn present(mount: &TargetMount) -> ExistingFiles {
    if mount.id.origin.is_some() { ExistingFiles::Keep } else { ExistingFiles::Replace }
}

const TOO_LARGE: &str = "it was larger than --max-mount-size when it was saved last";

/// Returns `true` if this is the empty entry that is stored for a mount that was too large.
fn is_too_large_entry(entry: &Entry) -> bool {
    entry.manifest.subject.files == 0
}

pub(crate) struct MountTransfer<'a> {
    connection: &'a EngineConnection,
    session: &'a Session<'a>,
    settings: &'a JobSettings,
    build: VisitRequest<'a>,
    store: Store,
    reporter: &'a dyn Reporter,
    started: Instant,
    report: MountsReport,
    /// The build steps that had to run before the mounts could be accessed.
    prepared: Trace,
    preparing: Duration,
    notes: Notes,
    /// `true` if a build follows. The build itself reports steps that fail.
    is_before_build: bool,
}

impl<'a> MountTransfer<'a> {
    pub(crate) fn new(
        action: MountAction,
        connection: &'a EngineConnection,
        session: &'a Session<'a>,
        build: VisitRequest<'a>,
        reporter: &'a dyn Reporter,
    ) -> Result<Self> {
        let (store, settings) = (session.store()?, session.settings);
        let report = MountsReport::new(action);
        Ok(Self {
            connection,
            session,
            settings,
            build,
            store,
            reporter,
            started: Instant::now(),
            report,
            prepared: Trace::default(),
            preparing: Duration::ZERO,
            notes: settings.notes(),
            is_before_build: false,
        })
    }

    pub(crate) fn before_build(self) -> Self {
        Self { is_before_build: true, ..self }
    }

    pub(crate) async fn list(mut self, mounts: &Mounts) -> Result<MountsReport> {
        self.report.warnings.clone_from(&mounts.warnings);
        let found = self.find(&mounts.supported).await?;
        for (mount, entry) in mounts.supported.iter().zip(found) {
            let mut record = record(mount);
            if let Some(entry) = self.usable_entry(&mut record, entry) {
                set_entry(&mut record, &entry);
                record.outcome = MountOutcome::Hit;
            }
            self.report.mounts.push(record);
        }
        Ok(self.finish(mounts))
    }

    /// Restores the mounts in the builder. Also returns the trace of the build steps that this required.
    pub(crate) async fn restore(mut self, mounts: &Mounts) -> Result<(MountsReport, Trace)> {
        self.report.warnings.clone_from(&mounts.warnings);
        let found = self.find(&mounts.supported).await?;
        let (mut wanted, mut entries) = (Vec::new(), Vec::new());
        for (mount, entry) in mounts.supported.iter().zip(&found) {
            if let Some(entry) = entry.as_ref().filter(|entry| !is_too_large_entry(entry)) {
                wanted.push(mount.clone());
                entries.push(entry.clone());
            }
        }
        let store = self.store.clone();
        let presents: Vec<ExistingFiles> = wanted.iter().map(present).collect();
        let done = self
            .visit("restoring cache mounts", &wanted, move |place, conversation, meter| {
                restore(&store, &entries[place], presents[place], conversation, meter)
            })
            .await?;
        let (mut done, mut seen) = (done.into_iter(), Vec::new());
        for (mount, entry) in mounts.supported.iter().zip(found) {
            let mut record = record(mount);
            if let Some(entry) = self.usable_entry(&mut record, entry) {
                set_entry(&mut record, &entry);
                let done = done.next().flatten();
                if let Some(Ok(restored)) = &done
                    && restored.sent_files > 0
                {
                    seen.push(VisitedMount::of(mount, restored.was_empty));
                }
                self.report_restored(&mut record, mount, &entry, done);
            }
            self.report.mounts.push(record);
        }
        self.record_visits(&seen).await;
        let prepared = std::mem::take(&mut self.prepared);
        Ok((self.finish(mounts), prepared))
    }

    fn report_restored(
        &mut self,
        record: &mut MountReportEntry,
        mount: &TargetMount,
        entry: &Entry,
        done: Option<Result<RestoredMount, MountError>>,
    ) {
        match done {
            // The reason was reported when accessing the mounts failed.
            None => record.reason = Some("the builder's mounts cannot be accessed".to_owned()),
            Some(Ok(restored)) => {
                let touch_fault = self.store.touch(entry).err();
                self.report_faults(restored.faults.iter().chain(&touch_fault));
                self.report_failure_notes("not read", &restored.notes);
                self.warn_of_misfits(mount, restored.root);
                record.outcome = MountOutcome::Hit;
                record.moved = Tally { files: restored.sent_files, bytes: restored.sent_bytes };
            }
            Some(Err(error)) => self.report_failed(record, &error),
        }
    }

    pub(crate) async fn save(mut self, mounts: &Mounts) -> Result<MountsReport> {
        if let Some(reason) = self.settings.reason_nothing_is_saved() {
            let skipped = |mount| MountReportEntry { reason: Some(reason.to_owned()), ..record(mount) };
            self.report.mounts.extend(mounts.supported.iter().map(skipped));
            return Ok(self.finish(mounts));
        }
        let found = self.find(&mounts.supported).await?;
        let terms: Vec<SaveTerms> = mounts.supported.iter().map(|mount| self.terms(mount)).collect();
        let (store, entries) = (self.store.clone(), found.clone());
        let done = self
            .visit("saving cache mounts", &mounts.supported, move |place, conversation, meter| {
                save(&store, entries[place].as_ref(), conversation, &terms[place], meter)
            })
            .await?;
        let (mut done, mut seen) = (done.into_iter(), Vec::new());
        for (mount, before) in mounts.supported.iter().zip(&found) {
            let mut record = record(mount);
            if let Some(before) = before {
                set_entry(&mut record, before);
            }
            match done.next().flatten() {
                None => record.reason = Some("the builder's mounts cannot be accessed".to_owned()),
                Some(Ok(saved)) => {
                    if matches!(saved.outcome, SaveOutcome::Saved(_)) {
                        seen.push(VisitedMount::of(mount, false));
                    }
                    self.warn_of_misfits(mount, saved.root);
                    self.report_saved(&mut record, before.as_ref(), saved);
                }
                Some(Err(error)) => self.report_failed(&mut record, &error),
            }
            self.report.mounts.push(record);
        }
        self.record_visits(&seen).await;
        self.report_faults(&send_unsent(&self.store, self.reporter));
        if !seen.is_empty() {
            self.report_faults(&evict_beyond_limits(&self.store, &self.settings.store, self.reporter));
        }
        Ok(self.finish(mounts))
    }

    /// Marks the entries of these mounts as used, so that they are not evicted first.
    pub(crate) async fn touch(mut self, mounts: &[TargetMount]) -> Result<MountsReport> {
        for entry in self.find(mounts).await?.into_iter().flatten() {
            self.report_faults(&self.store.touch(&entry).err());
        }
        Ok(self.report)
    }

    fn report_saved(&mut self, record: &mut MountReportEntry, before: Option<&Entry>, saved: SavedMount) {
        if !matches!(saved.outcome, SaveOutcome::Incomplete(_)) {
            self.report_failure_notes("left out", &saved.notes);
        }
        record.used = saved.records_access_times.then_some(saved.used);
        record.added = Some(saved.added);
        record.oldest_added = saved.oldest_added;
        record.packages_used = saved.records_access_times.then_some(saved.packages_used);
        record.packages_added = Some(saved.packages_added);
        record.trimmed = Some(saved.trimmed);
        match saved.outcome {
            SaveOutcome::Saved(entry) => {
                self.report_faults(&entry.faults);
                set_entry(record, &entry.entry);
                record.added_bytes = entry.added_bytes;
                record.outcome = MountOutcome::Saved;
            }
            SaveOutcome::Unchanged => {
                self.report_faults(&before.and_then(|entry| self.store.touch(entry).err()));
                record.outcome = MountOutcome::Unchanged;
            }
            SaveOutcome::Empty => record.outcome = MountOutcome::Empty,
            SaveOutcome::TooLarge { saved, bytes } => {
                if let Some(saved) = saved {
                    self.report_faults(&saved.faults);
                    set_entry(record, &saved.entry);
                }
                record.outcome = MountOutcome::Refused;
                let size = humansize::format_size(bytes, humansize::DECIMAL);
                record.reason = Some(format!("{size} exceed --max-mount-size"));
                self.reporter.warn(&format!(
                    "the cache mount {} is not saved: its {size} exceed --max-mount-size, and it cannot be reduced by \
                     leaving out files; a new builder will start with an empty mount",
                    record.id
                ));
            }
            SaveOutcome::Incomplete(reason) => {
                record.outcome = MountOutcome::Refused;
                self.report_problem(format!("the cache mount {} is not saved: {reason}", record.id));
                record.reason = Some(reason);
            }
            SaveOutcome::Refused(shrunk) => {
                record.outcome = MountOutcome::Refused;
                record.reason = Some(shrunk.to_string());
                self.reporter.warn(&format!(
                    "the cache mount {} is not saved: {shrunk}; --allow-shrink saves it anyway",
                    record.id
                ));
            }
        }
    }

    fn mount_settings(&self) -> &'a MountSettings {
        &self.build.settings.mounts
    }

    fn terms(&self, mount: &TargetMount) -> SaveTerms {
        SaveTerms {
            family: self.family(mount),
            key: mount.id.key(),
            subject: Subject {
                title: mount.id.to_string(),
                tags: vec![mount.kind.to_string(), self.mount_settings().scope.clone()],
                ..Subject::default()
            },
            unused_builds: self.mount_settings().unused_builds,
            max_size: self.mount_settings().max_size,
            allow_shrink: self.mount_settings().allow_shrink,
        }
    }

    fn family(&self, mount: &TargetMount) -> String {
        format!("{}: {}", self.mount_settings().scope, mount.id)
    }

    /// Returns the entry that can be restored, or else sets the reason why there is none.
    fn usable_entry(&self, record: &mut MountReportEntry, entry: Option<Entry>) -> Option<Entry> {
        let has_entry = entry.is_some();
        let usable = entry.filter(|entry| !is_too_large_entry(entry));
        let no_entry = || format!("no entry for {} in {}", self.mount_settings().scope, self.store.lanes());
        let reason = || if has_entry { TOO_LARGE.to_owned() } else { no_entry() };
        record.reason = usable.is_none().then(reason);
        usable
    }

    async fn find(&mut self, mounts: &[TargetMount]) -> Result<Vec<Option<Entry>>> {
        let wanted: Vec<_> = mounts.iter().map(|mount| (self.family(mount), mount.id.key())).collect();
        let store = self.store.clone();
        let look = move || -> Vec<FoundEntry> {
            wanted.iter().map(|(family, key)| store.find(EntryKind::Mount, family, *key, false)).collect()
        };
        let found = tokio::task::spawn_blocking(look).await?;
        self.report_faults(found.iter().flat_map(|found| &found.faults));
        Ok(found.into_iter().map(|found| found.entry).collect())
    }

    fn report_failed(&mut self, record: &mut MountReportEntry, error: &MountError) {
        record.reason = Some(chain(error));
        match error {
            MountError::Store(fault) | MountError::Listing(ListingError::Store(fault)) => {
                self.report_faults([fault]);
            }
            error => self.report_problem(format!("{}: {}", record.id, chain(error))),
        }
    }

    fn report_faults<'f>(&mut self, faults: impl IntoIterator<Item = &'f StoreError>) {
        self.report.faults.extend(report_faults(faults, self.reporter));
    }

    /// Reports a problem outside the store, and adds it to the report.
    fn report_problem(&mut self, message: String) {
        self.reporter.warn(&message);
        self.report.faults.push(FaultRecord { reason: "other".to_owned(), message });
    }

    fn warn_of_misfits(&mut self, mount: &TargetMount, root: Owner) {
        let misfits = mount.uses.iter().filter_map(|used| access_problem(used, mount.kind, root));
        self.report.warnings.extend(misfits);
    }

    fn report_failure_notes(&mut self, what: &str, notes: &FailureNotes) {
        if notes.count == 0 {
            return;
        }
        self.report_problem(format!("{what}: {}", abridged(&notes.first, usize::MAX, notes.count, ", and")));
    }

    fn finish(mut self, mounts: &Mounts) -> MountsReport {
        self.report.mounts.extend(mounts.skipped.iter().map(skipped_record));
        // The steps in `prepared` cost no additional time, because the build then finds them cached.
        let own = self.started.elapsed().saturating_sub(self.preparing);
        self.report.millis = millis(own);
        self.report
    }
}
