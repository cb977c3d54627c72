//! Polls a condition outside the test until it holds, with a deadline.

use std::time::{Duration, Instant};

/// The time between two polls.
const PAUSE: Duration = Duration::from_millis(20);

/// Returns the first value of `probe` within `limit`. Panics if there is none.
#[track_caller]
pub(crate) fn await_some<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let clock = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(clock.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `probe` returns `true`. Panics if it does not within `limit`.
#[track_caller]
pub(crate) fn await_true(limit: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    await_some(limit, what, || probe().then_some(()));
}
