//! Cache mounts around a build: into the builder before it, out of it afterwards.

use serde_json::json;

use super::run::Deadline;
use super::visited::VisitedBuild;
use super::{BuildKeys, Job};
use crate::commands::carry::Carrier;
use crate::commands::error::CommandError;
use crate::commands::mount::reached;
use crate::ledger::{MountRecord, TierOutcome, TierRecord};
use crate::mounts::{Mounts, Passed};
use crate::output::mounts::{Amount, MountAction, MountOutcome, MountsReport};

/// The name of the cache mounts in records and summaries.
const MOUNTS: &str = "mounts";

impl Job<'_> {
    /// The mounts that the build reaches; none where that cannot be known, of which the build itself will speak.
    async fn mounts(&self) -> Mounts {
        match self.inputs.built_text() {
            Some(text) => reached(self.client, &self.build.source, text).await.unwrap_or_default(),
            None => Mounts::default(),
        }
    }

    /// Brings the mounts into the builder; which ones there are.
    pub(super) async fn restore_mounts(&mut self, keys: Option<&BuildKeys>) -> Result<Mounts, CommandError> {
        if !self.build.tiers.mounts {
            self.skip(MOUNTS, self.build.tiers.switch);
            return Ok(Mounts::default());
        }
        let mut mounts = self.mounts().await;
        if mounts.carried.is_empty() && mounts.passed.is_empty() {
            return Ok(mounts);
        }
        if let Some(flag) = self.runs_every_step() {
            self.skip(MOUNTS, &format!("{flag} makes BuildKit empty them"));
            return Ok(mounts);
        }
        if !self.build.no_cache_filter.is_empty() {
            // Stages that are made anew are other ones to BuildKit, and mounts made from them other mounts.
            let reason = "--no-cache-filter may make anew what it is made from";
            for mount in mounts.carried.extract_if(.., |mount| mount.id.origin.is_some()) {
                mounts.passed.extend(mount.uses.into_iter().map(|used| Passed { used, reason }));
            }
        }
        self.set_unneeded_aside(&mut mounts, keys).await?;
        let (report, prepared) =
            self.carrier(MountAction::Restore, keys)?.ahead_of_build().restore(&mounts).await?;
        self.prepared = prepared;
        self.tell(&report, &[MountOutcome::Hit, MountOutcome::Passed]);
        let restored = |record: &crate::output::mounts::MountRecord| MountRecord {
            restored_files: record.moved.files,
            restored_bytes: record.moved.bytes,
            ..MountRecord::of(
                record.id.clone(),
                record.targets.first().map(String::as_str).unwrap_or_default(),
                &record.kind,
            )
        };
        let carried = || report.mounts.iter().filter(|record| record.outcome != MountOutcome::Passed);
        self.record.mounts = carried().map(restored).collect();
        let hits = carried().filter(|record| record.outcome == MountOutcome::Hit).count();
        self.answered(TierRecord {
            tier: MOUNTS.to_owned(),
            outcome: match (hits, self.record.mounts.len()) {
                (0, 0) => TierOutcome::Skipped,
                (0, _) => TierOutcome::Miss,
                _ => TierOutcome::Hit,
            },
            reason: match self.unneeded.len() {
                0 => format!("{hits} of {} restored", self.record.mounts.len()),
                unneeded => {
                    let all = self.record.mounts.len() + unneeded;
                    format!("{hits} of {all} restored, {unneeded} not needed: their steps are layers here")
                }
            },
            bytes: self.record.mounts.iter().map(|mount| mount.restored_bytes).sum(),
            millis: report.millis,
        });
        self.account(report)?;
        Ok(mounts)
    }

    /// Keeps what the builder has now, unless no step has run that could have changed it.
    pub(super) async fn save_mounts(
        &mut self,
        mut mounts: Mounts,
        keys: Option<&BuildKeys>,
        has_failed: bool,
    ) -> Result<(), CommandError> {
        self.judge_unneeded(keys, has_failed).await?;
        if has_failed {
            // To visit such a mount is to build what it is made from, which may be what failed.
            mounts.carried.retain(|mount| mount.id.origin.is_none());
        }
        for torn in mounts.carried.extract_if(.., |mount| self.is_torn(mount)) {
            self.printer
                .note(&format!("the cache mount {} is not saved: a step that uses it was killed\n", torn.id));
        }
        if mounts.carried.is_empty()
            || self.mounting_steps.is_empty()
            || self.settings.saves_nothing().is_some()
        {
            return Ok(());
        }
        let report = self.carrier(MountAction::Save, keys)?.save(&mounts).await?;
        self.tell(&report, &[MountOutcome::Saved, MountOutcome::Unchanged]);
        for saved in &report.mounts {
            let Some(record) = self.record.mounts.iter_mut().find(|record| record.id == saved.id) else {
                continue;
            };
            let files = |of: Option<Amount>| of.map_or(0, |of| of.files);
            (record.used_files, record.added_files) = (files(saved.used), files(saved.added));
            if saved.outcome == MountOutcome::Saved {
                (record.saved_files, record.saved_bytes) = (saved.kept.files, saved.kept.bytes);
            }
        }
        if let Some(tier) = self.record.tiers.iter_mut().find(|tier| tier.tier == MOUNTS) {
            tier.millis += report.millis;
        }
        self.account(report)
    }

    pub(super) fn carrier(
        &self,
        action: MountAction,
        keys: Option<&BuildKeys>,
    ) -> Result<Carrier<'_>, CommandError> {
        let ambiguous = keys.and_then(|keys| keys.ambiguous);
        let deadline = match action {
            // The build is over, in time.
            MountAction::Save => Deadline::after(Some(self.build.mounts.timeout)),
            MountAction::Restore | MountAction::List => self.deadline,
        };
        let conditions = (ambiguous, deadline);
        let build = VisitedBuild::new(self.build, self.inputs, self.client, self.settings, conditions);
        Carrier::new(action, self.connection, self.session, build, self.printer)
    }

    fn tell(&mut self, report: &MountsReport, outcomes: &[MountOutcome]) {
        for warning in &report.warnings {
            if !self.told.contains(warning) {
                self.printer.warn(warning);
                self.told.push(warning.clone());
            }
        }
        for record in &report.mounts {
            self.printer.event("mount", &json!({ "action": report.action, "mount": record }));
        }
        for record in report.mounts.iter().filter(|record| outcomes.contains(&record.outcome)) {
            self.printer.note(&format!("{}\n", record.line(report.action)));
        }
    }

    /// What went wrong was told as it happened; under `--strict` it is the end.
    pub(super) fn account(&self, report: MountsReport) -> Result<(), CommandError> {
        match report.faults.into_iter().next() {
            Some(fault) if self.build.strict => {
                Err(CommandError::cache_line(fault.message)
                    .hint("without --strict the cache is done without"))
            }
            _ => Ok(()),
        }
    }
}
