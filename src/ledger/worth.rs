//! Estimates how long a build would have taken without larder: the same build and push on the same engine, with nothing
//! but the builder's own cache.
//!
//! | what happened | the estimate |
//! |---|---|
//! | BuildKit built the image | its time without the import of caches, plus the steps that a tier made unnecessary and the builder did not have, plus what restored mounts spared |
//! | the engine had the image | the time that BuildKit needs if every step is cached |
//! | it was found elsewhere or grafted, and the builder was empty | a build from nothing |
//! | the same, and the builder had layers | the same as in the engine, plus the steps that the builder is not known to have |
//!
//! The duration of a step that did not run is the last known one. An estimate that depends on an unknown duration is
//! unknown.

use std::collections::HashMap;

use super::record::{BuildOutcome, BuildRecord, MountState, Phase, StepEntry, TierOutcome};

/// The number of solves whose overhead is considered.
const MAX_OVERHEADS: usize = 9;

/// What earlier builds of an image show about its durations, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct History {
    steps: HashMap<(Option<String>, String), StepTimes>,
    /// What BuildKit needs besides steps, base images, imports and exports; the latest last.
    overheads: Vec<u64>,
    /// The time for fetching the base images into an empty builder.
    base: Option<u64>,
    /// The time for exporting the image when every step had run.
    export: Option<u64>,
    /// The time for pushing all layers.
    push: Option<u64>,
    /// The time for pushing when some steps were cached.
    small_push: Option<u64>,
    /// The steps' time on the clock, and the sum of their durations, in the build that ran most.
    parallel: (u64, u64),
}

#[derive(Debug, Clone, Copy, Default)]
struct StepTimes {
    /// Without cache mounts, or with empty ones.
    cold: Option<u64>,
    /// With content in its cache mounts.
    warm: Option<u64>,
}

impl History {
    /// Reads the builds of an image, the oldest first.
    pub(crate) fn of<'b>(builds: impl IntoIterator<Item = &'b BuildRecord>) -> Self {
        let mut history = Self::default();
        for build in builds {
            history.learn(build);
        }
        history
    }

    fn learn(&mut self, build: &BuildRecord) {
        // A step of a failed build may have ended early.
        if build.outcome != BuildOutcome::Built {
            return;
        }
        let has_run = |step: &&StepEntry| !step.cached && step.tier.is_none() && step.start_millis.is_some();
        for step in build.step_list.iter().filter(has_run) {
            let (stage, text) = step.identity();
            let times = self.steps.entry((stage.map(str::to_owned), text.to_owned())).or_default();
            match step.mounts {
                Some(MountState::Kept | MountState::Restored | MountState::Unknown) => {
                    times.warm = Some(step.millis);
                }
                Some(MountState::Empty) | None => times.cold = Some(step.millis),
            }
        }
        if let Some(solve) = &build.solve {
            self.overheads.push(solve.other_millis);
            if build.steps.cached == 0 {
                self.export = Some(solve.export_millis);
                // A builder that has the base images, but must run every step, takes much less time for them.
                if solve.base_millis >= self.base.unwrap_or_default() / 2 {
                    self.base = Some(solve.base_millis);
                }
            }
            let ran = || build.step_list.iter().filter(|step| !step.cached);
            let sum: u64 = ran().map(|step| step.millis).sum();
            if sum >= self.parallel.1 {
                self.parallel = (solve.steps_millis, sum);
            }
        }
        let push = if build.steps.cached == 0 { &mut self.push } else { &mut self.small_push };
        *push = engine_push(build).or(*push);
    }

    /// Returns the last known duration of a step, if possible without content in its cache mounts.
    fn step(&self, step: &StepEntry) -> Option<u64> {
        let times = self.times(step)?;
        times.cold.or(times.warm)
    }

    fn times(&self, step: &StepEntry) -> Option<StepTimes> {
        let (stage, text) = step.identity();
        self.steps.get(&(stage.map(str::to_owned), text.to_owned())).copied()
    }

    fn overhead(&self) -> Option<u64> {
        let start = self.overheads.len().saturating_sub(MAX_OVERHEADS);
        let mut last = self.overheads[start..].to_vec();
        last.sort_unstable();
        last.get(last.len() / 2).copied()
    }

    /// Converts a sum of durations of steps to the time on the clock.
    fn on_the_clock(&self, sum: u64) -> u64 {
        match self.parallel {
            (clock, all) if clock < all => {
                u64::try_from(u128::from(sum) * u128::from(clock) / u128::from(all)).unwrap_or(sum)
            }
            _ => sum,
        }
    }

    /// Returns the duration of a build of these steps in an empty builder.
    fn build_from_nothing(&self, steps: &[StepEntry]) -> Option<u64> {
        let steps = self.on_the_clock(sum_known(steps.iter())?);
        Some(self.overhead()? + self.base? + steps + self.export?)
    }

    /// Returns the duration of a build of these steps in a builder that has those without a tier.
    fn build_on_kept_layers(&self, steps: &[StepEntry]) -> Option<u64> {
        let spared = steps.iter().filter(|step| step.tier.is_some());
        Some(self.overhead()? + self.on_the_clock(sum_known(spared)?))
    }
}

