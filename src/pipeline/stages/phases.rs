//! Records when the phases of a build ran, for the ledger.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::ledger::{Phase, PhaseRecord, millis};

pub(crate) struct PhaseClock {
    pub(super) started: Timestamp,
    clock: Instant,
    phases: Mutex<Vec<PhaseRecord>>,
}

/// A phase that is running. It ends when this is dropped, so also if its future is cancelled.
#[must_use]
pub(super) struct RunningPhase<'c> {
    clock: &'c PhaseClock,
    phase: Phase,
    start: Instant,
    engine_time: Option<Duration>,
}

impl PhaseClock {
    /// Starts a build whose first phase is [`Phase::Prepare`].
    pub(super) fn start() -> Self {
        Self { started: Timestamp::now(), clock: Instant::now(), phases: Mutex::default() }
    }

    pub(super) fn end_preparation(&self) {
        self.record(Phase::Prepare, self.clock, Instant::now());
    }

    pub(super) fn enter(&self, phase: Phase) -> RunningPhase<'_> {
        RunningPhase { clock: self, phase, start: Instant::now(), engine_time: None }
    }

    fn period(&self, phase: Phase, start: Instant, end: Instant) -> PhaseRecord {
        let start_millis = millis(start.saturating_duration_since(self.clock));
        PhaseRecord::new(phase, start_millis, millis(end - start))
    }

    /// Returns the time since the start of the build in milliseconds.
    pub(super) fn millis(&self) -> u64 {
        millis(self.clock.elapsed())
    }

    pub(super) fn record(&self, phase: Phase, start: Instant, end: Instant) {
        self.add(self.period(phase, start, end));
    }

    fn add(&self, record: PhaseRecord) {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }

    /// Returns the phases that took at least a millisecond, by start.
    pub(super) fn records(&self) -> Vec<PhaseRecord> {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner).clone();
        phases.retain(|phase| phase.millis > 0);
        phases.sort_by_key(|phase| phase.start_millis);
        phases
    }
}

impl RunningPhase<'_> {
    /// Ends the phase, and returns when it ran.
    pub(super) fn end(self) -> PhaseRecord {
        self.period()
    }

    /// Records how long the engine would have taken for the same work.
    pub(super) fn set_engine_time(&mut self, time: Duration) {
        self.engine_time = Some(time);
    }

    fn period(&self) -> PhaseRecord {
        let record = self.clock.period(self.phase, self.start, Instant::now());
        PhaseRecord { engine_millis: self.engine_time.map(millis), ..record }
    }
}

impl Drop for RunningPhase<'_> {
    fn drop(&mut self) {
        self.clock.add(self.period());
    }
}
