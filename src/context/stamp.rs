//! Stamps, which show whether a file may have changed since it was read. Pure.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use super::sealed::take;

/// The coarsest resolution of time stamps: two seconds on FAT.
const GRANULARITY: Duration = Duration::from_secs(2);

/// The metadata of an entry that show whether it has changed.
///
/// The kernel sets the change time at every write, rename or change of metadata, so that an edit is noticed even if the
/// modification time is reset. The device is not included, because its number changes when a disk is mounted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) inode: u64,
    /// The size in bytes; 0 for a directory.
    pub(crate) size: u64,
    /// Kind and permission bits.
    pub(crate) mode: u32,
    /// The modification time in seconds and nanoseconds; 0 for a directory.
    pub(crate) modified: (i64, i64),
    /// The change time in seconds and nanoseconds; 0 for a directory.
    pub(crate) changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a directory has no times and no size, because they change with every temporary file in it and add
    /// nothing to the stamps of its entries.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let (inode, mode) = (metadata.ino(), metadata.mode());
        if metadata.is_dir() {
            return Self { inode, size: 0, mode, modified: (0, 0), changed: (0, 0) };
        }
        Self {
            inode,
            size: metadata.len(),
            mode,
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Appends the encoding: inode and size, mode, then seconds and nanoseconds of both times, little-endian.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.inode.to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.mode.to_le_bytes());
        for number in [self.modified.0, self.modified.1, self.changed.0, self.changed.1] {
            bytes.extend(number.to_le_bytes());
        }
    }

    /// Removes a stamp from the front of `bytes`. Returns `None` if there are too few bytes.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            inode: u64::from_le_bytes(take(bytes)?),
            size: u64::from_le_bytes(take(bytes)?),
            mode: u32::from_le_bytes(take(bytes)?),
            modified: (i64::from_le_bytes(take(bytes)?), i64::from_le_bytes(take(bytes)?)),
            changed: (i64::from_le_bytes(take(bytes)?), i64::from_le_bytes(take(bytes)?)),
        })
    }

    /// Returns `true` if any write after `moment` changes the modification time, unless the time is reset to exactly
    /// the same value.
    pub(crate) fn detects_writes_after(&self, moment: SystemTime) -> bool {
        is_settled(self.modified, moment)
    }

    /// Returns `true` if any change after `moment` changes the stamp.
    ///
    /// Otherwise, the file was changed so shortly before `moment` that a later change may have the same time, within
    /// the resolution of the clock.
    pub(crate) fn detects_changes_after(&self, moment: SystemTime) -> bool {
        is_settled(self.changed, moment)
    }
}

/// Returns `true` if `time` is before `moment` by more than the resolution of the clock.
fn is_settled(time: (i64, i64), moment: SystemTime) -> bool {
    let Ok(now) = moment.duration_since(SystemTime::UNIX_EPOCH) else { return false };
    let Some(settled) = now.checked_sub(GRANULARITY) else { return false };
    time < (i64::try_from(settled.as_secs()).unwrap_or(i64::MAX), i64::from(settled.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_trusted_only_if_its_change_time_is_old_enough() {
        let moment = SystemTime::UNIX_EPOCH + Duration::new(1000, 500);
        let changed_at = |changed| Stamp { inode: 1, size: 1, mode: 0, modified: (0, 0), changed };
        for (changed, trusted) in [
            ((997, 999_999_999), true),
            ((998, 499), true),
            ((998, 500), false),
            ((999, 0), false),
            ((1000, 500), false),
            ((5000, 0), false),
        ] {
            assert_eq!(changed_at(changed).detects_changes_after(moment), trusted, "{changed:?}");
        }
        assert!(!changed_at((0, 0)).detects_changes_after(SystemTime::UNIX_EPOCH));
    }
}
