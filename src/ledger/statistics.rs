//! Statistics of the builds of a ledger.

use serde::Serialize;

use super::{BuildOutcome, BuildRecord, Prediction, StepCountsRecord, TierOutcome};

/// The statistics of a number of builds. Rates are between 0 and 1, and `None` if the divisor is 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BuildStatistics {
    pub(crate) builds: usize,
    /// Builds that were not needed because the image existed.
    pub(crate) image_hits: usize,
    pub(crate) built: usize,
    pub(crate) failed: usize,
    pub(crate) interrupted: usize,
    /// `image_hits` / (`image_hits` + `built`).
    pub(crate) image_hit_rate: Option<f64>,
    /// The RUN, COPY and ADD steps of successful builds.
    pub(crate) steps: StepCountsRecord,
    /// Cached / all RUN, COPY and ADD steps; in an image hit every step counts as cached.
    pub(crate) step_hit_rate: Option<f64>,
    /// Like `step_hit_rate`, with each step weighted by its last known duration; builds with a cached RUN or ADD whose
    /// duration is not known do not count.
    pub(crate) time_weighted_hit_rate: Option<f64>,
    /// Files of cache mounts that existed before and were used / all files that were used or added.
    pub(crate) mount_hit_rate: Option<f64>,
    /// Cache mounts that were not restored because their steps were expected to be cached, and were.
    pub(crate) mounts_rightly_unneeded: usize,
    /// Cache mounts that were not restored for the same reason, but one of their steps ran.
    pub(crate) mounts_wrongly_unneeded: usize,
    pub(crate) median_hit_millis: Option<u64>,
    pub(crate) median_built_millis: Option<u64>,
    /// The longest time that a build spent on taking from the caches what it used.
    pub(crate) longest_restore_millis: Option<u64>,
    /// The time in milliseconds that larder saved in the builds for which that is known, all its own work included.
    /// Negative if it cost more than it spared; `None` if it is not known for any build.
    pub(crate) saved_millis: Option<i64>,
    /// The number of builds in `saved_millis`.
    pub(crate) builds_with_known_worth: usize,
}

impl BuildStatistics {
    pub(crate) fn of<'b>(builds: impl IntoIterator<Item = &'b BuildRecord>) -> Self {
        let mut sums = Self::default();
        let (mut hit_millis, mut built_millis) = (Vec::new(), Vec::new());
        let (mut cached_time, mut all_time) = (0, 0);
        let (mut used_files, mut added_files) = (0, 0);
        for build in builds {
            sums.builds += 1;
            match build.outcome {
                BuildOutcome::Failed => {
                    sums.failed += 1;
                    continue;
                }
                BuildOutcome::Interrupted => {
                    sums.interrupted += 1;
                    continue;
                }
                BuildOutcome::ImageHit => {
                    sums.image_hits += 1;
                    hit_millis.push(build.millis);
                }
                BuildOutcome::Built => {
                    sums.built += 1;
                    built_millis.push(build.millis);
                }
            }
            if let Some(cached) = build.known_cached_millis() {
                let ran: u64 =
                    build.step_list.iter().filter(|step| !step.cached).map(|step| step.millis).sum();
                cached_time += cached;
                all_time += cached + ran;
            }
            for mount in &build.mounts {
                used_files += mount.used_files;
                added_files += mount.added_files;
                match mount.prediction {
                    Some(Prediction::Right) => sums.mounts_rightly_unneeded += 1,
                    Some(Prediction::Wrong) => sums.mounts_wrongly_unneeded += 1,
                    None => {}
                }
            }
            sums.steps.total += build.steps.total;
            sums.steps.cached += build.steps.cached;
            sums.steps.imported += build.steps.imported;
            let hits = build.tiers.iter().filter(|tier| tier.outcome == TierOutcome::Hit);
            sums.longest_restore_millis =
                sums.longest_restore_millis.max(Some(hits.map(|tier| tier.millis).sum()));
            if let Some(saved) = build.saved_millis() {
                sums.saved_millis = Some(sums.saved_millis.unwrap_or_default() + saved);
                sums.builds_with_known_worth += 1;
            }
        }
        sums.image_hit_rate = rate(sums.image_hits as u64, (sums.image_hits + sums.built) as u64);
        sums.step_hit_rate = rate(sums.steps.cached as u64, sums.steps.total as u64);
        sums.time_weighted_hit_rate = rate(cached_time, all_time);
        sums.mount_hit_rate = rate(used_files, used_files + added_files);
        sums.median_hit_millis = median(hit_millis);
        sums.median_built_millis = median(built_millis);
        sums
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn rate(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Returns the middle value, or the mean of the two middle ones.
fn median(mut values: Vec<u64>) -> Option<u64> {
    values.sort_unstable();
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { values[middle - 1].midpoint(upper) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{StepEntry, TierRecord};

    fn ran(millis: u64) -> StepEntry {
        StepEntry { millis, ..StepEntry::default() }
    }

    fn cached(spared: impl Into<Option<u64>>) -> StepEntry {
        StepEntry { cached: true, spared_millis: spared.into(), ..StepEntry::default() }
    }

    fn build(outcome: BuildOutcome, millis: u64, without: Option<u64>, steps: Vec<StepEntry>) -> BuildRecord {
        BuildRecord {
            outcome,
            millis,
            without_millis: without,
            steps: StepCountsRecord {
                total: steps.len(),
                cached: steps.iter().filter(|step| step.cached).count(),
                imported: 0,
            },
            step_list: steps,
            tiers: vec![
                TierRecord { millis: 10, ..TierRecord::new("engine", TierOutcome::Miss, "") },
                TierRecord { millis: millis / 2, ..TierRecord::new("mounts", TierOutcome::Hit, "") },
            ],
            ..BuildRecord::for_tests("k")
        }
    }

    #[test]
    fn failed_builds_are_counted_but_nothing_else_of_them() {
        use BuildOutcome::{Built, Failed, ImageHit, Interrupted};
        let builds = [
            build(Built, 9_500, Some(9_000), vec![ran(8_000), ran(1_000)]),
            build(Built, 1_200, Some(1_100), vec![cached(8_000), ran(1_000)]),
            build(ImageHit, 40, Some(2_000), vec![cached(8_000), cached(1_000)]),
            build(Built, 700, None, vec![cached(None), ran(500)]),
            build(Failed, 500_000, Some(1), vec![cached(8_000)]),
            build(Interrupted, 500_000, Some(1), vec![cached(8_000)]),
        ];
        let sums = BuildStatistics::of(&builds);
        assert_eq!((sums.builds, sums.image_hits, sums.built), (6, 1, 3));
        assert_eq!((sums.failed, sums.interrupted), (1, 1));
        assert_eq!((sums.saved_millis, sums.builds_with_known_worth), (Some(-500 - 100 + 1_960), 3));
        assert_eq!(sums.image_hit_rate, Some(0.25));
        assert_eq!(sums.step_hit_rate, Some(0.5));
        assert_eq!(sums.time_weighted_hit_rate, Some(17_000.0 / 27_000.0));
        assert_eq!((sums.median_hit_millis, sums.median_built_millis), (Some(40), Some(1_200)));
        assert_eq!(sums.longest_restore_millis, Some(4_750));
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        assert_eq!(BuildStatistics::of(&[]), BuildStatistics::default());
        let unknown = build(BuildOutcome::ImageHit, 40, None, vec![cached(None)]);
        let sums = BuildStatistics::of(&[unknown]);
        assert_eq!((sums.saved_millis, sums.time_weighted_hit_rate), (None, None));
    }
}
