//! Waiting for what happens elsewhere: asked again and again until it is so, with a deadline.

use std::time::{Duration, Instant};

/// How long between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// The first answer within `limit`; the test fails without one.
#[track_caller]
pub(crate) fn await_some<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let clock = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `ask` says yes; the test fails when it does not within `limit`.
#[track_caller]
pub(crate) fn await_true(limit: Duration, what: &str, mut ask: impl FnMut() -> bool) {
    await_some(limit, what, || ask().then_some(()));
}
