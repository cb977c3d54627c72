//! The retries of HTTP requests, to registries and to object stores.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

pub(crate) const ATTEMPTS: u32 = 5;
/// The mean pause before the second attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The maximum pause, unless the server requests a longer one.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// The attempts of one request.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    failed: u32,
}

impl Attempts {
    /// Counts a failed attempt, and returns the pause before the next one, at least `requested`, or `None` after the last
    /// attempt.
    pub(crate) fn next_pause(&mut self, requested: Option<Duration>) -> Option<Duration> {
        self.failed += 1;
        (self.failed < ATTEMPTS).then(|| pause_after(self.failed).max(requested.unwrap_or_default()))
    }
}

/// Returns a pause after the attempt with this number, counted from 1: exponential, and randomised by half, so that
/// jobs that failed together do not retry together.
pub(crate) fn pause_after(attempt: u32) -> Duration {
    let mean = FIRST_PAUSE.saturating_mul(1 << (attempt - 1).min(16)).min(MAX_PAUSE);
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    mean.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX))
}

/// Returns `true` if a request that was answered with this status may succeed a little later.
pub(crate) fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 423 | 425 | 429 | 500 | 502..=504)
}

/// Returns the pause that a response requests: `Retry-After` in seconds or as a date (RFC 9110), or the time at which
/// GitHub's rate limit is reset.
pub(crate) fn requested_pause(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<u64>().ok();
    let date = || {
        let date = rfc2822::parse(text(RETRY_AFTER.as_str())?).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
    };
    let reset = || {
        let reset = i64::try_from(number("x-ratelimit-reset")?).ok()?;
        let seconds = u64::try_from(reset.saturating_sub(now.as_second())).unwrap_or_default();
        (number("x-ratelimit-remaining") == Some(0)).then(|| Duration::from_secs(seconds))
    };
    number(RETRY_AFTER.as_str()).map(Duration::from_secs).or_else(date).or_else(reset)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_requested_pause_is_in_seconds_a_date_or_the_reset_of_a_rate_limit() {
        let now: Timestamp = "2024-11-06T08:49:30Z".parse().unwrap();
        let reset = (now.as_second() + 9).to_string();
        for (headers, seconds) in [
            (&[("retry-after", "7")][..], Some(7)),
            (&[("retry-after", "Wed, 06 Nov 2024 08:49:37 GMT")], Some(7)),
            (&[("retry-after", "Wed, 06 Nov 2024 08:49:00 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &reset)], Some(9)),
            (&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", &reset)], None),
            (&[], None),
        ] {
            let map: HeaderMap = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect();
            assert_eq!(requested_pause(&map, now), seconds.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn pauses_grow_are_randomised_and_end() {
        let mut attempts = Attempts::default();
        let mut pauses = Vec::new();
        while let Some(pause) = attempts.next_pause(None) {
            pauses.push(pause);
        }
        assert_eq!(pauses.len(), 4);
        for (pause, mean) in pauses.iter().zip([200, 400, 800, 1600].map(Duration::from_millis)) {
            assert!((mean / 2..=mean * 3 / 2).contains(pause), "{pause:?} for {mean:?}");
        }
        let pauses: std::collections::BTreeSet<Duration> = (0..64).map(|_| pause_after(1)).collect();
        assert!(pauses.len() > 1);
    }

    #[test]
    fn a_server_may_request_a_longer_pause() {
        let pause = |seconds| Attempts::default().next_pause(Some(Duration::from_secs(seconds)));
        assert_eq!(pause(7), Some(Duration::from_secs(7)));
        assert!(pause(0) > Some(Duration::ZERO));
    }
}
