//! The end of a build: its record in the ledger and in the files that were asked for, and the summary.

use std::path::Path;

use jiff::Timestamp;
use serde_json::json;

use super::confidential::kept_words;
use super::{Job, result_file};
use crate::commands::error::{CommandError, ErrorKind};
use crate::commands::print_text;
use crate::commands::store::remote_fault;
use crate::ledger::{self, BuildRecord, LanesRecord, Outcome, RemoteRecord};
use crate::output::summary;
use crate::settings::JobLanes;
use crate::store::Lane;

/// Writes what became of a build that came no further than its base.
pub(super) fn record_failed_base(path: &Path, error: &CommandError) -> Result<(), CommandError> {
    let mut record = BuildRecord::started(Timestamp::now());
    record.outcome = outcome_of(error);
    record.error = Some(kept_words(&error.cause, true));
    let json = serde_json::to_vec_pretty(&record).map_err(|error| CommandError::config(&error))?;
    result_file::write(path, &json)
}

/// Returns how a build ended that ended with this error.
fn outcome_of(error: &CommandError) -> Outcome {
    match error.kind {
        ErrorKind::Interrupted => Outcome::Interrupted,
        _ => Outcome::Failed,
    }
}

pub(super) fn lanes_record(job: &JobLanes) -> LanesRecord {
    LanesRecord {
        own: job.lanes.own().to_string(),
        own_from: job.own_from.to_owned(),
        trunk: job.lanes.trunk().iter().map(Lane::to_string).collect(),
        trunk_from: job.trunk_from.to_owned(),
    }
}

impl Job<'_> {
    /// Notes that larder has written what is there.
    pub(super) fn note_result(&mut self, path: &Path) -> Result<(), CommandError> {
        self.notes.note_result(path).or_else(|fault| self.cache_fault(&fault))
    }

    /// Writes the ledger, the files asked for, and the summary.
    pub(super) fn close(
        &mut self,
        result: &Result<(), CommandError>,
        millis: u64,
    ) -> Result<(), CommandError> {
        self.record.millis = millis;
        self.record.remote = remote_fault().map(|(place, fault)| RemoteRecord { place, fault });
        if let Err(error) = result {
            self.record.outcome = outcome_of(error);
            let engines = matches!(error.kind, ErrorKind::Build | ErrorKind::Push) && self.shows_values();
            self.record.error = Some(kept_words(&error.cause, engines));
            if error.kind.is_before_build() {
                // Nothing was built because nothing could be; that is no build to count.
                return Ok(());
            }
        }
        if !self.notes.is_read_only() {
            let path = self.notes.ledger_path();
            let written =
                self.notes.prepare(&path).map_err(|error| Box::new(error) as Box<dyn std::error::Error>);
            let written = written.and_then(|()| ledger::append(&path, &self.record).map_err(Into::into));
            if let Err(error) = written {
                self.cache_fault(error.as_ref())?;
            }
        }
        self.printer.event("build", &json!({ "record": self.record }));
        if let Some(path) = &self.build.metadata_file {
            let json =
                serde_json::to_vec_pretty(&self.record).map_err(|error| CommandError::config(&error))?;
            result_file::write(path, &json)?;
            self.note_result(path)?;
        }
        if let (Some(path), Some(id)) = (&self.build.iid_file, &self.record.image_id) {
            result_file::write(path, id.as_bytes())?;
            self.note_result(path)?;
        }
        if let (true, Some(id), Ok(())) = (self.build.quiet, &self.record.image_id, result) {
            print_text(self.printer, &format!("{id}\n"))?;
        }
        self.printer.note(&summary::render(&self.record));
        Ok(())
    }
}
