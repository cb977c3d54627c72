//! `larder dir`: keeping a directory, such as a package manager's cache, from one run to the next.

mod key_files;
mod restore;
mod save;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::CommandError;
use super::{print_json, warn_of_unknown_branch};
use crate::archive::Index;
use crate::cli::{DirArgs, DirCommand, Format};
use crate::commands::Invocation;
use crate::digest::Digest;
use crate::error_chain::chain;
use crate::key::{DirectoryInputs, Input, difference, directory_key};
use crate::ledger::millis;
use crate::notes::Notes;
use crate::output::Printer;
use crate::output::dir::{DirAction, DirOutcome, DirReport};
use crate::output::transfer::Transfer;
use crate::pipeline::changes;
use crate::pipeline::session::interrupts::Interrupts;
use crate::pipeline::session::store::{is_news, keep_within, send_unsent};
use crate::settings::{DirRestoreSettings, DirSaveSettings, DirSettings, StoreSettings};
use crate::store::{Entry, FaultRecord, KeyInput, Meter, Store, StoreError};

/// How often progress is brought up to date.
const TICK: Duration = Duration::from_millis(100);

pub(super) async fn run(
    args: &DirArgs,
    command: &Invocation<'_>,
    printer: Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (command.settings, command.environment);
    match &args.command {
        DirCommand::Save(args) => {
            let save = DirSaveSettings::resolve(args, settings, environment)?;
            let job = Job::new(DirAction::Save, &save.dir, command, args.key.format, printer)?;
            let progress = Transfer::new(format!("saving {}", job.path()), printer);
            at_work(job, command.session.interrupts(), progress, move |job| save::run(&save, job)).await
        }
        DirCommand::Restore(args) => {
            let restore = DirRestoreSettings::resolve(args, settings, environment)?;
            let job = Job::new(DirAction::Restore, &restore.dir, command, args.key.format, printer)?;
            let progress = Transfer::new(format!("restoring {}", job.path()), printer);
            at_work(job, command.session.interrupts(), progress, move |job| restore::run(&restore, job)).await
        }
    }
}

/// Runs the work aside, shows how far it is, and stops it when the user interrupts.
async fn at_work(
    job: Job,
    mut interrupts: Interrupts,
    mut progress: Transfer,
    work: impl FnOnce(&mut Job) -> Result<(), CommandError> + Send + 'static,
) -> Result<(), CommandError> {
    let meter = Arc::clone(&job.meter);
    let mut ticks = tokio::time::interval(TICK);
    let mut working = tokio::task::spawn_blocking(move || {
        let mut job = job;
        let result = work(&mut job);
        (job, result)
    });
    let ended = loop {
        tokio::select! {
            ended = &mut working => break ended,
            // The first asks the work to tidy up, a second one waits for nothing.
            () = interrupts.next() => {
                if meter.is_stopped() {
                    progress.finish();
                    return Err(CommandError::interrupted("interrupted"));
                }
                meter.stop();
            }
            _ = ticks.tick() => progress.show(meter.amounts()),
        }
    };
    progress.finish();
    let (job, result) = ended.map_err(|error| CommandError::config(&error))?;
    result.and_then(|()| job.finish())
}

/// The key of a directory, and what it is made of.
struct DirKey {
    digest: Digest,
    inputs: Vec<Input>,
    /// The key files that are not there; the directory has no key then.
    missing: Vec<String>,
}

/// A save or restore: what it needs, and what is to be told of it.
struct Job {
    dir: DirSettings,
    /// The directory, absolute.
    place: PathBuf,
    key: DirKey,
    store: Store,
    /// How the store is used.
    terms: StoreSettings,
    notes: Notes,
    /// Why nothing is saved, if that is so.
    saves_nothing: Option<&'static str>,
    meter: Arc<Meter>,
    report: DirReport,
    format: Format,
    printer: Printer,
    started: Instant,
}

