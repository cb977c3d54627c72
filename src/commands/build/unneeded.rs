//! Mounts that no step will use, since the steps that would are layers already, of the builder or of a registry.
//!
//! That is a guess: the dependency key says all that those layers depend on,
//! the builder has made them under this key, and an image on them is still
//! there; or such a builder has left them in the registry. A wrong one costs
//! what the mount would have saved, and is told.

use super::layers::Stages;
use super::{BuildKeys, Job};
use crate::buildkit::trace::{StepKind, StepRecord, Trace};
use crate::commands::error::CommandError;
use crate::commands::known_builder::{KnownBuilder, UnknownBuilder};
use crate::context::clean_path;
use crate::ledger::{MountRecord, Prediction};
use crate::mounts::{Mounts, TargetMount};
use crate::output::mounts::MountAction;

/// Whether a step, by its words, has this mount.
fn has_mount(step: &str, mount: &TargetMount) -> bool {
    // As a whole word: a path may begin like another one.
    let says = |word: &str| {
        step.match_indices(word).any(|(at, _)| {
            let next = step[at + word.len()..].chars().next();
            next.is_none_or(|next| matches!(next, ',' | ' ' | '"' | '/'))
        })
    };
    let (_, id) = mount.id.wire.split_once('/').unwrap_or_default();
    mount.uses.iter().any(|used| says(&used.target) && (id == clean_path(&used.target) || says(id)))
}

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
        let of_builder = match has_layers {
            Ok(has_layers) => has_layers.then_some(Stages::All),
            Err(error) => {
                self.cache_fault(&error)?;
                None
            }
        };
        let Some(stages) = of_builder.or(self.layers_there(keys).await?) else { return Ok(()) };
        let is_there = |mount: &TargetMount| {
            let is_last = mount.uses.iter().all(|used| used.stage == keys.target);
            is_decided(mount) && (stages == Stages::All || is_last)
        };
        (self.unneeded, mounts.carried) = std::mem::take(&mut mounts.carried).into_iter().partition(is_there);
        Ok(())
    }

    /// Notes which steps ran that have mounts, and which of them were killed.
    pub(super) fn note_mounting_steps(&mut self, trace: &Trace) {
        let ran = trace
            .steps()
            .into_iter()
            .filter(|step| step.kind() == StepKind::Run && !step.cached && step.name.contains("--mount"));
        let (killed, ended): (Vec<_>, Vec<_>) = ran.partition(StepRecord::is_killed);
        self.killed_steps = killed.iter().map(|step| step.name.clone()).collect();
        self.mounting_steps = ended.into_iter().chain(killed).map(|step| step.name).collect();
    }

    /// Returns `true` if a step with this mount was killed, so that what it was about to write may be there in part.
    pub(super) fn is_torn(&self, mount: &TargetMount) -> bool {
        self.killed_steps.iter().any(|step| has_mount(step, mount))
    }

    /// Judges the guess by the steps that ran. What is kept of the mounts stays as it is: one that was needed has had
    /// nothing but what its step has fetched since.
    pub(super) async fn judge_unneeded(
        &mut self,
        keys: Option<&BuildKeys>,
        has_failed: bool,
    ) -> Result<(), CommandError> {
        let ran = |mount: &TargetMount| self.mounting_steps.iter().any(|step| has_mount(step, mount));
        let (needed, unneeded): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unneeded).into_iter().partition(ran);
        // A build that failed may not have come to the steps.
        let right = (!has_failed).then_some(Prediction::Right);
        for (mounts, prediction) in [(&needed, Some(Prediction::Wrong)), (&unneeded, right)] {
            self.record.mounts.extend(mounts.iter().map(|mount| MountRecord {
                prediction,
                ..MountRecord::of(mount.id.to_string(), &mount.uses[0].target, &mount.kind.to_string())
            }));
        }
        if !needed.is_empty() {
            for mount in &needed {
                self.printer.warn(&format!(
                    "the cache mount {} was not restored, for the layer of line {} was expected in the builder or a registry, and it is gone",
                    mount.id, mount.uses[0].line
                ));
            }
            self.change_known_builder(keys, |builder, keys| builder.forget_layers(keys.layers())).await?;
        }
        if unneeded.is_empty() {
            return Ok(());
        }
        let report = self.carrier(MountAction::Restore, keys)?.keep(&unneeded).await?;
        self.account(report)
    }

    /// Notes that the builder has made the image, and has the layers of these dependencies.
    pub(super) async fn note_layers(&mut self, keys: &BuildKeys, image: &str) -> Result<(), CommandError> {
        if self.cache_is_down {
            return Ok(());
        }
        if let Ok(id) = image.parse() {
            self.change_known_builder(Some(keys), |builder, _| builder.note_image(id)).await?;
        }
        if keys.keys.layers.runs.is_empty() || self.record.mounts.is_empty() {
            return Ok(());
        }
        self.change_known_builder(Some(keys), |builder, keys| builder.note_layers(keys.layers(), image)).await
    }

    pub(super) async fn known_builder(&self) -> Result<KnownBuilder<'_>, UnknownBuilder> {
        KnownBuilder::meet(self.connection, &self.notes).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{Dockerfile, Options};
    use crate::mounts::{Variables, mounts};

    #[test]
    fn a_step_has_a_mount_whose_target_and_id_it_names() {
        let text = "FROM x\nRUN --mount=type=cache,target=/c a\nRUN --mount=type=cache,id=pip,target=/p b\n";
        let resolution = Dockerfile::parse(text).unwrap().resolve(&Options::default()).unwrap();
        let carried = mounts(&resolution, &std::collections::BTreeMap::new(), Variables::Expanded).carried;
        for (step, expected) in [
            ("RUN --mount=type=cache,target=/c a", [true, false]),
            ("RUN --mount=target=/c,type=cache a", [true, false]),
            ("RUN --mount=type=cache,target=/cc a", [false, false]),
            ("RUN --mount=type=cache,target=/p b", [false, false]),
            ("RUN --mount=type=cache,id=pip,target=/p b", [false, true]),
            ("RUN --mount=type=cache,id=pipx,target=/p b", [false, false]),
        ] {
            assert_eq!([has_mount(step, &carried[0]), has_mount(step, &carried[1])], expected, "{step}");
        }
    }
}
