//! The file of a ledger: appends a line, and reads lines from the end.
//!
//! Any number of jobs append at the same time. The file is rotated at [`MAX_SIZE`]: the older builds are then in a second
//! file, and the builds in the second file before that are forgotten.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::shared::identity;
use super::{BuildRecord, Ledger, LedgerError};
use crate::regular_file::PRIVATE;

/// The size in bytes from which on the file is rotated. A build takes one to four kilobytes.
const MAX_SIZE: u64 = 32 << 20;
/// The number of builds that are read beyond those that are wanted.
const IMPORTED: usize = 150;
/// The number of attempts to open the file while other jobs rotate it.
const ATTEMPTS: usize = 10;
/// The number of bytes that are read at once.
const BLOCK: u64 = 128 << 10;

/// Appends a build to the ledger at `path`, whose directory must exist.
pub(crate) fn append(path: &Path, record: &BuildRecord) -> Result<(), LedgerError> {
    let failed = |source| LedgerError { action: "write to", path: path.to_owned(), source };
    append_limited(path, record, MAX_SIZE).map_err(failed)
}

fn append_limited(path: &Path, record: &BuildRecord, max_size: u64) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    for attempt in 0.. {
        let mut file = OpenOptions::new().read(true).create(true).append(true).mode(PRIVATE).open(path)?;
        // On a file system without locks, lines of concurrent jobs may mix. Such a line is skipped.
        drop(file.lock());
        let metadata = file.metadata()?;
        // Another job may have rotated the file before this one had the lock.
        if attempt < ATTEMPTS
            && !fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (metadata.dev(), metadata.ino()))
        {
            continue;
        }
        if attempt < ATTEMPTS && metadata.len() >= max_size {
            fs::rename(path, rotated(path))?;
            continue;
        }
        if !ends_with_newline(&file, metadata.len())? {
            // A job that was killed, or a full disk, left an incomplete line.
            line.insert(0, b'\n');
        }
        return file.write_all(&line);
    }
    unreachable!("the loop ends after a number of attempts")
}

fn ends_with_newline(file: &File, size: u64) -> io::Result<bool> {
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    Ok(last == *b"\n")
}

/// Returns the path of the older builds.
fn rotated(path: &Path) -> PathBuf {
    path.with_extension("1.jsonl")
}

/// Reads the last `count` builds of the ledger at `path` that `is_wanted`; a missing ledger is empty. Fails if a file
/// exists but cannot be read.
pub(crate) fn read(
    path: &Path,
    count: usize,
    mut is_wanted: impl FnMut(&BuildRecord) -> bool,
) -> Result<Ledger, LedgerError> {
    // Builds of other agents are imported later than they ran, so the last ones are not at the end of the file.
    let enough = count.saturating_add(IMPORTED);
    let mut ledger = Ledger::default();
    // Two jobs may have imported the same build.
    let mut seen = HashSet::new();
    for path in [path.to_owned(), rotated(path)] {
        let reading = read_backwards(&path, &mut |line| {
            match serde_json::from_slice(line) {
                Ok(record) if is_wanted(&record) && seen.insert(identity(&record)) => {
                    ledger.builds.push(record);
                }
                Ok(_) => {}
                Err(_) if line.is_empty() => {}
                Err(_) => ledger.unreadable += 1,
            }
            ledger.builds.len() < enough
        });
        reading.map_err(|source| LedgerError { action: "read", path, source })?;
        if ledger.builds.len() >= enough {
            break;
        }
    }
    ledger.builds.reverse();
    ledger.builds.sort_by_key(|build| build.started);
    ledger.builds.drain(..ledger.builds.len().saturating_sub(count));
    Ok(ledger)
}

/// Passes the lines of a file to `take`, the last one first, until it returns `false`.
fn read_backwards(path: &Path, take: &mut impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut start = file.metadata()?.len();
    // The bytes from `start` to the end of the first line that was not taken.
    let mut rest: Vec<u8> = Vec::new();
    while start > 0 {
        let length = start.min(BLOCK);
        start -= length;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        Read::by_ref(&mut file).take(length).read_to_end(&mut block)?;
        block.append(&mut rest);
        let mut lines = block.split(|byte| *byte == b'\n');
        // The first line of the block may continue in the block before it.
        let first = if start > 0 { lines.next().unwrap_or_default().len() } else { 0 };
        for line in lines.rev() {
            if !take(line) {
                return Ok(());
            }
        }
        block.truncate(first);
        rest = block;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(number: u64) -> BuildRecord {
        let started = jiff::Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
        BuildRecord { started, millis: number, ..BuildRecord::for_tests("a") }
    }

    fn numbers(ledger: &Ledger) -> Vec<u64> {
        ledger.builds.iter().map(|build| build.millis).collect()
    }

    #[test]
    fn a_damaged_line_costs_only_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.jsonl");
        assert!(read(&path, 10, |_| true).unwrap().builds.is_empty());
        append(&path, &build(1)).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"schema\":\"lar\n").unwrap();
        append(&path, &build(2)).unwrap();
        file.write_all(b"\xff{\"schema\":\"without an end").unwrap();
        append(&path, &build(3)).unwrap();
        let ledger = read(&path, 10, |_| true).unwrap();
        assert_eq!((numbers(&ledger), ledger.unreadable), (vec![1, 2, 3], 2));
    }

    #[test]
    fn the_last_wanted_builds_are_read_from_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.jsonl");
        // Several blocks, with lines across their borders.
        for number in 0..1_500 {
            append(&path, &build(number)).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() > 3 * BLOCK);
        assert_eq!(numbers(&read(&path, 3, |_| true).unwrap()), [1_497, 1_498, 1_499]);
        let all = read(&path, usize::MAX, |_| true).unwrap();
        assert_eq!((numbers(&all), all.unreadable), ((0..1_500).collect(), 0));
        let some = read(&path, 2, |build| build.millis % 500 == 0).unwrap();
        assert_eq!(numbers(&some), [500, 1_000]);
    }

    #[test]
    fn older_builds_are_in_a_second_file_and_forgotten_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.jsonl");
        let size = serde_json::to_vec(&build(0)).unwrap().len() as u64 + 1;
        for number in 0..7 {
            append_limited(&path, &build(number), 3 * size).unwrap();
        }
        assert_eq!(numbers(&read(&path, 10, |_| true).unwrap()), [3, 4, 5, 6]);
    }

    #[test]
    fn no_line_is_lost_if_many_jobs_append_while_the_file_is_rotated() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.jsonl");
        let size = serde_json::to_vec(&build(0)).unwrap().len() as u64 + 1;
        std::thread::scope(|scope| {
            for job in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..25 {
                        append_limited(path, &build(job * 100 + number), 150 * size).unwrap();
                    }
                });
            }
        });
        let ledger = read(&path, usize::MAX, |_| true).unwrap();
        let mut found = numbers(&ledger);
        found.sort_unstable();
        let expected: Vec<u64> =
            (0..8).flat_map(|job| (0..25).map(move |number| job * 100 + number)).collect();
        assert_eq!((found, ledger.unreadable), (expected, 0));
    }
}
