//! What fills the local cache: its entries by kind and lane.

use std::fmt::Write as _;

use super::axis::number;
use crate::amounts::{count, size};
use crate::output::usage::lane_usages;
use crate::store::Census;

/// The number of rows that are listed.
const MAX_LISTED: usize = 20;

/// The entries of the local cache, or why they are not known.
#[derive(Debug, Clone)]
pub(crate) enum CacheContents {
    Known {
        rows: Vec<ContentsRow>,
        bytes_stored: u64,
        bytes_unused: u64,
        /// The number of entries that could not be read.
        unreadable: usize,
    },
    Unknown {
        reason: String,
    },
}

/// The entries of one kind in one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentsRow {
    pub(super) kind: String,
    pub(super) lane: String,
    pub(super) entries: usize,
    /// Bytes of the content, without sharing and compression.
    pub(super) bytes: u64,
}

impl CacheContents {
    pub(crate) fn new(census: &Census, unreadable: usize) -> Self {
        let row = |usage: crate::output::usage::LaneUsage<'_>| ContentsRow {
            kind: usage.kind.to_string(),
            lane: usage.lane.to_string(),
            entries: usage.entries,
            bytes: usage.bytes,
        };
        let mut rows: Vec<ContentsRow> = lane_usages(census).into_iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.bytes));
        let (bytes_stored, bytes_unused) = (census.bytes_stored, census.bytes_unused);
        Self::Known { rows, bytes_stored, bytes_unused, unreadable }
    }

    /// Returns the largest rows; many small ones are summed up in the last one.
    pub(super) fn listed(&self) -> Vec<ContentsRow> {
        let Self::Known { rows, .. } = self else { return Vec::new() };
        let mut listed = rows.clone();
        if listed.len() > MAX_LISTED {
            let rest = listed.split_off(MAX_LISTED - 1);
            listed.push(ContentsRow {
                kind: format!("{} more", rest.len()),
                lane: "-".to_owned(),
                entries: rest.iter().map(|row| row.entries).sum(),
                bytes: rest.iter().map(|row| row.bytes).sum(),
            });
        }
        listed
    }

    /// Describes the sums in a sentence or two, or says why there are none.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Unknown { reason } => format!("The contents of the cache are unknown: {reason}"),
            Self::Known { rows, unreadable: 0, .. } if rows.is_empty() => {
                "The local cache has no entries.".to_owned()
            }
            Self::Known { bytes_stored, bytes_unused, unreadable, .. } => {
                let mut text = format!("The entries take {} on the disk.", size(*bytes_stored));
                if *bytes_unused > 0 {
                    let _ = write!(text, " {} of it are no longer needed.", size(*bytes_unused));
                }
                text.push_str(" The sizes below are those of the contents, before sharing and compression.");
                if *unreadable > 0 {
                    let entries = count(*unreadable, "entry", "entries");
                    let _ = write!(text, " {entries} cannot be read and are not listed.");
                }
                text
            }
        }
    }
}

/// Returns which part of the largest value each value is, in percent, as the length of a bar.
pub(super) fn shares(values: &[u64]) -> Vec<f64> {
    let largest = number(values.iter().copied().max().unwrap_or_default().max(1));
    values.iter().map(|value| number(*value) / largest * 100.0).collect()
}

impl ContentsRow {
    pub(super) fn size(&self) -> String {
        size(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(count: usize) -> CacheContents {
        let row = |at: usize| ContentsRow {
            kind: "mount".to_owned(),
            lane: format!("pr-{at}"),
            entries: 1,
            bytes: 1000 - at as u64,
        };
        CacheContents::Known {
            rows: (0..count).map(row).collect(),
            bytes_stored: 5_000,
            bytes_unused: 0,
            unreadable: 0,
        }
    }

    #[test]
    fn many_lanes_are_summed_up() {
        assert_eq!(known(MAX_LISTED).listed().len(), MAX_LISTED);
        let listed = known(100).listed();
        assert_eq!(listed.len(), MAX_LISTED);
        let rest = &listed[MAX_LISTED - 1];
        assert_eq!((rest.kind.as_str(), rest.entries), ("81 more", 81));
    }

    #[test]
    fn an_unreadable_store_is_unknown_and_an_empty_one_is_empty() {
        let unknown = CacheContents::Unknown { reason: "cannot list /cache".to_owned() };
        assert_eq!(unknown.summary(), "The contents of the cache are unknown: cannot list /cache");
        assert_eq!(known(0).summary(), "The local cache has no entries.");
        assert!(known(2).summary().starts_with("The entries take 5 kB"));
    }
}
