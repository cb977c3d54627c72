//! Carrying the cache mounts of a build between a builder and the store.

mod record;
mod standing;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use self::record::{amount, names, passed, record};
use super::error::{CommandError, chain};
use super::interrupts::Interrupts;
use super::store::{is_news, keep_within, open};
use crate::archive::{Meter, UnlistedError};
use crate::buildkit::Client;
use crate::courier::protocol::Owner;
use crate::digest::Digest;
use crate::mounts::{
    Mounts, RestoreMountError, RestoredMount, SaveMountError, SaveOutcome, SaveTerms, SavedMount,
    TargetMount, VisitError, VisitTerms, misfit, restore, save, visit,
};
use crate::notes::Notes;
use crate::output::Printer;
use crate::output::dir::FaultRecord;
use crate::output::mounts::{Amount, MountAction, MountOutcome, MountRecord, MountsReport};
use crate::output::transfer::Transfer;
use crate::settings::{MountSettings, Settings};
use crate::store::{Entry, EntryKind, Found, Store, StoreError, Subject};

/// How often progress is brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// Carries mounts, and keeps the account of it.
pub(super) struct Carrier<'a> {
    client: &'a Client,
    settings: &'a Settings,
    how: &'a MountSettings,
    store: Store,
    notes: Notes,
    printer: Printer,
    started: Instant,
    report: MountsReport,
}

impl<'a> Carrier<'a> {
    pub(super) fn new(
        action: MountAction,
        client: &'a Client,
        settings: &'a Settings,
        how: &'a MountSettings,
        printer: Printer,
    ) -> Result<Self, CommandError> {
        let store = open(settings)?;
        let report = MountsReport::new(action);
        let notes = Notes::new(&settings.cache_dir);
        Ok(Self { client, settings, how, store, notes, printer, started: Instant::now(), report })
    }

    /// Tells which mounts there are, and what is kept of each.
    pub(super) async fn list(mut self, mounts: &Mounts) -> Result<MountsReport, CommandError> {
        self.report.warnings.clone_from(&mounts.defeats);
        let found = self.find(&mounts.carried).await?;
        for (mount, entry) in mounts.carried.iter().zip(found) {
            let mut record = record(mount);
            match entry {
                Some(entry) => {
                    names(&mut record, &entry);
                    record.outcome = MountOutcome::Hit;
                }
                None => record.reason = Some(self.nothing()),
            }
            self.report.mounts.push(record);
        }
        Ok(self.finish(mounts))
    }

    /// Brings what is kept into the builder.
    pub(super) async fn restore(mut self, mounts: &Mounts) -> Result<MountsReport, CommandError> {
        self.report.warnings.clone_from(&mounts.defeats);
        let found = self.find(&mounts.carried).await?;
        let standing = self.standing(&mounts.carried, &found).await;
        let (mut wanted, mut entries) = (Vec::new(), Vec::new());
        for ((mount, entry), stands) in mounts.carried.iter().zip(&found).zip(&standing) {
            if let (Some(entry), false) = (entry, stands) {
                wanted.push(mount.clone());
                entries.push(entry.clone());
            }
        }
        let store = self.store.clone();
        let done = self
            .visit("restoring cache mounts", wanted, move |place, conversation, meter| {
                restore(&store, &entries[place], conversation, meter)
            })
            .await?;
        let mut done = done.into_iter();
        let mut held = Vec::new();
        for ((mount, entry), stands) in mounts.carried.iter().zip(found).zip(standing) {
            let mut record = record(mount);
            match entry {
                None => record.reason = Some(self.nothing()),
                Some(entry) => {
                    names(&mut record, &entry);
                    if stands {
                        record.outcome = MountOutcome::Hit;
                        if let Err(fault) = self.store.touch(&entry) {
                            self.fault(&fault);
                        }
                    } else if self.restored(&mut record, mount, &entry, done.next()) {
                        held.push((mount, entry.id));
                    }
                }
            }
            self.report.mounts.push(record);
        }
        self.note_standing(&held).await;
        Ok(self.finish(mounts))
    }

    /// Tells what a restore came to; whether the mount holds all of the entry now.
    fn restored(
        &mut self,
        record: &mut MountRecord,
        mount: &TargetMount,
        entry: &Entry,
        done: Option<Result<RestoredMount, RestoreMountError>>,
    ) -> bool {
        match done {
            // Why the builder could not be visited has been told.
            None => record.reason = Some("the builder's mounts cannot be reached".to_owned()),
            Some(Ok(restored)) => {
                for fault in restored.faults.iter().chain(self.store.touch(entry).err().as_ref()) {
                    self.fault(fault);
                }
                self.tell("not restored", &restored.notes.first, restored.notes.count);
                self.note_misfits(mount, restored.root);
                record.outcome = MountOutcome::Hit;
                record.moved = Amount { files: restored.sent_files, bytes: restored.sent_bytes };
                return restored.notes.count == 0;
            }
            Some(Err(error)) => {
                record.reason = Some(chain(&error));
                match &error {
                    RestoreMountError::Store(fault)
                    | RestoreMountError::Unlisted(UnlistedError::Store(fault)) => self.fault(fault),
                    error => self.trouble(format!("{}: {}", record.id, chain(error))),
                }
            }
        }
        false
    }

