//! What is left out of an entry: unused units and, if it would be too large, those used longest ago.
//!
//! Pure. What belongs together is decided by [`units`].

use super::listing::FileData;
use super::units::units;
use super::walk::Found;

/// What was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// Files, each counted once.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// What counts of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    /// How many builds in a row did not use it.
    pub(crate) unused: u32,
    /// When it was last used.
    pub(crate) used: i64,
    /// Its bytes.
    pub(crate) bytes: u64,
}

/// What an entry may hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// A unit goes after so many builds in a row that did not use it.
    pub(crate) unused_builds: Option<u32>,
    /// Bytes of all files.
    pub(crate) bytes: Option<u64>,
}

/// Decides for each node whether it is left out; `units` says what belongs together, and `file` what is known of a file.
///
/// If all units together make too little room, everything is left out: half a cache may be worse than none.
pub(crate) fn left_out(
    units: &[Option<u32>],
    file: impl Fn(usize) -> Option<Use>,
    bounds: Bounds,
) -> Vec<bool> {
    struct Unit {
        number: u32,
        uses: Option<Use>,
        goes: bool,
    }
    let count = units.iter().flatten().max().map_or(0, |last| last + 1);
    let mut of: Vec<Unit> = (0..count).map(|number| Unit { number, uses: None, goes: false }).collect();
    let mut total = 0_u64;
    for (place, number) in units.iter().enumerate() {
        let Some(one) = file(place) else { continue };
        total = total.saturating_add(one.bytes);
        let Some(unit) = number.and_then(|number| of.get_mut(number as usize)) else { continue };
        unit.uses = Some(unit.uses.map_or(one, |all| Use {
            unused: all.unused.min(one.unused),
            used: all.used.max(one.used),
            bytes: all.bytes.saturating_add(one.bytes),
        }));
    }
    if let Some(builds) = bounds.unused_builds.filter(|builds| *builds > 0) {
        for unit in &mut of {
            unit.goes = unit.uses.is_some_and(|all| all.unused >= builds);
            total = total.saturating_sub(unit.uses.filter(|_| unit.goes).map_or(0, |all| all.bytes));
        }
    }
    if let Some(limit) = bounds.bytes {
        let order = |unit: &Unit| {
            let Use { unused, used, bytes } = unit.uses.unwrap_or(Use { unused: 0, used: 0, bytes: 0 });
            (std::cmp::Reverse(unused), used, std::cmp::Reverse(bytes), unit.number)
        };
        of.sort_by_key(order);
        for unit in of.iter_mut().filter(|unit| !unit.goes) {
            if total <= limit {
                break;
            }
            let bytes = unit.uses.map_or(0, |all| all.bytes);
            unit.goes = bytes > 0;
            total = total.saturating_sub(bytes);
        }
        if total > limit {
            return vec![true; units.len()];
        }
        of.sort_by_key(|unit| unit.number);
    }
    let goes = |number: &Option<u32>| number.is_some_and(|number| of[number as usize].goes);
    units.iter().map(goes).collect()
}

/// Leaves out units until the rest has no more than `limit` bytes; `by_use` says that times of use are kept.
///
/// The least recently used go first; where use is not kept, the least recently modified.
pub(crate) fn trim(found: &mut Vec<Found>, limit: u64, by_use: bool) -> Trimmed {
    // Holes are not kept; but some file systems do not report how much a file takes.
    let size = |one: &Found, file: &FileData| match one.allocated {
        0 => file.size,
        allocated => file.size.min(allocated),
    };
    let uses: Vec<Option<Use>> = (found.iter())
        .map(|one| {
            let file = one.file()?;
            let modified = one.node.mtime.0;
            let used = if by_use { file.used.max(modified) } else { modified };
            Some(Use { unused: 0, used, bytes: size(one, file) })
        })
        .collect();
    let bounds = Bounds { bytes: Some(limit), ..Bounds::default() };
    let left_out = left_out(&units(found.iter().map(|one| &one.node)), |place| uses[place], bounds);
    let mut trimmed = Trimmed::default();
    for one in uses.iter().zip(&left_out).filter_map(|(one, goes)| one.filter(|_| *goes)) {
        trimmed.files += 1;
        trimmed.bytes += one.bytes;
    }
    let mut left_out = left_out.into_iter();
    found.retain(|_| !left_out.next().unwrap_or_default());
    trimmed
}
