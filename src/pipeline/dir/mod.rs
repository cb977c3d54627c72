//! Keeping a directory, such as a package manager's cache, from one run to the next.

pub(crate) mod error;
mod key_files;
pub(crate) mod report;
mod restore;
mod save;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use self::error::DirError;
use self::report::{DirAction, DirReport};
use super::changes;
use super::error::PipelineError;
use super::reporter::Reporter;
use super::session::Session;
use super::session::store::{is_news, keep_within, send_unsent};
use super::transfers::transfer_to_its_end;
use crate::archive::Index;
use crate::digest::Digest;
use crate::error_chain::chain;
use crate::key::{DirectoryInputs, Input, difference, directory_key};
use crate::ledger::millis;
use crate::notes::Notes;
use crate::plan::{DirRestoreSettings, DirSaveSettings, DirSettings, StoreSettings};
use crate::store::{Entry, FaultRecord, KeyInput, Meter, Store, StoreError};

/// Saves a directory.
pub(crate) async fn save(
    settings: DirSaveSettings,
    session: &Session<'_>,
    reporter: Arc<dyn Reporter>,
) -> Result<DirReport, DirError> {
    let job = Job::new(DirAction::Save, &settings.dir, session, reporter)?;
    let what = format!("saving {}", job.path());
    at_work(&what, job, session, move |job| save::run(&settings, job)).await
}

/// Restores a directory.
pub(crate) async fn restore(
    settings: DirRestoreSettings,
    session: &Session<'_>,
    reporter: Arc<dyn Reporter>,
) -> Result<DirReport, DirError> {
    let job = Job::new(DirAction::Restore, &settings.dir, session, reporter)?;
    let what = format!("restoring {}", job.path());
    at_work(&what, job, session, move |job| restore::run(&settings, job)).await
}

/// Runs the work on a thread of its own.
async fn at_work(
    what: &str,
    mut job: Job,
    session: &Session<'_>,
    work: impl FnOnce(&mut Job) -> Result<(), DirError> + Send + 'static,
) -> Result<DirReport, DirError> {
    let (meter, reporter) = (Arc::clone(&job.meter), Arc::clone(&job.reporter));
    let working = tokio::task::spawn_blocking(move || {
        work(&mut job)?;
        job.report.millis = millis(job.started.elapsed());
        Ok(job.report)
    });
    transfer_to_its_end(what, working, &meter, session, &*reporter).await?.map_err(PipelineError::from)?
}

/// The key of a directory, and what it is made of.
struct DirKey {
    digest: Digest,
    inputs: Vec<Input>,
    /// Why key files cannot be read. If there are such files, the directory has no key.
    missing: Vec<String>,
}

/// A save or restore.
struct Job {
    dir: DirSettings,
    /// The directory, absolute.
    place: PathBuf,
    key: DirKey,
    store: Store,
    terms: StoreSettings,
    notes: Notes,
    /// Why nothing is saved, if that is so.
    saves_nothing: Option<&'static str>,
    meter: Arc<Meter>,
    report: DirReport,
    reporter: Arc<dyn Reporter>,
    started: Instant,
}

