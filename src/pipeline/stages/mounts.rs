//! The stages that restore cache mounts before a build and save them afterwards.

use jiff::Timestamp;

use super::Deadline;
use super::job::Job;
use super::keyed::Keyed;
use super::lookup::Lookup;
use super::prefix::Continuation;
use super::skipped_mounts::{JudgedMount, MountingSteps, has_mount, judge_predictions, skip_cached};
use super::visit_request::VisitRequest;
use crate::buildkit::trace::Trace;
use crate::ledger::{MountRecord, MountState, StepEntry, TierOutcome, TierRecord};
use crate::mounts::{
    MountAction, MountOutcome, MountReportEntry, Mounts, MountsReport, SkippedMount, Tally, TargetMount,
};
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::mount_transfer::MountTransfer;
use crate::pipeline::reached_mounts::reached_mounts;
use crate::pipeline::reporter::BuildEvent;
use crate::tiers::LayerCaches;

pub(super) const TIER_NAME: &str = "mounts";

#[derive(Default)]
pub(super) struct Restored {
    /// The mounts that the build reaches, except the skipped ones.
    mounts: Mounts,
    /// The mounts that are not restored because their steps are expected to be cached.
    skipped: Vec<TargetMount>,
    pub(super) prepared: Trace,
    /// The records of the mounts that were restored or attempted.
    pub(super) carried: Vec<MountReportEntry>,
    pub(super) tier: Option<TierRecord>,
}

impl Restored {
    pub(super) async fn restore(
        &mut self,
        job: &Job<'_>,
        keyed: &Keyed,
        lookup: &Lookup,
        layers: &LayerCaches,
        continued: Option<&Continuation>,
    ) -> Result<()> {
        if !job.build.tiers.mounts {
            self.tier = Some(job.report_skipped(TIER_NAME, job.build.tiers.switch));
            return Ok(());
        }
        // The build itself reports errors in the Dockerfile.
        // A build that continues from a prefix runs only the steps after the prefix.
        if let Some(text) = continued.map(|continued| &continued.text).or_else(|| job.inputs.built_text()) {
            self.mounts = reached_mounts(job.client()?, &job.build.source, text).await.unwrap_or_default();
        }
        let mounts = &self.mounts;
        if mounts.supported.is_empty() && mounts.skipped.is_empty() {
            return Ok(());
        }
        if let Some(flag) = lookup.runs_every_step(job) {
            self.tier = Some(job.report_skipped(TIER_NAME, &format!("{flag} makes BuildKit empty them")));
            return Ok(());
        }
        if let Some(loss) = &lookup.losing.mounts {
            self.mounts = Mounts::default();
            self.tier = Some(job.report_answer(TierRecord::losing(TIER_NAME, loss)));
            return Ok(());
        }
        let mounts = &mut self.mounts;
        if !job.build.no_cache_filter.is_empty() {
            // BuildKit treats rebuilt stages, and mounts that depend on them, as different ones.
            let reason = "--no-cache-filter may rebuild the stage of its initial content";
            for mount in mounts.supported.extract_if(.., |mount| mount.id.origin.is_some()) {
                mounts.skipped.extend(mount.uses.into_iter().map(|used| SkippedMount { used, reason }));
            }
        }
        if let Some(keys) = keyed.keys() {
            self.skipped = skip_cached(mounts, job, keys, layers).await?;
        }
        let restoring = job.mount_transfer(MountAction::Restore, keyed)?.before_build();
        let (report, prepared) = restoring.restore(&self.mounts).await?;
        self.prepared = prepared;
        job.report_mounts(&report);
        let is_restored = |mount: &&MountReportEntry| mount.outcome != MountOutcome::Passed;
        self.carried = report.mounts.iter().filter(is_restored).cloned().collect();
        let hits = self.carried.iter().filter(|mount| mount.outcome == MountOutcome::Hit).count();
        let count = self.carried.len();
        let outcome = match (hits, count) {
            (0, 0) => TierOutcome::Skipped,
            (0, _) => TierOutcome::Miss,
            _ => TierOutcome::Hit,
        };
        let reason = match self.skipped.len() {
            0 => format!("{hits} of {count} restored"),
            skipped => {
                let all = count + skipped;
                format!(
                    "{hits} of {all} restored, {skipped} not needed: their steps are expected to be cached"
                )
            }
        };
        self.tier = Some(job.report_answer(TierRecord {
            bytes: self.carried.iter().map(|mount| mount.moved.bytes).sum(),
            millis: report.millis,
            ..TierRecord::new(TIER_NAME, outcome, reason)
        }));
        job.check_faults(report)
    }
}

#[derive(Default)]
pub(super) struct SavedMounts {
    skipped: Vec<JudgedMount>,
    saved: Vec<MountReportEntry>,
    millis: u64,
}

