//! Finds the build at which a figure of a series of builds changed.

use super::{BuildOutcome, BuildRecord};

/// The number of builds before and after a change that are needed to tell it from chance.
const MIN_BUILDS: usize = 4;
/// A hit rate changed if it is higher or lower by this.
const MIN_RATE_CHANGE: f64 = 0.2;
/// A duration changed if it is longer or shorter by this factor.
const MIN_TIME_FACTOR: f64 = 1.5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) enum Figure {
    /// Cached / all steps, from 0 to 1.
    StepHitRate,
    /// In milliseconds.
    BuildTime,
}

/// A change of a figure, with its mean before and since.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Trend {
    pub(crate) figure: Figure,
    pub(crate) before: f64,
    pub(crate) since: f64,
    /// The position of the first build after the change.
    #[serde(skip)]
    pub(crate) position: usize,
}

/// Returns the changes of figures in these builds of one image, the oldest first. Failed builds do not count, and image
/// hits do not count for the build time.
pub(crate) fn trends(builds: &[&BuildRecord]) -> Vec<Trend> {
    let is_counted =
        |build: &BuildRecord| matches!(build.outcome, BuildOutcome::Built | BuildOutcome::ImageHit);
    let counted = || builds.iter().enumerate().filter(|(_, build)| is_counted(build));
    let rates = counted().filter(|(_, build)| build.steps.total > 0);
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
    let rates = rates.map(|(at, build)| (at, build.steps.cached as f64 / build.steps.total as f64));
    let built = counted().filter(|(_, build)| build.outcome == BuildOutcome::Built);
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
    let times = built.map(|(at, build)| (at, build.millis as f64));
    let rate = change(Figure::StepHitRate, &rates.collect::<Vec<_>>());
    let time = change(Figure::BuildTime, &times.collect::<Vec<_>>());
    let is_rate = |trend: &Trend| (trend.before - trend.since).abs() >= MIN_RATE_CHANGE;
    let is_time = |trend: &Trend| {
        let (low, high) = (trend.before.min(trend.since), trend.before.max(trend.since));
        low < high && high >= low * MIN_TIME_FACTOR
    };
    rate.filter(is_rate).into_iter().chain(time.filter(is_time)).collect()
}

/// Divides the values where that explains most of their variance. Returns `None` if there are too few.
fn change(figure: Figure, values: &[(usize, f64)]) -> Option<Trend> {
    let mean = |part: &[(usize, f64)]| {
        #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 52 bits")]
        let count = part.len() as f64;
        (part.iter().map(|(_, value)| value).sum::<f64>() / count, count)
    };
    let divide = |at: usize| {
        let ((before, earlier), (since, later)) = (mean(&values[..at]), mean(&values[at..]));
        // The variance between the two parts, times the number of values.
        let explained = (before - since).powi(2) * earlier * later / (earlier + later);
        (explained, Trend { figure, before, since, position: values[at].0 })
    };
    let last = values.len().checked_sub(MIN_BUILDS)?;
    let divided = (MIN_BUILDS..=last).map(divide);
    let best = divided.max_by(|one, other| one.0.total_cmp(&other.0))?;
    // A part that is as mixed as the whole shows no change, only single builds that differ.
    let (mean, _) = mean(values);
    let all: f64 = values.iter().map(|(_, value)| (value - mean).powi(2)).sum();
    (best.0 >= all / 2.0).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::StepCountsRecord;

    fn found(builds: &[BuildRecord]) -> Vec<Trend> {
        trends(&builds.iter().collect::<Vec<_>>())
    }

    /// Creates builds of ten steps from pairs of cached steps and seconds.
    fn builds(of: impl IntoIterator<Item = (usize, u64)>) -> Vec<BuildRecord> {
        let build = |(cached, seconds): (usize, u64)| BuildRecord {
            outcome: BuildOutcome::Built,
            steps: StepCountsRecord { total: 10, cached, imported: 0 },
            millis: seconds * 1000,
            ..BuildRecord::for_tests("a")
        };
        of.into_iter().map(build).collect()
    }

    #[test]
    fn a_lasting_change_is_found_at_its_first_build() {
        let mut builds =
            builds([(9, 10), (10, 11), (9, 10), (10, 9), (10, 10), (4, 40), (3, 45), (4, 38), (5, 41)]);
        let trends = found(&builds);
        assert_eq!(
            trends.iter().map(|trend| trend.figure).collect::<Vec<_>>(),
            [Figure::StepHitRate, Figure::BuildTime]
        );
        assert!(trends.iter().all(|trend| trend.position == 5), "{trends:?}");
        assert!((trends[0].before - 0.96).abs() < 1e-9 && (trends[0].since - 0.4).abs() < 1e-9);
        builds[4].outcome = BuildOutcome::Failed;
        assert!(found(&builds).iter().all(|trend| trend.position == 5), "a failed build is no result");
    }

    #[test]
    fn single_slow_builds_and_few_builds_are_no_trend() {
        for series in [
            vec![(9, 10); 12],
            vec![(9, 10), (9, 11), (2, 60), (9, 10), (9, 10), (9, 9), (3, 50), (9, 10), (9, 10), (9, 10)],
            vec![(9, 10), (9, 10), (9, 10), (1, 60), (1, 60), (1, 60)],
            vec![(9, 10), (1, 60), (9, 10), (1, 60), (9, 10), (1, 60), (9, 10), (1, 60), (9, 10), (1, 60)],
            vec![],
        ] {
            assert_eq!(found(&builds(series.clone())), [], "{series:?}");
        }
    }
}
