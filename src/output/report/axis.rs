//! Axes: values as positions, and round numbers for their marks.

/// A number as it is drawn.
#[expect(clippy::cast_precision_loss, reason = "a position needs no more than 52 bits")]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

/// The marks of an axis from 0, with their labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// The value at the end of the axis; greater than 0.
    pub(super) end: f64,
    pub(super) marks: Vec<(f64, String)>,
}

impl Axis {
    /// Returns an axis of milliseconds that ends at `millis`, in seconds.
    pub(super) fn seconds(millis: u64, most: f64) -> Self {
        let end = number(millis.max(1));
        Self { end, marks: marks(end, (1000.0, "s"), most) }
    }

    /// Returns an axis of milliseconds that ends with a mark at or above `millis`, in seconds or minutes.
    pub(super) fn durations(millis: u64, most: f64) -> Self {
        let unit = if millis < 300_000 { (1000.0, "s") } else { (60_000.0, "min") };
        Self::rounded(number(millis.max(1)), unit, most)
    }

    /// Returns an axis of bytes that ends with a mark at or above `bytes`.
    pub(super) fn bytes(bytes: u64, most: f64) -> Self {
        let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        let end = number(bytes.max(1));
        let unit = units.into_iter().find(|(unit, _)| end > unit / 2.0).unwrap_or((1.0, "B"));
        Self::rounded(end, unit, most)
    }

    /// Returns an axis of rates from 0 to 1.
    pub(super) fn percentages() -> Self {
        let marks = [0.0, 0.5, 1.0].map(|rate| (rate, format!("{:.0}%", rate * 100.0)));
        Self { end: 1.0, marks: marks.to_vec() }
    }

    fn rounded(value: f64, (unit, name): (f64, &str), most: f64) -> Self {
        let step = step(value / unit, most) * unit;
        let end = (value / step - 1e-9).ceil() * step;
        Self { end, marks: marks(end, (unit, name), most) }
    }
}

/// Returns the smallest round number by which `value` is divided into at most `most` parts.
fn step(value: f64, most: f64) -> f64 {
    let steps = (-3..16).flat_map(|exponent| [1.0, 2.0, 5.0].map(|first| first * 10_f64.powi(exponent)));
    steps.into_iter().find(|step| value / step <= most).unwrap_or(value)
}

fn marks(end: f64, (unit, name): (f64, &str), most: f64) -> Vec<(f64, String)> {
    let step = step(end / unit, most);
    let decimals = (0..3).find(|places| (step * 10_f64.powi(*places)).fract() < 1e-9).unwrap_or(3);
    let decimals = usize::try_from(decimals).unwrap_or_default();
    let values = std::iter::successors(Some(0.0), |before| Some(before + step));
    values
        .take_while(|value| *value <= end / unit + step * 1e-6)
        .map(|value| (value * unit, format!("{value:.decimals$} {name}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.marks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn axes_have_round_marks_in_one_unit() {
        assert_eq!(labels(&Axis::seconds(42_300, 5.0)), ["0 s", "10 s", "20 s", "30 s", "40 s"]);
        assert_eq!(labels(&Axis::seconds(310, 4.0)), ["0.0 s", "0.1 s", "0.2 s", "0.3 s"]);
        assert_eq!(labels(&Axis::durations(42_300, 3.0)), ["0 s", "20 s", "40 s", "60 s"]);
        assert_eq!(labels(&Axis::durations(610_000, 4.0)), ["0 min", "5 min", "10 min", "15 min"]);
        assert_eq!(labels(&Axis::bytes(610_000_000, 3.0)), ["0.0 GB", "0.5 GB", "1.0 GB"]);
        assert_eq!(labels(&Axis::bytes(2_400_000_000, 3.0)), ["0 GB", "1 GB", "2 GB", "3 GB"]);
    }

    #[test]
    fn an_axis_reaches_its_value() {
        for value in [0, 1, 7, 999, 1000, 60_000, 299_999, 300_000, 1_000_000_000_000] {
            for axis in [Axis::durations(value, 3.0), Axis::bytes(value, 3.0)] {
                assert!(axis.end >= number(value) && axis.end > 0.0, "{value}: {axis:?}");
                assert!((2..=5).contains(&axis.marks.len()), "{value}: {axis:?}");
            }
        }
    }
}