impl SavedMounts {
    /// Saves the builder's mounts, unless no step that could have changed them has run.
    pub(super) async fn save(
        &mut self,
        job: &Job<'_>,
        keyed: &Keyed,
        restored: &Restored,
        steps: &MountingSteps,
        has_failed: bool,
    ) -> Result<()> {
        self.skipped = judge_predictions(&restored.skipped, steps, has_failed);
        job.record_predictions(&self.skipped, keyed).await?;
        let mut mounts = restored.mounts.clone();
        if has_failed {
            // Accessing such a mount requires building the stage of its initial content, which may be what failed.
            mounts.supported.retain(|mount| mount.id.origin.is_none());
        }
        for torn in mounts.supported.extract_if(.., |mount| steps.was_killed_with(mount)) {
            job.reporter
                .note(&format!("the cache mount {} is not saved: a step that uses it was killed\n", torn.id));
        }
        if mounts.supported.is_empty() || steps.is_empty() || job.settings.reason_nothing_is_saved().is_some()
        {
            return Ok(());
        }
        let report = job.mount_transfer(MountAction::Save, keyed)?.save(&mounts).await?;
        job.report_mounts(&report);
        self.saved.clone_from(&report.mounts);
        self.millis = report.millis;
        job.check_faults(report)
    }

    pub(super) fn records(&self, restored: &Restored) -> (Vec<MountRecord>, Option<TierRecord>) {
        let files = |of: Option<Tally>| of.map_or(0, |of| of.files);
        let carried = restored.carried.iter().map(|mount| {
            let target = mount.targets.first().map(String::as_str).unwrap_or_default();
            let saved = self.saved.iter().find(|saved| saved.id == mount.id);
            let stored = saved.filter(|saved| saved.outcome == MountOutcome::Saved).map(|saved| saved.kept);
            let stored = stored.unwrap_or_default();
            MountRecord {
                restored_files: mount.moved.files,
                restored_bytes: mount.moved.bytes,
                used_files: saved.map_or(0, |saved| files(saved.used)),
                added_files: saved.map_or(0, |saved| files(saved.added)),
                used_packages: saved.and_then(|saved| Some(saved.packages_used?.files)),
                added_packages: saved.and_then(|saved| Some(saved.packages_added?.files)),
                saved_files: stored.files,
                saved_bytes: stored.bytes,
                ..MountRecord::of(mount.id.clone(), target, &mount.kind)
            }
        });
        let skipped = self.skipped.iter().map(|(mount, prediction)| MountRecord {
            prediction: *prediction,
            ..MountRecord::of(mount.id.to_string(), &mount.uses[0].target, &mount.kind.to_string())
        });
        let saved_bytes = self.saved.iter().map(|mount| mount.added_bytes).sum();
        let tier = restored.tier.clone();
        let tier = tier.map(|tier| TierRecord { saved_bytes, saving_millis: self.millis, ..tier });
        (carried.chain(skipped).collect(), tier)
    }

    /// Records for each step that ran what its cache mounts contained. A mount of which the store knew nothing may have
    /// had content in the builder, unless that was empty or all files are newer than the start of the build.
    pub(super) fn mark_steps(
        &self,
        restored: &Restored,
        (was_builder_empty, started): (bool, Timestamp),
        steps: &mut [StepEntry],
    ) {
        for step in steps.iter_mut().filter(|step| !step.cached) {
            let text = step.source.as_deref().unwrap_or(&step.name);
            let used = restored.mounts.supported.iter().filter(|mount| has_mount(text, mount));
            let state = used.map(|mount| match self.state_of(restored, &mount.id.to_string()) {
                MountState::Empty if !was_builder_empty && !self.has_only_files_since(started, mount) => {
                    MountState::Unknown
                }
                state => state,
            });
            let state = state.max();
            step.mounts = state.or_else(|| text.contains("type=cache").then_some(MountState::Unknown));
        }
    }

    /// Returns `true` if the build has written all files of the mount, as far as their times tell.
    fn has_only_files_since(&self, started: Timestamp, mount: &TargetMount) -> bool {
        let id = mount.id.to_string();
        let after = self.saved.iter().find(|saved| saved.id == id);
        after.is_some_and(|saved| saved.oldest_added.is_none_or(|oldest| oldest >= started.as_second()))
    }

    fn state_of(&self, restored: &Restored, id: &str) -> MountState {
        let before = restored.carried.iter().find(|mount| mount.id == id);
        let after = self.saved.iter().find(|mount| mount.id == id);
        let was_used = after.and_then(|mount| mount.used).map(|used| used.files > 0);
        match (before, was_used) {
            (Some(before), _) if before.moved.files > 0 => MountState::Restored,
            (Some(before), _) if before.outcome == MountOutcome::Hit => MountState::Kept,
            (_, Some(true)) => MountState::Kept,
            (Some(_), Some(false)) => MountState::Empty,
            _ => MountState::Unknown,
        }
    }
}

