//! Decides what to leave out of an entry: units that are no longer used and, if the entry is too large, the least
//! recently used units.
//!
//! Pure. [`units`] decides which files form a unit.

use super::units::units;
use super::walk::WalkedNode;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// The number of files, not counting hard links.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FileUsage {
    /// The number of consecutive builds that did not use the file.
    pub(crate) unused: u32,
    /// The access time, in seconds since 1970.
    pub(crate) used: i64,
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TrimLimits {
    /// The number of consecutive builds without use after which a unit is left out.
    pub(crate) unused_builds: Option<u32>,
    pub(crate) bytes: Option<u64>,
}

/// Returns for each node `true` if it is left out. `units` contains the unit of each node, and `file` returns size and
/// use of a file.
///
/// If leaving out all units is not enough, everything is left out, because a part of a cache may be worse than nothing.
pub(crate) fn nodes_to_trim(
    units: &[Option<u32>],
    file: impl Fn(usize) -> Option<FileUsage>,
    bounds: TrimLimits,
) -> Vec<bool> {
    struct Unit {
        number: u32,
        uses: Option<FileUsage>,
        is_left_out: bool,
    }
    let count = units.iter().flatten().max().map_or(0, |last| last + 1);
    let mut by_number: Vec<Unit> =
        (0..count).map(|number| Unit { number, uses: None, is_left_out: false }).collect();
    let mut total = 0_u64;
    for (place, number) in units.iter().enumerate() {
        let Some(one) = file(place) else { continue };
        total = total.saturating_add(one.bytes);
        let Some(unit) = number.and_then(|number| by_number.get_mut(number as usize)) else { continue };
        unit.uses = Some(unit.uses.map_or(one, |all| FileUsage {
            unused: all.unused.min(one.unused),
            used: all.used.max(one.used),
            bytes: all.bytes.saturating_add(one.bytes),
        }));
    }
    if let Some(builds) = bounds.unused_builds.filter(|builds| *builds > 0) {
        for unit in &mut by_number {
            unit.is_left_out = unit.uses.is_some_and(|all| all.unused >= builds);
            total = total.saturating_sub(unit.uses.filter(|_| unit.is_left_out).map_or(0, |all| all.bytes));
        }
    }
    if let Some(limit) = bounds.bytes {
        let order = |unit: &Unit| {
            let FileUsage { unused, used, bytes } = unit.uses.unwrap_or_default();
            (std::cmp::Reverse(unused), used, std::cmp::Reverse(bytes), unit.number)
        };
        by_number.sort_by_key(order);
        for unit in by_number.iter_mut().filter(|unit| !unit.is_left_out) {
            if total <= limit {
                break;
            }
            let bytes = unit.uses.map_or(0, |all| all.bytes);
            unit.is_left_out = bytes > 0;
            total = total.saturating_sub(bytes);
        }
        if total > limit {
            return vec![true; units.len()];
        }
        by_number.sort_by_key(|unit| unit.number);
    }
    let is_left_out =
        |number: &Option<u32>| number.is_some_and(|number| by_number[number as usize].is_left_out);
    units.iter().map(is_left_out).collect()
}

/// Leaves out units until the remaining files have at most `limit` bytes.
///
/// The least recently used units are left out first. If `by_use` is `false`, because access times are not recorded, the
/// least recently modified units are left out first.
pub(crate) fn trim(found: &mut Vec<WalkedNode>, limit: u64, by_use: bool) -> Trimmed {
    // Holes are not saved. Some file systems report no allocated blocks.
    let size = |size: u64, allocated: u64| if allocated == 0 { size } else { size.min(allocated) };
    let uses: Vec<Option<FileUsage>> = (found.iter())
        .map(|one| {
            let file = one.node.file()?;
            let modified = one.node.mtime.0;
            let used = if by_use { file.used.max(modified) } else { modified };
            Some(FileUsage { unused: 0, used, bytes: size(file.size, one.allocated) })
        })
        .collect();
    let bounds = TrimLimits { bytes: Some(limit), ..TrimLimits::default() };
    let left_out = nodes_to_trim(&units(found.iter().map(|one| &one.node)), |place| uses[place], bounds);
    let mut trimmed = Trimmed::default();
    for one in uses.iter().zip(&left_out).filter_map(|(one, is_left_out)| one.filter(|_| *is_left_out)) {
        trimmed.files += 1;
        trimmed.bytes += one.bytes;
    }
    let mut left_out = left_out.into_iter();
    found.retain(|_| !left_out.next().unwrap_or_default());
    trimmed
}
