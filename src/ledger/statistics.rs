//! Statistics of the builds of a ledger.

use std::collections::HashMap;

use serde::Serialize;

use super::{BuildOutcome, BuildRecord, Prediction, StepCountsRecord};
use crate::key::CacheKey;

/// The statistics of a number of builds. Rates are between 0 and 1, and `None` if the divisor is 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
    /// Like `step_hit_rate`, with each step weighted by its last known duration; steps without a known duration do not
    /// count.
    pub(crate) time_weighted_hit_rate: Option<f64>,
    /// Files of cache mounts that existed before and were used / all files that were used or added.
    pub(crate) mount_hit_rate: Option<f64>,
    /// Cache mounts that were not restored because their steps were expected to be cached, and were.
    pub(crate) mounts_rightly_unneeded: usize,
    /// Cache mounts that were not restored for the same reason, but one of their steps ran.
    pub(crate) mounts_wrongly_unneeded: usize,
    pub(crate) median_hit_millis: Option<u64>,
    pub(crate) median_built_millis: Option<u64>,
    /// The measured time saved, in milliseconds: the last known duration of each step that did not run, less the time
    /// of querying the tiers. Negative if the caches cost more than they saved.
    pub(crate) saved_millis: i64,
}

impl BuildStatistics {
    /// Computes the statistics of the last `last` of `builds` (oldest first). Older ones only contribute durations of
    /// steps.
    pub(crate) fn of(builds: &[BuildRecord], last: usize) -> Self {
        let counted_from = builds.len().saturating_sub(last);
        let mut known = KnownDurations::default();
        let mut sums = Self::default();
        let (mut hit_millis, mut built_millis) = (Vec::new(), Vec::new());
        let (mut cached_time, mut all_time) = (0, 0);
        let (mut used_files, mut added_files) = (0_u64, 0_u64);
        for (position, build) in builds.iter().enumerate() {
            known.learn(build);
            if position < counted_from {
                continue;
            }
            sums.builds += 1;
            let (cached, all) = match build.outcome {
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
                    let whole = known.all_steps(build);
                    (whole, whole)
                }
                BuildOutcome::Built => {
                    sums.built += 1;
                    built_millis.push(build.millis);
                    (known.steps(build, |cached| cached), known.steps(build, |_| true))
                }
            };
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
            cached_time += cached;
            all_time += all;
            sums.saved_millis += cached;
            sums.saved_millis -= build.tiers.iter().map(|tier| signed(tier.millis)).sum::<i64>();
        }
        sums.image_hit_rate = rate(sums.image_hits, sums.image_hits + sums.built);
        sums.step_hit_rate = rate(sums.steps.cached, sums.steps.total);
        sums.time_weighted_hit_rate = rate(to_usize(cached_time), to_usize(all_time));
        sums.mount_hit_rate = rate(to_usize(used_files), to_usize(used_files + added_files));
        sums.median_hit_millis = median(hit_millis);
        sums.median_built_millis = median(built_millis);
        sums
    }
}

/// The last known duration of each step, and the steps of the build of each key.
#[derive(Default)]
struct KnownDurations {
    steps: HashMap<String, u64>,
    builds: HashMap<CacheKey, Vec<String>>,
}

impl KnownDurations {
    fn learn(&mut self, build: &BuildRecord) {
        for step in build.step_list.iter().filter(|step| !step.cached) {
            self.steps.insert(step.digest.clone(), step.millis);
        }
        if let (BuildOutcome::Built, Some(key)) = (build.outcome, build.image_key) {
            self.builds.insert(key, build.step_list.iter().map(|step| step.digest.clone()).collect());
        }
    }

    fn steps(&self, build: &BuildRecord, counts: impl Fn(bool) -> bool) -> i64 {
        let counted = build.step_list.iter().filter(|step| counts(step.cached));
        counted.filter_map(|step| self.steps.get(&step.digest)).map(|millis| signed(*millis)).sum()
    }

    fn all_steps(&self, build: &BuildRecord) -> i64 {
        let steps = build.image_key.and_then(|key| self.builds.get(&key));
        steps.into_iter().flatten().filter_map(|digest| self.steps.get(digest)).map(|m| signed(*m)).sum()
    }
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

fn to_usize(count: impl TryInto<usize>) -> usize {
    count.try_into().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
fn rate(part: usize, whole: usize) -> Option<f64> {
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
    use crate::ledger::{StepEntry, TierOutcome, TierRecord};

    fn build(key: &str, outcome: BuildOutcome, millis: u64, steps: &[(&str, bool, u64)]) -> BuildRecord {
        let step_list: Vec<StepEntry> = (steps.iter())
            .map(|(digest, cached, millis)| StepEntry {
                digest: (*digest).to_owned(),
                name: String::new(),
                cached: *cached,
                imported: false,
                millis: *millis,
            })
            .collect();
        let cached = steps.iter().filter(|step| step.1).count();
        BuildRecord {
            outcome,
            millis,
            steps: StepCountsRecord { total: steps.len(), cached, imported: 0 },
            step_list,
            tiers: vec![TierRecord {
                tier: "engine".to_owned(),
                outcome: TierOutcome::Miss,
                reason: String::new(),
                bytes: 0,
                millis: 10,
            }],
            ..BuildRecord::for_tests(key)
        }
    }

    #[test]
    fn the_time_saved_is_the_last_duration_of_cached_steps_less_that_of_the_tiers() {
        let builds = [
            build("k", BuildOutcome::Built, 9000, &[("install", false, 8000), ("copy", false, 1000)]),
            build("l", BuildOutcome::Built, 1200, &[("install", true, 0), ("copy2", false, 1000)]),
            BuildRecord {
                steps: StepCountsRecord { total: 2, cached: 2, imported: 0 },
                ..build("k", BuildOutcome::ImageHit, 40, &[])
            },
            build("m", BuildOutcome::Failed, 500, &[("install", true, 0)]),
            build("m", BuildOutcome::Interrupted, 500, &[("install", true, 0)]),
        ];
        let sums = BuildStatistics::of(&builds, 10);
        assert_eq!((sums.builds, sums.image_hits, sums.built), (5, 1, 2));
        assert_eq!((sums.failed, sums.interrupted), (1, 1));
        assert_eq!(sums.saved_millis, 8000 + 9000 - 3 * 10);
        assert_eq!(sums.image_hit_rate, Some(1.0 / 3.0));
        assert_eq!(sums.step_hit_rate, Some(0.5));
        assert_eq!(sums.time_weighted_hit_rate, Some(17000.0 / 27000.0));
        assert_eq!((sums.median_hit_millis, sums.median_built_millis), (Some(40), Some(5100)));
    }

    #[test]
    fn older_builds_contribute_durations_but_are_not_counted() {
        let builds = [
            build("k", BuildOutcome::Built, 9000, &[("install", false, 8000)]),
            build("l", BuildOutcome::Built, 100, &[("install", true, 0)]),
        ];
        let sums = BuildStatistics::of(&builds, 1);
        assert_eq!((sums.builds, sums.saved_millis), (1, 7990));
    }

    #[test]
    fn an_empty_ledger_has_no_rates() {
        assert_eq!(BuildStatistics::of(&[], 5), BuildStatistics::default());
    }
}