impl Job {
    fn new(
        action: DirAction,
        dir: &DirSettings,
        session: &Session<'_>,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, DirError> {
        let (started, settings) = (Instant::now(), session.settings);
        let (place, cache) = (std::path::absolute(&dir.path)?, std::path::absolute(&settings.cache_dir)?);
        if cache.starts_with(&place) || place.starts_with(&cache) {
            let relation = if cache.starts_with(&place) { "holds" } else { "lies in" };
            let (path, cache) = (dir.path.clone(), settings.cache_dir.clone());
            return Err(DirError::Cache { path, relation, cache });
        }
        let mut inputs = DirectoryInputs {
            platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
            extra: dir.key_extra.clone(),
            ..DirectoryInputs::default()
        };
        let missing = key_files::read(&dir.key_files, &dir.path, &mut inputs)?;
        // Nothing is saved under this key; it is only looked for.
        inputs.requirements.missing.extend(missing.iter().map(|missing| missing.name.clone()));
        let (key, inputs) = directory_key(&inputs);
        let report = DirReport::new(action, dir.path.display().to_string(), key.hex());
        let mut job = Self {
            dir: dir.clone(),
            place,
            key: DirKey { digest: key, inputs, missing: missing.iter().map(ToString::to_string).collect() },
            store: session.store()?,
            terms: settings.store.clone(),
            notes: settings.notes(),
            saves_nothing: settings.saves_nothing(),
            meter: Arc::default(),
            report,
            reporter,
            started,
        };
        if let Some(fault) = &settings.cache_fault {
            job.trouble("denied", format!("{}; going on without it", chain(&**fault)));
        }
        Ok(job)
    }

    /// Returns the directory as it was typed.
    fn path(&self) -> String {
        self.dir.path.display().to_string()
    }

    /// Warns of key files that cannot be read; returns `true` if the directory has no key because of them.
    fn lacks_key(&mut self) -> bool {
        if self.key.missing.is_empty() {
            return false;
        }
        let missing = self.key.missing.join(", ");
        let place = std::env::current_dir().map(|place| format!(" (looked for in {})", place.display()));
        self.reporter.warn(&format!("--key-files: {missing}{}", place.unwrap_or_default()));
        self.report.reason = Some(missing);
        true
    }

    /// Sends what an outage of the remote held back, then evicts what is beyond the limits.
    fn make_room(&mut self) {
        for fault in send_unsent(&self.store, &*self.reporter) {
            self.fault(&fault);
        }
        for fault in keep_within(&self.store, &self.terms, &*self.reporter) {
            self.fault(&fault);
        }
    }

    /// Returns what of the directory is known to be in an entry.
    fn index(&self) -> Option<Index> {
        Index::decode(&self.notes.archive_index(&self.place)?)
    }

    fn keep_index(&mut self, index: &Index) {
        if self.saves_nothing.is_some() {
            return;
        }
        if let Err(error) = self.notes.keep_archive_index(&self.place, &index.encode()) {
            self.reporter.warn(&format!("{}; the next run has to read more", chain(&error)));
        }
    }

    /// Counts and reports a fault of the store.
    fn fault(&mut self, fault: &StoreError) {
        let message = chain(fault);
        if is_news(fault) {
            self.reporter.warn(&message);
        }
        self.report.faults.push(FaultRecord { reason: fault.reason().to_string(), message });
    }

    /// Counts and reports what keeps the cache from being used, and is not a fault of the store.
    fn trouble(&mut self, reason: &str, message: String) {
        self.reporter.warn(&message);
        self.report.faults.push(FaultRecord { reason: reason.to_owned(), message });
    }

    fn names(&mut self, entry: &Entry) {
        self.report.entry = Some(entry.id.hex());
        self.report.lane = Some(entry.manifest.address.lane.to_string());
        self.report.created = Some(entry.manifest.created);
    }

    /// Returns how the key differs from that of an entry: `requirements.txt changed since the entry of 2026-03-01`.
    fn difference(&self, entry: &Entry) -> Option<String> {
        let before: Vec<Input> = entry.manifest.subject.inputs.iter().filter_map(input).collect();
        let brief = changes::brief(&difference(&before, &self.key.inputs))?;
        let day = entry.manifest.created.strftime("%Y-%m-%d");
        Some(format!("{brief} since the entry of {day}"))
    }
}

/// Returns an input that an entry has recorded, or `None` if this version of larder does not know its kind.
fn input(noted: &KeyInput) -> Option<Input> {
    let kind = serde_json::from_value(serde_json::Value::String(noted.kind.clone())).ok()?;
    Some(Input::with_digest(kind, noted.name.clone(), noted.digest))
}
