//! The marks that tell whether a file may have changed since it was looked at.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

/// Time stamps are set from clocks as coarse as this; two seconds on FAT.
const GRANULARITY: Duration = Duration::from_secs(2);

/// What the file system tells of an entry without opening it.
///
/// The kernel sets the time of change itself at every write, rename or change
/// of metadata, so an edit whose time of modification is set back shows, too.
/// The device is left out: its number moves when a disk is mounted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The inode.
    pub(super) inode: u64,
    /// Bytes; 0 for a directory.
    pub(super) size: u64,
    /// Kind and permission bits.
    pub(super) mode: u32,
    /// Time of modification: seconds and nanoseconds; 0 for a directory.
    pub(super) modified: (i64, i64),
    /// Time of change: seconds and nanoseconds; 0 for a directory.
    pub(super) changed: (i64, i64),
}

impl Stamp {
    /// The stamp of an entry.
    ///
    /// A directory's times and size move with every temporary file in it and
    /// say nothing that its entries' own stamps do not.
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

    /// The stamp of a regular file whose metadata do not come as the standard library's.
    pub(crate) fn of_file(
        inode: u64,
        size: u64,
        mode: u32,
        modified: (i64, i64),
        changed: (i64, i64),
    ) -> Self {
        Self { inode, size, mode, modified, changed }
    }

    /// Adds its bytes: inode and size, mode, then seconds and nanoseconds of both times, little-endian.
    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.inode.to_le_bytes());
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.mode.to_le_bytes());
        for number in [self.modified.0, self.modified.1, self.changed.0, self.changed.1] {
            bytes.extend(number.to_le_bytes());
        }
    }

    /// Takes a stamp off the front of `bytes`; `None` where they are too few.
    pub(crate) fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            inode: u64::from_le_bytes(take(bytes)?),
            size: u64::from_le_bytes(take(bytes)?),
            mode: u32::from_le_bytes(take(bytes)?),
            modified: (i64::from_le_bytes(take(bytes)?), i64::from_le_bytes(take(bytes)?)),
            changed: (i64::from_le_bytes(take(bytes)?), i64::from_le_bytes(take(bytes)?)),
        })
    }

    /// Whether any write from `moment` on would show in the time of modification, unless that is set back to what it
    /// was to the nanosecond.
    pub(crate) fn tells_writes_from(&self, moment: SystemTime) -> bool {
        settled(self.modified, moment)
    }

    /// Whether any change from `moment` on would give the file another stamp.
    ///
    /// A file written just before `moment` can be written again within the same
    /// tick of the clock, with the same stamp.
    pub(crate) fn tells_changes_from(&self, moment: SystemTime) -> bool {
        settled(self.changed, moment)
    }
}

/// Whether a time has passed at `moment`, even by a coarse clock.
fn settled(time: (i64, i64), moment: SystemTime) -> bool {
    let Ok(now) = moment.duration_since(SystemTime::UNIX_EPOCH) else { return false };
    let Some(settled) = now.checked_sub(GRANULARITY) else { return false };
    time < (i64::try_from(settled.as_secs()).unwrap_or(i64::MAX), i64::from(settled.subsec_nanos()))
}

/// Takes an array off the front of `bytes`.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = bytes.split_first_chunk::<N>()?;
    *bytes = behind;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_trusted_only_when_its_time_of_change_has_passed() {
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
            assert_eq!(changed_at(changed).tells_changes_from(moment), trusted, "{changed:?}");
        }
        assert!(!changed_at((0, 0)).tells_changes_from(SystemTime::UNIX_EPOCH));
    }
}