impl Job {
    fn new(
        action: DirAction,
        dir: &DirSettings,
        command: &Invocation<'_>,
        format: Format,
        printer: Printer,
    ) -> Result<Self, CommandError> {
        let (started, settings) = (Instant::now(), command.settings);
        warn_of_unknown_branch(command.session, printer);
        let absolute =
            |path: &std::path::Path| std::path::absolute(path).map_err(|e| CommandError::config(&e));
        let (place, cache) = (absolute(&dir.path)?, absolute(&settings.job.cache_dir)?);
        if cache.starts_with(&place) || place.starts_with(&cache) {
            let relation = if cache.starts_with(&place) { "holds" } else { "lies in" };
            return Err(CommandError::config_line(format!(
                "{} {relation} the cache's own directory {}",
                dir.path.display(),
                settings.job.cache_dir.display()
            ))
            .hint("name a directory of its own for the cache with --cache-dir, or keep a part of this one"));
        }
        let mut inputs = DirectoryInputs {
            platform: format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
            extra: dir.key_extra.clone(),
            ..DirectoryInputs::default()
        };
        let missing = key_files::read(&dir.key_files, &dir.path, &mut inputs).map_err(|error| {
            CommandError::config(&error)
                .hint("names are relative to the working directory; quote a pattern that larder is to expand")
        })?;
        // Nothing is saved under this key; it is only looked for.
        inputs.requirements.missing.extend(missing.iter().map(|missing| missing.name.clone()));
        let (key, inputs) = directory_key(&inputs);
        let report = DirReport::new(action, dir.path.display().to_string(), key.hex());
        let mut job = Self {
            dir: dir.clone(),
            place,
            key: DirKey { digest: key, inputs, missing: missing.iter().map(ToString::to_string).collect() },
            store: command.session.store()?,
            terms: settings.job.store.clone(),
            notes: settings.job.notes(),
            saves_nothing: settings.job.saves_nothing(),
            meter: Arc::default(),
            report,
            format,
            printer,
            started,
        };
        if let Some(fault) = &settings.job.cache_fault {
            job.trouble("denied", format!("{}; going on without it", chain(&**fault)));
        }
        Ok(job)
    }

    /// The directory as people typed it.
    fn path(&self) -> String {
        self.dir.path.display().to_string()
    }

    /// Warns of key files that are not there; returns `true` if the directory has no key because of them.
    fn lacks_key(&mut self) -> bool {
        if self.key.missing.is_empty() {
            return false;
        }
        let missing = self.key.missing.join(", ");
        let place = std::env::current_dir().map(|place| format!(" (looked for in {})", place.display()));
        self.printer.warn(&format!("--key-files: {missing}{}", place.unwrap_or_default()));
        self.report.reason = Some(missing);
        true
    }

    /// Sends what an outage of the remote held back, then evicts what is beyond the limits.
    fn make_room(&mut self) {
        for fault in send_unsent(&self.store, &self.printer) {
            self.fault(&fault);
        }
        for fault in keep_within(&self.store, &self.terms, &self.printer) {
            self.fault(&fault);
        }
    }

    /// What of the directory is known to be in an entry.
    fn index(&self) -> Option<Index> {
        Index::decode(&self.notes.archive_index(&self.place)?)
    }

    fn keep_index(&mut self, index: &Index) {
        if self.saves_nothing.is_some() {
            return;
        }
        if let Err(error) = self.notes.keep_archive_index(&self.place, &index.encode()) {
            self.printer.warn(&format!("{}; the next run has to read more", chain(&error)));
        }
    }

    /// Counts and tells a fault of the cache.
    fn fault(&mut self, fault: &StoreError) {
        let message = chain(fault);
        if is_news(fault) {
            self.printer.warn(&message);
        }
        self.report.faults.push(FaultRecord { reason: fault.reason().to_string(), message });
    }

    /// Counts and tells what is no fault of the store but keeps the cache from being used.
    fn trouble(&mut self, reason: &str, message: String) {
        self.printer.warn(&message);
        self.report.faults.push(FaultRecord { reason: reason.to_owned(), message });
    }

    fn names(&mut self, entry: &Entry) {
        self.report.entry = Some(entry.id.hex());
        self.report.lane = Some(entry.manifest.address.lane.to_string());
        self.report.created = Some(entry.manifest.created);
    }

    /// What of the key is otherwise than that of another entry: `requirements.txt changed since the entry of 2026-03-01`.
    fn difference(&self, entry: &Entry) -> Option<String> {
        let before: Vec<Input> = entry.manifest.subject.inputs.iter().filter_map(input).collect();
        let brief = changes::brief(&difference(&before, &self.key.inputs))?;
        let day = entry.manifest.created.strftime("%Y-%m-%d");
        Some(format!("{brief} since the entry of {day}"))
    }

    /// Says what it came to.
    fn finish(mut self) -> Result<(), CommandError> {
        self.report.millis = millis(self.started.elapsed());
        match self.format {
            // What is refused has been told, with the reason.
            Format::Text if self.report.outcome == DirOutcome::Refused => {}
            Format::Text => self.printer.note(&self.report.text()),
            Format::Json => print_json(self.printer, &self.report)?,
        }
        let refused = self.report.outcome == DirOutcome::Refused;
        match self.report.faults.first() {
            Some(fault) if self.dir.strict => Err(CommandError::cache_line(fault.message.clone())
                .hint("without --strict the cache is done without")),
            None if self.dir.strict && refused => {
                let reason = self.report.reason.as_deref().unwrap_or_default();
                Err(CommandError::cache_line(format!("{}: {reason}", self.report.path)))
            }
            _ => Ok(()),
        }
    }
}

/// An input as it was noted in an entry; none where it is of a kind that this larder does not know.
fn input(noted: &KeyInput) -> Option<Input> {
    let kind = serde_json::from_value(serde_json::Value::String(noted.kind.clone())).ok()?;
    Some(Input::with_digest(kind, noted.name.clone(), noted.digest))
}
