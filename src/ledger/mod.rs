//! The ledger: the history of builds. Each build is one JSON object, which is appended to a file and never changed.
//!
//! An unreadable line is skipped and counted. [`BuildStatistics`] computes statistics.

mod record;
mod statistics;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use record::{
    ArchivedImageRecord, BaseOutcome, BaseRecord, BuildOutcome, BuildRecord, ExportedLayersRecord,
    LanesRecord, MountRecord, Prediction, RemoteRecord, StepCountsRecord, StepEntry, TierOutcome, TierRecord,
};
pub(crate) use statistics::BuildStatistics;

use crate::regular_file;

/// The number of bytes at the end of a ledger that are read for its last builds. A build takes one or two kilobytes.
const LAST_BYTES: u64 = 128 << 10;

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the ledger {}", .path.display())]
pub(crate) struct LedgerError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// The builds, oldest first.
    pub(crate) builds: Vec<BuildRecord>,
    pub(crate) unreadable: usize,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Appends a build to the ledger at `path`, whose directory must exist.
pub(crate) fn append(path: &Path, record: &BuildRecord) -> Result<(), LedgerError> {
    regular_file::append_json(path, record).map_err(|source| LedgerError {
        action: "write to",
        path: path.to_owned(),
        source,
    })
}

/// Returns the builds in the last bytes of the ledger at `path`; a missing ledger is empty. Fails if the file exists
/// but cannot be read.
pub(crate) fn last_builds(path: &Path) -> Result<Vec<BuildRecord>, LedgerError> {
    let read = || {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let start = file.metadata()?.len().saturating_sub(LAST_BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut text = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut text)?;
        // The first line may be incomplete.
        let whole = text.split(|byte| *byte == b'\n').skip(usize::from(start > 0));
        Ok(whole.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    };
    read().map_err(|source| LedgerError { action: "read", path: path.to_owned(), source })
}

/// Reads the ledger at `path`; a missing ledger is empty. Fails if the file exists but cannot be read.
pub(crate) fn read(path: &Path) -> Result<Ledger, LedgerError> {
    let failed = |source| LedgerError { action: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ledger::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut ledger = Ledger::default();
    for line in file.split(b'\n') {
        let line = line.map_err(failed)?;
        match serde_json::from_slice(&line) {
            Ok(record) => ledger.builds.push(record),
            Err(_) if line.is_empty() => {}
            Err(_) => ledger.unreadable += 1,
        }
    }
    Ok(ledger)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_newer_record_can_be_read() {
        let mut record = serde_json::to_value(BuildRecord::for_tests("a")).unwrap();
        record["added_later"] = serde_json::json!({ "files": 3 });
        let read: BuildRecord = serde_json::from_value(record.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), record);
    }

    #[test]
    fn an_incomplete_line_does_not_affect_other_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.jsonl");
        assert!(read(&path).unwrap().builds.is_empty());
        let record = BuildRecord::for_tests("a");
        append(&path, &record).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"schema\":\"lar\n").unwrap();
        append(&path, &record).unwrap();
        let ledger = read(&path).unwrap();
        assert_eq!((ledger.builds.len(), ledger.unreadable), (2, 1));
        assert_eq!(ledger.builds[1], record);
    }
}
