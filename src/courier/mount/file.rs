//! Files and their times.

use std::fs::{File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::protocol::Moment;

pub(super) fn modified(metadata: &Metadata) -> Moment {
    to_moment(metadata.mtime(), metadata.mtime_nsec())
}

pub(super) fn accessed(metadata: &Metadata) -> Moment {
    to_moment(metadata.atime(), metadata.atime_nsec())
}

pub(super) fn to_moment(seconds: i64, nanoseconds: i64) -> Moment {
    Moment { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or_default() }
}

/// Converts a moment to a system time. A moment out of range becomes the start of 1970.
pub(super) fn to_system_time(moment: Moment) -> SystemTime {
    let fraction = Duration::from_nanos(u64::from(moment.nanoseconds));
    let whole = Duration::from_secs(moment.seconds.unsigned_abs());
    let seconds =
        if moment.seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    seconds.and_then(|seconds| seconds.checked_add(fraction)).unwrap_or(UNIX_EPOCH)
}

/// Opens a file; fails if it is not the same file as the one with the metadata `expected`.
pub(super) fn open(place: &Path, expected: &Metadata) -> io::Result<File> {
    let file = File::open(place)?;
    let found = file.metadata()?;
    if (found.dev(), found.ino()) == (expected.dev(), expected.ino()) {
        return Ok(file);
    }
    Err(io::Error::other("the file was replaced while it was read"))
}

/// Resets the access time of a file to its modification time, as if it had not been read since.
pub(super) fn reset_access_time(file: &File, modified: Moment) -> io::Result<()> {
    file.set_times(FileTimes::new().set_accessed(to_system_time(modified)))
}

/// Returns a name that no other courier uses.
pub(super) fn unique_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}
