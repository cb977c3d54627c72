//! Mounts that no step will use, since the steps that would are layers of the builder already.
//!
//! That is a guess: the dependency key says all that those layers depend on,
//! the builder has made them under this key, and an image on them is still
//! there. A wrong one costs what the mount would have saved, and is told.

use super::{BuildKeys, Job};
use crate::commands::error::CommandError;
use crate::commands::known_builder::{KnownBuilder, UnknownBuilder};
use crate::ledger::{MountRecord, Prediction};
use crate::mounts::{Mounts, TargetMount};
use crate::output::progress::{StepKind, Trace};

impl Job<'_> {
    /// Takes those mounts out.
    pub(super) async fn set_unneeded_aside(
        &mut self,
        mounts: &mut Mounts,
        keys: Option<&BuildKeys>,
    ) -> Result<(), CommandError> {
        let Some(keys) = keys else { return Ok(()) };
        let decided = &keys.keys.layers.runs;
        let is_decided =
            |mount: &TargetMount| mount.uses.iter().all(|used| decided.contains(&(used.stage, used.line)));
        if !mounts.carried.iter().any(is_decided) || !self.build.no_cache_filter.is_empty() {
            return Ok(());
        }
        let has_layers = match self.known_builder().await {
            Ok(builder) => builder.has_layers(keys.layers()).await,
            Err(error) => Err(error),
        };
        match has_layers {
            Ok(true) => {
                (self.unneeded, mounts.carried) =
                    std::mem::take(&mut mounts.carried).into_iter().partition(is_decided);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => self.cache_fault(&error),
        }
    }

    /// Notes which steps ran that have mounts.
    pub(super) fn note_mounting_steps(&mut self, trace: &Trace) {
        let ran = trace.steps().into_iter().filter(|step| step.kind() == StepKind::Run && !step.cached);
        self.mounting_steps = ran.map(|step| step.name).filter(|name| name.contains("--mount")).collect();
    }

    /// Judges the guess by the steps that ran, and gives back the mounts that were needed all the same.
    pub(super) async fn judge_unneeded(
        &mut self,
        keys: Option<&BuildKeys>,
    ) -> Result<Vec<TargetMount>, CommandError> {
        let ran = |mount: &TargetMount| {
            let is_of = |step: &String| mount.uses.iter().any(|used| step.contains(&used.target));
            self.mounting_steps.iter().any(is_of)
        };
        let (needed, unneeded): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unneeded).into_iter().partition(ran);
        for (mounts, prediction) in [(&needed, Prediction::Wrong), (&unneeded, Prediction::Right)] {
            self.record.mounts.extend(mounts.iter().map(|mount| MountRecord {
                prediction: Some(prediction),
                ..MountRecord::of(mount.id.to_string(), &mount.uses[0].target, &mount.kind.to_string())
            }));
        }
        if !needed.is_empty() {
            for mount in &needed {
                self.printer.warn(&format!(
                    "the cache mount {} was not restored, for the layer of line {} was expected in the builder, and it is gone",
                    mount.id, mount.uses[0].line
                ));
            }
            self.change_known_builder(keys, |builder, keys| builder.forget_layers(keys.layers())).await?;
        }
        Ok(needed)
    }

    /// Notes that the builder has the layers of these dependencies.
    pub(super) async fn note_layers(&mut self, keys: &BuildKeys, image: &str) -> Result<(), CommandError> {
        if keys.keys.layers.runs.is_empty() || self.record.mounts.is_empty() {
            return Ok(());
        }
        self.change_known_builder(Some(keys), |builder, keys| builder.note_layers(keys.layers(), image)).await
    }

    async fn known_builder(&self) -> Result<KnownBuilder<'_>, UnknownBuilder> {
        KnownBuilder::meet(self.client, self.engine.as_ref(), &self.notes).await
    }

    async fn change_known_builder(
        &mut self,
        keys: Option<&BuildKeys>,
        change: impl FnOnce(&mut KnownBuilder<'_>, &BuildKeys) -> Result<(), crate::notes::NotesError>,
    ) -> Result<(), CommandError> {
        let Some(keys) = keys else { return Ok(()) };
        let changed = match self.known_builder().await {
            Ok(mut builder) => change(&mut builder, keys).map_err(Into::into),
            Err(error) => Err(error),
        };
        match changed {
            Ok(()) => Ok(()),
            Err(error) => self.cache_fault(&error),
        }
    }
}