/// Adds up how long these steps would have taken. A copy whose duration is not known counts as nothing.
fn sum_known<'s>(mut steps: impl Iterator<Item = &'s StepEntry>) -> Option<u64> {
    steps.try_fold(0, |sum, step| match step.spared_millis {
        Some(millis) => Some(sum + millis),
        None if step.is_copy() => Some(sum),
        None => None,
    })
}

/// Returns how long the engine took for the push of a build, or would have taken.
fn engine_push(build: &BuildRecord) -> Option<u64> {
    let phase = build.phases.iter().find(|record| record.phase == Phase::Push)?;
    Some(phase.engine_millis.unwrap_or(phase.millis))
}

/// Adds to a record what its tiers spared, and how long the build would have taken without them. `is_pushed` is `true`
/// if the image was to be in a registry afterwards.
pub(crate) fn appraise(record: &mut BuildRecord, history: &History, is_pushed: bool) {
    for step in record.step_list.iter_mut().filter(|step| step.cached || step.tier.is_some()) {
        step.spared_millis = history.step(step);
    }
    // With `from_tier`, the steps of this tier, otherwise those whose layers were imported.
    let spared_by = |from_tier: Option<&str>| {
        let steps = record.step_list.iter();
        let sum = sum_known(steps.filter(|step| match from_tier {
            Some(tier) => step.tier.as_deref() == Some(tier),
            None => step.imported && step.tier.is_none(),
        }));
        sum.map(|sum| history.on_the_clock(sum))
    };
    let by_mounts = record.step_list.iter().filter(|step| step.mounts == Some(MountState::Restored));
    let by_mounts = by_mounts.map(|step| Some(history.times(step)?.cold?.saturating_sub(step.millis)));
    let by_mounts = by_mounts.sum::<Option<u64>>().map(|sum| history.on_the_clock(sum));
    let has_prefix = record.step_list.iter().any(|step| step.tier.as_deref() == Some("prefix"));
    let by_prefix = spared_by(Some("prefix")).and_then(|steps| match record.was_builder_empty {
        // Without larder, the builder might have had these steps.
        None if has_prefix => None,
        Some(true) if has_prefix => Some(steps + history.base?),
        _ => Some(steps),
    });
    let without = match (record.outcome, &record.solve) {
        (BuildOutcome::Failed | BuildOutcome::Interrupted, _) => None,
        (_, Some(solve)) => (|| {
            let spared = by_prefix? + spared_by(None)? + by_mounts?;
            Some(solve.millis.saturating_sub(solve.import_millis) + spared)
        })(),
        (_, None) if record.hit_tier.as_deref() == Some("engine") => history.overhead(),
        (_, None) => match record.was_builder_empty {
            Some(true) => history.build_from_nothing(&record.step_list),
            Some(false) => history.build_on_kept_layers(&record.step_list),
            None => None,
        },
    };
    let pushing = match engine_push(record) {
        Some(millis) => Some(millis),
        // A solve that pushes contains the push.
        None if !is_pushed || record.solve.is_some() => Some(0),
        // The registry has all layers of an image that needed no push, and docker push only asks for them.
        None if record.hit_tier.as_deref() == Some("engine") => Some(0),
        None if record.was_builder_empty == Some(true) => history.push,
        // Only the changed layers would be sent. If no such push is known, it counts as nothing.
        None => Some(history.small_push.unwrap_or_default()),
    };
    let without = without.zip(pushing).map(|(building, pushing)| building + pushing);
    let spared: Vec<Option<u64>> = (record.tiers.iter())
        .map(|tier| match (tier.outcome, tier.tier.as_str()) {
            (TierOutcome::Hit, "mounts") => by_mounts,
            (TierOutcome::Hit, "layers") => spared_by(None),
            (TierOutcome::Hit, "prefix") => by_prefix,
            (TierOutcome::Hit, _) => without,
            _ => None,
        })
        .collect();
    for (tier, spared) in record.tiers.iter_mut().zip(spared) {
        tier.spared_millis = spared;
    }
    record.without_millis = without;
}

impl BuildRecord {
    /// Returns the last known duration of all cached steps together, or `None` if that of a RUN or ADD is not known.
    pub(super) fn known_cached_millis(&self) -> Option<u64> {
        sum_known(self.step_list.iter().filter(|step| step.cached))
    }

