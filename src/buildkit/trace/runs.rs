//! The periods during which a vertex was running.
//!
//! BuildKit may start a vertex several times: once to compute a cache key, once to load the result. Runs are keyed by
//! their start, so a later message about the same run replaces the earlier one. Only the latest run can be open: an
//! older one without an end is assumed to have ended when the next began.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// The runs of one vertex, by start.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs(BTreeMap<Timestamp, Option<Timestamp>>);

impl Runs {
    pub(super) fn record(&mut self, start: Timestamp, stop: Option<Timestamp>) {
        self.0.insert(start, stop);
    }

    pub(super) fn first_start(&self) -> Option<Timestamp> {
        self.0.keys().next().copied()
    }

    pub(super) fn last_start(&self) -> Option<Timestamp> {
        self.0.keys().next_back().copied()
    }

    /// Returns `true` if the latest run has not ended.
    pub(super) fn is_open(&self) -> bool {
        self.0.values().next_back().is_some_and(Option::is_none)
    }

    pub(super) fn last_stop(&self) -> Option<Timestamp> {
        self.0.values().next_back().copied().flatten()
    }

    /// Returns the runs as (start, stop) pairs; an open one ends at `at`.
    pub(super) fn spans(&self, at: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let ends = self.0.keys().skip(1).copied().chain([at]);
        self.0.iter().zip(ends).map(|((&start, &stop), end)| (start, stop.unwrap_or(end)))
    }
}

/// Returns the total time that `spans` cover; overlaps count once.
pub(super) fn covered(spans: impl IntoIterator<Item = (Timestamp, Timestamp)>) -> Duration {
    let mut spans: Vec<_> = spans.into_iter().collect();
    spans.sort_unstable();
    let mut total = Duration::ZERO;
    let mut reached = Timestamp::MIN;
    for (start, stop) in spans {
        total += elapsed(start.max(reached), stop);
        reached = reached.max(stop);
    }
    total
}

/// Returns the time from `start` to `stop`, or zero if `stop` is earlier.
pub(crate) fn elapsed(start: Timestamp, stop: Timestamp) -> Duration {
    Duration::try_from(stop.duration_since(start)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn overlapping_runs_count_once() {
        for (spans, seconds) in [
            (vec![], 0),
            (vec![(0, 1)], 1),
            (vec![(2, 4), (2, 4)], 2),
            (vec![(0, 1), (2, 3), (7, 8)], 3),
            (vec![(0, 10), (1, 2), (4, 9), (9, 10)], 10),
            (vec![(4, 6), (0, 5)], 6),
            (vec![(5, 3)], 0),
        ] {
            let spans: Vec<_> = spans.into_iter().map(|(start, stop)| (at(start), at(stop))).collect();
            assert_eq!(covered(spans.clone()), Duration::from_secs(seconds), "{spans:?}");
        }
    }

    #[test]
    fn a_run_without_an_end_ends_when_the_next_begins() {
        let mut runs = Runs::default();
        runs.record(at(0), None);
        assert!(runs.is_open());
        runs.record(at(2), Some(at(3)));
        assert!(!runs.is_open());
        assert_eq!(covered(runs.spans(at(9))), Duration::from_secs(3));
    }
}
