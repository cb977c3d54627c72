//! The free disk space that a save preserves. This module does not access the disk; its callers pass the sizes.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that this user may still write.
    pub(crate) free: u64,
    pub(crate) total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum FreeSpaceLimit {
    /// 5 % of the disk or 1 GB, whichever is larger.
    #[default]
    Share,
    /// This many bytes; with 0 a save continues until the disk is full.
    Bytes(u64),
}

const SHARE_DIVISOR: u64 = 20;
const MIN_FREE_BYTES: u64 = 1_000_000_000;

impl FreeSpaceLimit {
    /// Returns the bytes that must stay free if writing `bytes` would leave less.
    pub(super) fn violated_by(self, bytes: u64, space: DiskSpace) -> Option<u64> {
        let floor = match self {
            Self::Share => (space.total / SHARE_DIVISOR).max(MIN_FREE_BYTES),
            Self::Bytes(bytes) => bytes,
        };
        (floor > 0 && space.free.saturating_sub(bytes) < floor).then_some(floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_disk_but_at_least_a_gigabyte_stays_free() {
        const GB: u64 = 1_000_000_000;
        for (floor, free, total, expected) in [
            (FreeSpaceLimit::Share, 2 * GB, 10 * GB, None),
            (FreeSpaceLimit::Share, GB, 10 * GB, Some(GB)),
            (FreeSpaceLimit::Share, 4 * GB, 100 * GB, Some(5 * GB)),
            (FreeSpaceLimit::Share, 6 * GB, 100 * GB, None),
            (FreeSpaceLimit::Bytes(0), 0, 100 * GB, None),
            (FreeSpaceLimit::Bytes(GB), GB + 9, 100 * GB, Some(GB)),
            (FreeSpaceLimit::Bytes(GB), GB + 10, 100 * GB, None),
        ] {
            assert_eq!(
                floor.violated_by(10, DiskSpace { free, total }),
                expected,
                "{floor:?} {free} {total}"
            );
        }
    }
}