    /// Keeps what the builder has.
    pub(super) async fn save(mut self, mounts: &Mounts) -> Result<MountsReport, CommandError> {
        if self.settings.store.terms.read_only {
            let records = mounts.carried.iter().map(|mount| MountRecord {
                reason: Some("the cache is read-only here".to_owned()),
                ..record(mount)
            });
            self.report.mounts.extend(records);
            return Ok(self.finish(mounts));
        }
        let found = self.find(&mounts.carried).await?;
        let standing = self.standing(&mounts.carried, &found).await;
        let (mut wanted, mut terms, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for ((mount, entry), _) in
            mounts.carried.iter().zip(&found).zip(&standing).filter(|(_, stands)| !**stands)
        {
            wanted.push(mount.clone());
            terms.push(self.terms(mount));
            entries.push(entry.clone());
        }
        let store = self.store.clone();
        let done = self
            .visit("saving cache mounts", wanted, move |place, conversation, meter| {
                save(&store, entries[place].as_ref(), conversation, &terms[place], meter)
            })
            .await?;
        let mut done = done.into_iter();
        let (mut has_grown, mut held) = (false, Vec::new());
        for ((mount, before), stands) in mounts.carried.iter().zip(&found).zip(standing) {
            let mut record = record(mount);
            if let Some(before) = before {
                names(&mut record, before);
                if stands {
                    record.outcome = MountOutcome::Unchanged;
                    self.report.mounts.push(record);
                    continue;
                }
            }
            match done.next() {
                None => record.reason = Some("the builder's mounts cannot be reached".to_owned()),
                Some(Ok(saved)) => {
                    has_grown |= matches!(saved.outcome, SaveOutcome::Saved(_));
                    self.note_misfits(mount, saved.root);
                    held.extend(self.saved(&mut record, before.as_ref(), saved).map(|entry| (mount, entry)));
                }
                Some(Err(SaveMountError::Interrupted)) => {
                    return Err(CommandError::interrupted("interrupted; not all cache mounts were saved"));
                }
                Some(Err(error)) => {
                    record.reason = Some(chain(&error));
                    match &error {
                        SaveMountError::Store(fault)
                        | SaveMountError::Unlisted(UnlistedError::Store(fault)) => self.fault(fault),
                        error => self.trouble(format!("{}: {}", record.id, chain(error))),
                    }
                }
            }
            self.report.mounts.push(record);
        }
        self.note_standing(&held).await;
        if has_grown {
            for fault in keep_within(&self.store, self.settings.store.limits, self.printer) {
                self.fault(&fault);
            }
        }
        Ok(self.finish(mounts))
    }

    /// Tells what a save came to; the entry that the mount holds now.
    fn saved(
        &mut self,
        record: &mut MountRecord,
        before: Option<&Entry>,
        saved: SavedMount,
    ) -> Option<Digest> {
        self.tell("left out", &saved.notes.first, saved.notes.count);
        record.used = saved.notes_uses.then(|| amount(saved.used));
        record.added = Some(amount(saved.added));
        record.packages_used = saved.notes_uses.then(|| amount(saved.packages_used));
        record.packages_added = Some(amount(saved.packages_added));
        record.trimmed = Some(amount(saved.trimmed));
        match saved.outcome {
            SaveOutcome::Saved(entry) => {
                for fault in &entry.faults {
                    self.fault(fault);
                }
                names(record, &entry.entry);
                record.added_bytes = entry.added_bytes;
                record.outcome = MountOutcome::Saved;
                return Some(entry.entry.id);
            }
            SaveOutcome::Unchanged => {
                if let Some(Err(fault)) = before.map(|entry| self.store.touch(entry)) {
                    self.fault(&fault);
                }
                record.outcome = MountOutcome::Unchanged;
                return before.map(|entry| entry.id);
            }
            SaveOutcome::Empty => record.outcome = MountOutcome::Empty,
            SaveOutcome::Refused(shrunk) => {
                record.outcome = MountOutcome::Refused;
                record.reason = Some(shrunk.to_string());
                self.printer.warn(&format!(
                    "the cache mount {} is not saved: {shrunk}; --allow-shrink saves it all the same",
                    record.id
                ));
            }
        }
        None
    }

    fn terms(&self, mount: &TargetMount) -> SaveTerms {
        SaveTerms {
            family: self.family(mount),
            key: mount.id.key(),
            subject: Subject {
                title: mount.id.to_string(),
                tags: vec![mount.kind.to_string(), self.how.scope.clone()],
                ..Subject::default()
            },
            unused_builds: self.how.unused_builds,
            max_size: self.how.max_size,
            allow_shrink: self.how.allow_shrink,
        }
    }

    fn family(&self, mount: &TargetMount) -> String {
        format!("{}: {}", self.how.scope, mount.id)
    }

    fn nothing(&self) -> String {
        let lane = self.store.lane();
        format!("nothing is kept of it for {} in lane {lane} or the trunk", self.how.scope)
    }

    /// What is kept of each mount.
    async fn find(&mut self, mounts: &[TargetMount]) -> Result<Vec<Option<Entry>>, CommandError> {
        let wanted: Vec<_> = mounts.iter().map(|mount| (self.family(mount), mount.id.key())).collect();
        let store = self.store.clone();
        let look = move || -> Vec<Found> {
            wanted.iter().map(|(family, key)| store.find(EntryKind::Mount, family, *key, false)).collect()
        };
        let found = tokio::task::spawn_blocking(look).await.map_err(|error| CommandError::config(&error))?;
        Ok(found
            .into_iter()
            .map(|found| {
                for fault in &found.faults {
                    self.fault(fault);
                }
                found.entry
            })
            .collect())
    }

    /// Does `work` in each mount; nothing where the builder cannot be visited, which is told.
    async fn visit<T: Send + 'static>(
        &mut self,
        what: &str,
        mounts: Vec<TargetMount>,
        work: impl Fn(usize, Visited, &Meter) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, CommandError> {
        if mounts.is_empty() {
            return Ok(Vec::new());
        }
        let meters: Arc<Vec<Meter>> = Arc::new(mounts.iter().map(|_| Meter::default()).collect());
        let terms = VisitTerms {
            deadline: self.how.timeout,
            cancel: CancellationToken::new(),
            name: format!("[larder] {what}"),
        };
        let live = io::stderr().is_terminal() && !self.settings.no_redraw;
        let mut progress = Transfer::new(what.to_owned(), self.printer, live);
        let (mut interrupts, mut ticks) = (Interrupts::watch(), tokio::time::interval(TICK));
        let working = Arc::clone(&meters);
        let visiting = visit(
            self.client,
            &mounts,
            move |place, conversation| work(place, conversation, &working[place]),
            &terms,
        );
        tokio::pin!(visiting);
        let done = loop {
            tokio::select! {
                done = &mut visiting => break done,
                () = interrupts.next() => {
                    if terms.cancel.is_cancelled() {
                        break Err(VisitError::Interrupted);
                    }
                    meters.iter().for_each(Meter::stop);
                    terms.cancel.cancel();
                }
                _ = ticks.tick() => {
                    let sum = |(done, total): (u64, u64), meter: &Meter| {
                        let (more_done, more) = meter.amounts();
                        (done + more_done, total + more)
                    };
                    progress.show(meters.iter().fold((0, 0), sum));
                }
            }
        };
        progress.finish();
        match done {
            Ok(done) => Ok(done),
            Err(VisitError::Interrupted) => Err(CommandError::interrupted("interrupted")),
            Err(error) => {
                self.trouble(format!("{what} failed: {}; going on without them", chain(&error)));
                Ok(Vec::new())
            }
        }
    }

    /// Counts and tells a fault of the store.
    fn fault(&mut self, fault: &StoreError) {
        let message = chain(fault);
        if is_news(fault) {
            self.printer.warn(&message);
        }
        self.report.faults.push(FaultRecord { reason: fault.reason().to_string(), message });
    }

    /// Counts and tells what is no fault of the store but keeps the mounts from being carried.
    fn trouble(&mut self, message: String) {
        self.printer.warn(&message);
        self.report.faults.push(FaultRecord { reason: "other".to_owned(), message });
    }

    fn note_misfits(&mut self, mount: &TargetMount, root: Owner) {
        let misfits = mount.uses.iter().filter_map(|used| misfit(used, mount.kind, root));
        self.report.warnings.extend(misfits);
    }

    fn tell(&mut self, what: &str, first: &[String], count: u64) {
        if count == 0 {
            return;
        }
        let more = count.saturating_sub(first.len() as u64);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        self.trouble(format!("{what}: {}{more}", first.join(", ")));
    }

    fn finish(mut self, mounts: &Mounts) -> MountsReport {
        self.report.mounts.extend(mounts.passed.iter().map(passed));
        self.report.millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report
    }
}

/// What is said with the courier of a visit.
type Visited =
    crate::mounts::Conversation<crate::buildkit::session::StepReader, crate::buildkit::session::StepWriter>;
