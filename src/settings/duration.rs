//! Durations in settings.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

use super::origin::FromText;

/// The maximum; longer durations could overflow when added to a point in time.
const MAX_DURATION: Duration = Duration::from_hours(100 * 365 * 24);

impl FromText for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        parse(text)
    }
}

/// Parses `90s`, `30m`, `1h30m`, `30d`, or seconds as a bare number; zero and more than 100 years are errors.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let failed = || format!("`{text}` is not a duration such as 90s, 30m, 1h30m or 7d");
    let duration = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let span: Span = text.parse().map_err(|_| failed())?;
        let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| failed())?;
        Duration::try_from(duration).map_err(|_| failed())?
    };
    if duration > MAX_DURATION {
        return Err(format!("`{text}` is longer than 100 years"));
    }
    Some(duration).filter(|duration| !duration.is_zero()).ok_or_else(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_or_are_in_seconds() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("45", 45), ("7d", 604_800), ("2w", 1_209_600)]
        {
            assert_eq!(parse(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in ["", "0", "-5m", "soon", "1y", "18446744073709551615", "36501d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