impl Job<'_> {
    pub(super) fn mount_transfer(&self, action: MountAction, keyed: &Keyed) -> Result<MountTransfer<'_>> {
        let deadline = match action {
            // The build's own time limit no longer applies.
            MountAction::Save => Deadline::after(Some(self.build.mounts.timeout)),
            MountAction::Restore | MountAction::List => self.deadline,
        };
        let conditions = (keyed.keys().and_then(|keys| keys.undetected_digest), deadline);
        let build = VisitRequest::new(self.build, self.inputs, self.client()?, self.settings, conditions);
        MountTransfer::new(action, self.connection, self.session, build, self.reporter)
    }

    fn report_mounts(&self, report: &MountsReport) {
        report.warnings.iter().for_each(|warning| self.faults.warn(warning));
        report.mounts.iter().for_each(|mount| self.reporter.report(&BuildEvent::Mount(report.action, mount)));
    }

    /// Fails under `--strict` if there was a fault. The faults were reported as they occurred.
    pub(super) fn check_faults(&self, report: MountsReport) -> Result<()> {
        match report.faults.into_iter().next() {
            Some(fault) if self.build.strict => Err(PipelineError::Mounts(fault.message)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{Dockerfile, Options};
    use crate::mounts::{Variables, cache_mounts};

    #[test]
    fn a_mount_that_the_store_did_not_know_was_empty_if_the_builder_was_or_if_all_files_are_new() {
        let started = Timestamp::from_second(1_000).unwrap();
        let text = "FROM x\nRUN --mount=type=cache,target=/c pip install flask\n";
        let resolution = Dockerfile::parse(text).unwrap().resolve(&Options::default()).unwrap();
        let mounts = cache_mounts(&resolution, &std::collections::BTreeMap::new(), Variables::Expanded);
        let id = mounts.supported[0].id.to_string();
        let entry = |outcome| MountReportEntry { id: id.clone(), outcome, ..MountReportEntry::default() };
        let restored = Restored { mounts, carried: vec![entry(MountOutcome::Miss)], ..Restored::default() };
        for (was_builder_empty, oldest_added, expected) in [
            (true, Some(10), MountState::Empty),
            (false, Some(1_000), MountState::Empty),
            (false, None, MountState::Empty),
            (false, Some(999), MountState::Unknown),
        ] {
            let after =
                MountReportEntry { used: Some(Tally::default()), oldest_added, ..entry(MountOutcome::Saved) };
            let saved = SavedMounts { saved: vec![after], ..SavedMounts::default() };
            let source = Some("RUN --mount=type=cache,target=/c pip install flask".to_owned());
            let mut steps = [StepEntry { source, ..StepEntry::default() }];
            saved.mark_steps(&restored, (was_builder_empty, started), &mut steps);
            assert_eq!(steps[0].mounts, Some(expected), "{was_builder_empty} {oldest_added:?}");
        }
    }

    #[test]
    fn the_record_of_a_mount_counts_restored_used_and_saved_files() {
        let (amount, none) = (|files, bytes| Tally { files, bytes }, Tally::default());
        let mount = |id: &str, outcome, moved, kept| MountReportEntry {
            id: id.to_owned(),
            kind: "pip".to_owned(),
            targets: vec!["/c".to_owned()],
            lines: vec![2],
            outcome,
            kept,
            moved,
            ..MountReportEntry::default()
        };
        let tier = TierRecord { bytes: 7, millis: 5, ..TierRecord::new(TIER_NAME, TierOutcome::Hit, "") };
        let before = mount("a", MountOutcome::Hit, amount(2, 7), amount(2, 7));
        let restored = Restored {
            carried: vec![before, mount("b", MountOutcome::Miss, none, none)],
            tier: Some(tier),
            ..Restored::default()
        };
        let (records, tier) = SavedMounts::default().records(&restored);
        assert_eq!((records[0].restored_files, records[0].saved_files), (2, 0));
        assert_eq!(tier.unwrap().millis, 5);

        let after = MountReportEntry {
            used: Some(amount(1, 3)),
            added: Some(amount(1, 4)),
            ..mount("a", MountOutcome::Saved, amount(1, 4), amount(3, 11))
        };
        let unchanged = mount("b", MountOutcome::Unchanged, none, amount(9, 9));
        let saved = SavedMounts { skipped: Vec::new(), saved: vec![after, unchanged], millis: 3 };
        let (records, tier) = saved.records(&restored);
        let counts = |record: &MountRecord| {
            [record.restored_files, record.used_files, record.added_files, record.saved_files]
        };
        assert_eq!(records.iter().map(counts).collect::<Vec<_>>(), [[2, 1, 1, 3], [0; 4]]);
        assert_eq!(tier.map(|tier| (tier.millis, tier.saving_millis)), Some((5, 3)));
    }
}
