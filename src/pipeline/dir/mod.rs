//! Saves and restores a directory, such as a package manager's cache, between runs. No engine is needed.

mod key_files;
pub(crate) mod report;
mod restore;
mod save;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use self::key_files::KeyFileError;
use self::report::{DirAction, DirReport};
use super::changes;
use super::error::PipelineError;
use super::explain::inputs_of;
use super::reporter::Reporter;
use super::session::Session;
use super::session::store::{evict_beyond_limits, report_faults, send_unsent};
use super::transfers::transfer_until_interrupts;
use crate::archive::DirectoryIndex;
use crate::digest::Digest;
use crate::error_chain::chain;
use crate::key::{DirectoryInputs, Input, difference, directory_key};
use crate::ledger::millis;
use crate::notes::{IndexKind, Notes};
use crate::plan::{DirRestoreSettings, DirSaveSettings, DirSettings, StoreSettings};
use crate::store::{Entry, FaultRecord, Meter, Store, StoreError};

/// An error that ends the save or restore of a directory without a report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{} {relation} the cache directory {}", path.display(), cache.display())]
    ContainsCache { path: PathBuf, relation: &'static str, cache: PathBuf },
    #[error(transparent)]
    KeyFiles(#[from] KeyFileError),
    #[error("interrupted; nothing was {0}")]
    Interrupted(&'static str),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

pub(crate) async fn save(
    settings: DirSaveSettings,
    session: &Session<'_>,
    reporter: Arc<dyn Reporter>,
) -> Result<DirReport, DirError> {
    let job = DirJob::new(DirAction::Save, &settings.dir, session, reporter)?;
    run("saving", job, session, move |job| save::run(&settings, job)).await
}

pub(crate) async fn restore(
    settings: DirRestoreSettings,
    session: &Session<'_>,
    reporter: Arc<dyn Reporter>,
) -> Result<DirReport, DirError> {
    let job = DirJob::new(DirAction::Restore, &settings.dir, session, reporter)?;
    run("restoring", job, session, move |job| restore::run(&settings, job)).await
}

async fn run(
    what: &str,
    mut job: DirJob,
    session: &Session<'_>,
    work: impl FnOnce(&mut DirJob) -> Result<(), DirError> + Send + 'static,
) -> Result<DirReport, DirError> {
    let what = format!("{what} {}", job.path());
    let (meter, reporter) = (Arc::clone(&job.meter), Arc::clone(&job.reporter));
    let working = tokio::task::spawn_blocking(move || {
        work(&mut job)?;
        job.report.millis = millis(job.started.elapsed());
        Ok(job.report)
    });
    let done = transfer_until_interrupts(2, &what, working, &meter, session, &*reporter).await?;
    done.map_err(PipelineError::from)?
}

struct DirKey {
    digest: Digest,
    inputs: Vec<Input>,
    /// Messages about key files that cannot be read. If there are any, the directory has no key.
    missing: Vec<String>,
}

struct DirJob {
    dir: DirSettings,
    absolute_path: PathBuf,
    key: DirKey,
    store: Store,
    terms: StoreSettings,
    notes: Notes,
    /// The reason why nothing is saved, if saving is disabled.
    save_disabled: Option<&'static str>,
    meter: Arc<Meter>,
    report: DirReport,
    reporter: Arc<dyn Reporter>,
    started: Instant,
}

impl DirJob {
    fn new(
        action: DirAction,
        dir: &DirSettings,
        session: &Session<'_>,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Self, DirError> {
        let (started, settings) = (Instant::now(), session.settings);
        let (absolute_path, cache) =
            (std::path::absolute(&dir.path)?, std::path::absolute(&settings.cache_dir)?);
        if cache.starts_with(&absolute_path) || absolute_path.starts_with(&cache) {
            let relation = if cache.starts_with(&absolute_path) { "contains" } else { "is inside" };
            let (path, cache) = (dir.path.clone(), settings.cache_dir.clone());
            return Err(DirError::ContainsCache { path, relation, cache });
        }
        let mut inputs = DirectoryInputs {
            platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
            extra: dir.key_extra.clone(),
            ..DirectoryInputs::default()
        };
        let missing = key_files::read(&dir.key_files, &dir.path, &mut inputs)?;
        // This key is only used for lookups: nothing is saved under it.
        inputs.requirements.missing.extend(missing.iter().map(|missing| missing.name.clone()));
        let (key, inputs) = directory_key(&inputs);
        let report = DirReport::new(action, dir.path.display().to_string(), key.hex());
        let mut job = Self {
            dir: dir.clone(),
            absolute_path,
            key: DirKey { digest: key, inputs, missing: missing.iter().map(ToString::to_string).collect() },
            store: session.store()?,
            terms: settings.store.clone(),
            notes: settings.notes(),
            save_disabled: settings.reason_nothing_is_saved(),
            meter: Arc::default(),
            report,
            reporter,
            started,
        };
        if let Some(fault) = &settings.cache_fault {
            job.report_problem("denied", format!("{}; going on without it", chain(&**fault)));
        }
        Ok(job)
    }

    fn path(&self) -> String {
        self.dir.path.display().to_string()
    }

    /// Warns of key files that cannot be read. Returns `true` if the directory therefore has no key.
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

    fn maintain_store(&mut self) {
        let mut faults = send_unsent(&self.store, &*self.reporter);
        faults.extend(evict_beyond_limits(&self.store, &self.terms, &*self.reporter));
        self.report_faults(&faults);
    }

    /// Returns the index of the last save or restore of the directory.
    fn index(&self) -> Option<DirectoryIndex> {
        DirectoryIndex::decode(&self.notes.index(IndexKind::ARCHIVE, &self.absolute_path)?)
    }

    fn write_index(&mut self, index: &DirectoryIndex) {
        if self.save_disabled.is_some() {
            return;
        }
        if let Err(error) = self.notes.write_index(IndexKind::ARCHIVE, &self.absolute_path, &index.encode()) {
            self.reporter.warn(&format!("{}; the next run has to read more", chain(&error)));
        }
    }

    fn report_faults<'f>(&mut self, faults: impl IntoIterator<Item = &'f StoreError>) {
        self.report.faults.extend(report_faults(faults, &*self.reporter));
    }

    /// Reports a problem outside the store, and adds it to the report.
    fn report_problem(&mut self, reason: &str, message: String) {
        self.reporter.warn(&message);
        self.report.faults.push(FaultRecord { reason: reason.to_owned(), message });
    }

    fn set_entry(&mut self, entry: &Entry) {
        self.report.entry = Some(entry.id.hex());
        self.report.lane = Some(entry.manifest.address.lane.to_string());
        self.report.created = Some(entry.manifest.created);
    }

    /// Returns how the key differs from an entry's key: `requirements.txt changed since the entry of 2026-03-01`.
    fn difference(&self, entry: &Entry) -> Option<String> {
        let before = inputs_of(&entry.manifest.subject.inputs);
        let brief = changes::summary(&difference(&before, &self.key.inputs))?;
        let day = entry.manifest.created.strftime("%Y-%m-%d");
        Some(format!("{brief} since the entry of {day}"))
    }
}