    /// Returns the time in milliseconds that larder saved, all its own work included; negative if it cost more than it
    /// spared, and `None` if that is not known.
    pub(crate) fn saved_millis(&self) -> Option<i64> {
        i64::try_from(self.without_millis?).ok()?.checked_sub_unsigned(self.millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{PhaseRecord, SolveRecord, StepCountsRecord, TierRecord};

    fn step(source: &str, cached: bool, millis: u64) -> StepEntry {
        let (source, start_millis) = (Some(source.to_owned()), (!cached).then_some(0));
        StepEntry { source, cached, start_millis, millis, ..StepEntry::default() }
    }

    fn built(steps: Vec<StepEntry>, solve: SolveRecord, millis: u64) -> BuildRecord {
        let cached = steps.iter().filter(|step| step.cached).count();
        BuildRecord {
            outcome: BuildOutcome::Built,
            steps: StepCountsRecord { total: steps.len(), cached, imported: 0 },
            step_list: steps,
            solve: Some(solve),
            millis,
            ..BuildRecord::for_tests("a")
        }
    }

    /// A build in an empty builder: 3 s base, 20 s pip, 1 s copy, 4 s export, 2 s overhead, and a push of 6 s.
    fn cold() -> BuildRecord {
        let solve = SolveRecord {
            millis: 30_000,
            steps_millis: 21_000,
            base_millis: 3_000,
            import_millis: 0,
            export_millis: 4_000,
            other_millis: 2_000,
        };
        let steps = vec![step("RUN pip", false, 20_000), step("COPY . .", false, 1_000)];
        BuildRecord {
            was_builder_empty: Some(true),
            phases: vec![PhaseRecord::new(Phase::Push, 31_000, 6_000)],
            ..built(steps, solve, 39_000)
        }
    }

    fn tier(name: &str) -> TierRecord {
        TierRecord::new(name, TierOutcome::Hit, "")
    }

    fn appraised(mut record: BuildRecord, builds: &[BuildRecord], is_pushed: bool) -> BuildRecord {
        appraise(&mut record, &History::of(builds), is_pushed);
        record
    }

    #[test]
    fn a_build_without_hits_cost_what_larder_did_beside_it() {
        let record = appraised(cold(), &[], true);
        assert_eq!(record.without_millis, Some(36_000));
        assert_eq!(record.saved_millis(), Some(-3_000));
    }

    #[test]
    fn a_push_counts_with_the_time_of_the_engine() {
        let mut record = cold();
        record.phases[0].engine_millis = Some(16_000);
        let record = appraised(record, &[], true);
        assert_eq!((record.without_millis, record.saved_millis()), (Some(46_000), Some(7_000)));
        let hit = BuildRecord {
            outcome: BuildOutcome::ImageHit,
            hit_tier: Some("registry".to_owned()),
            was_builder_empty: Some(true),
            step_list: vec![step("RUN pip", true, 0), step("COPY . .", true, 0)],
            ..BuildRecord::for_tests("a")
        };
        assert_eq!(appraised(hit, &[record], true).without_millis, Some(30_000 + 16_000));
    }

    #[test]
    fn the_builders_own_cache_is_no_gain() {
        let steps = vec![step("RUN pip", true, 0), step("COPY . .", false, 900)];
        let solve = SolveRecord { millis: 2_500, steps_millis: 900, ..SolveRecord::default() };
        let record = appraised(built(steps, solve, 2_700), &[cold()], false);
        assert_eq!((record.without_millis, record.saved_millis()), (Some(2_500), Some(-200)));
        assert_eq!(record.step_list[0].spared_millis, Some(20_000), "for the hit rate");
    }

    #[test]
    fn imported_layers_spare_the_last_known_time_of_their_steps_less_the_import() {
        let pip = StepEntry { imported: true, ..step("RUN pip", true, 0) };
        let solve = SolveRecord { millis: 7_000, import_millis: 4_000, ..SolveRecord::default() };
        let mut record = built(vec![pip, step("COPY . .", false, 1_000)], solve, 8_000);
        record.tiers = vec![tier("layers")];
        let known = appraised(record.clone(), &[cold()], false);
        assert_eq!(known.without_millis, Some(3_000 + 20_000));
        assert_eq!(known.tiers[0].spared_millis, Some(20_000));
        let unknown = appraised(record, &[], false);
        assert_eq!((unknown.without_millis, unknown.tiers[0].spared_millis), (None, None));
    }

    #[test]
    fn restored_mounts_spare_the_difference_to_a_run_with_empty_ones() {
        let pip = |mounts, millis| StepEntry { mounts: Some(mounts), ..step("RUN pip", false, millis) };
        let run = |mounts, millis| {
            let solve = SolveRecord { millis, steps_millis: millis, ..SolveRecord::default() };
            built(vec![pip(mounts, millis)], solve, millis + 500)
        };
        let mut restored = run(MountState::Restored, 8_000);
        restored.tiers = vec![tier("mounts")];
        let known = [run(MountState::Empty, 20_000), run(MountState::Kept, 7_000)];
        let record = appraised(restored.clone(), &known, false);
        assert_eq!((record.without_millis, record.saved_millis()), (Some(20_000), Some(11_500)));
        assert_eq!(record.tiers[0].spared_millis, Some(12_000));
        assert_eq!(
            appraised(restored, &known[1..], false).without_millis,
            None,
            "never seen with empty mounts"
        );
    }

    #[test]
    fn a_prefix_also_spares_the_original_base_image() {
        let pip = StepEntry { tier: Some("prefix".to_owned()), ..step("RUN pip", true, 0) };
        let solve = SolveRecord { millis: 5_000, import_millis: 3_500, ..SolveRecord::default() };
        let mut record = built(vec![pip, step("COPY . .", false, 1_000)], solve, 6_000);
        record.tiers = vec![tier("prefix")];
        let unknown = appraised(record.clone(), &[cold()], false);
        assert_eq!((unknown.without_millis, unknown.tiers[0].spared_millis), (None, None));
        record.was_builder_empty = Some(false);
        let kept = appraised(record.clone(), &[cold()], false);
        assert_eq!(kept.without_millis, Some(1_500 + 20_000), "the builder may have the base image");
        record.was_builder_empty = Some(true);
        let record = appraised(record, &[cold()], false);
        assert_eq!(record.without_millis, Some(1_500 + 20_000 + 3_000));
        assert_eq!(record.tiers[0].spared_millis, Some(20_000 + 3_000));
    }

    #[test]
    fn an_image_hit_is_worth_a_build_on_the_state_of_the_engine() {
        let steps = || {
            let copy = StepEntry { tier: Some("registry".to_owned()), ..step("COPY . .", true, 0) };
            vec![step("RUN pip", true, 0), copy]
        };
        let hit = |tier_name: &str, was_builder_empty| BuildRecord {
            outcome: BuildOutcome::ImageHit,
            hit_tier: Some(tier_name.to_owned()),
            was_builder_empty,
            step_list: steps(),
            tiers: vec![tier(tier_name)],
            millis: 100,
            ..BuildRecord::for_tests("a")
        };
        for (record, is_pushed, expected) in [
            (hit("engine", None), false, Some(2_000)),
            (hit("engine", None), true, Some(2_000)),
            (hit("registry", Some(true)), true, Some(30_000 + 6_000)),
            (hit("archive", Some(true)), false, Some(30_000)),
            (hit("registry", Some(false)), true, Some(2_000 + 1_000)),
            (hit("registry", None), true, None),
        ] {
            let appraised = appraised(record.clone(), &[cold()], is_pushed);
            assert_eq!(appraised.without_millis, expected, "{record:?}");
            assert_eq!(appraised.tiers[0].spared_millis, expected);
            appraise(&mut record.clone(), &History::default(), is_pushed);
            assert_eq!(record.without_millis, None, "nothing is known");
        }
    }

    #[test]
    fn steps_of_parallel_stages_count_with_their_time_on_the_clock() {
        let steps = || vec![step("RUN a", false, 10_000), step("RUN b", false, 10_000)];
        let solve = SolveRecord { millis: 10_000, steps_millis: 10_000, ..SolveRecord::default() };
        let both = built(steps(), solve, 10_000);
        let imported = steps().into_iter().map(|step| StepEntry { cached: true, imported: true, ..step });
        let record = built(imported.collect(), SolveRecord::default(), 1_000);
        assert_eq!(appraised(record, &[both], false).without_millis, Some(10_000));
    }

    #[test]
    fn steps_of_failed_builds_and_steps_that_never_started_have_no_known_duration() {
        let mut failed = cold();
        failed.outcome = BuildOutcome::Failed;
        let mut not_started = cold();
        not_started.step_list.iter_mut().for_each(|step| step.start_millis = None);
        let pip = StepEntry { imported: true, ..step("RUN pip", true, 0) };
        let record = built(vec![pip], SolveRecord::default(), 100);
        assert_eq!(appraised(record, &[failed, not_started], false).without_millis, None);
    }

    #[test]
    fn a_failed_build_has_no_worth() {
        let record = BuildRecord { outcome: BuildOutcome::Failed, ..cold() };
        assert_eq!(appraised(record, &[cold()], true).without_millis, None);
    }
}
