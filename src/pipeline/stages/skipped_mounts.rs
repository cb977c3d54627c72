//! Skips mounts whose steps are expected to be cached in the builder or in a registry.
//!
//! This is a prediction. The dependency key covers all inputs of the steps' layers. Either the builder has made the
//! layers under this key and still has an image that contains them, or such a builder has pushed them to the registry.
//! A wrong prediction costs the time that the mount would have saved, and is reported.

use jiff::Timestamp;

use super::job::Job;
use super::keyed::Keyed;
use crate::buildkit::trace::{StepKind, StepRecord, Trace};
use crate::context::clean_path;
use crate::ledger::Prediction;
use crate::mounts::{MountAction, Mounts, TargetMount};
use crate::notes::BuilderEntry;
use crate::pipeline::error::Result;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::known_builder::{KnownBuilder, KnownBuilderError};
use crate::tiers::{LayerCaches, Stages};

pub(super) fn has_mount(step: &str, mount: &TargetMount) -> bool {
    // Compare whole words: one path may be a prefix of a different path.
    let contains = |word: &str| {
        step.match_indices(word).any(|(at, _)| {
            let next = step[at + word.len()..].chars().next();
            next.is_none_or(|next| matches!(next, ',' | ' ' | '"' | '/'))
        })
    };
    let (_, id) = mount.id.buildkit_id.split_once('/').unwrap_or_default();
    mount.uses.iter().any(|used| contains(&used.target) && (id == clean_path(&used.target) || contains(id)))
}

#[derive(Default)]
pub(super) struct MountingSteps {
    /// The names of all steps with mounts that ran.
    ran: Vec<String>,
    killed: Vec<String>,
}

impl MountingSteps {
    pub(super) fn of(trace: &Trace) -> Self {
        let ran = trace
            .steps()
            .into_iter()
            .filter(|step| step.kind() == StepKind::Run && !step.is_cached && step.name.contains("--mount"));
        let (killed, ended): (Vec<_>, Vec<_>) = ran.partition(StepRecord::is_killed);
        let killed: Vec<String> = killed.into_iter().map(|step| step.name).collect();
        let ran = ended.into_iter().map(|step| step.name).chain(killed.iter().cloned()).collect();
        Self { ran, killed }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ran.is_empty()
    }

    pub(super) fn ran_with(&self, mount: &TargetMount) -> bool {
        self.ran.iter().any(|step| has_mount(step, mount))
    }

    /// Returns `true` if a step with this mount was killed. The mount may then contain incomplete files.
    pub(super) fn was_killed_with(&self, mount: &TargetMount) -> bool {
        self.killed.iter().any(|step| has_mount(step, mount))
    }
}

/// Removes the mounts from `mounts` whose steps are expected to be cached. Returns the removed mounts.
pub(super) async fn skip_cached(
    mounts: &mut Mounts,
    job: &Job<'_>,
    keys: &BuildKeys,
    layers: &LayerCaches,
) -> Result<Vec<TargetMount>> {
    let decided = &keys.keys.layers.runs;
    let is_decided =
        |mount: &TargetMount| mount.uses.iter().all(|used| decided.contains(&(used.stage, used.line)));
    if !mounts.supported.iter().any(is_decided) || !job.build.no_cache_filter.is_empty() {
        return Ok(Vec::new());
    }
    let has_layers = async { job.known_builder().await?.has_layers(keys.layers_digest()).await };
    let of_builder = match has_layers.await {
        Ok(has_layers) => has_layers.then_some(Stages::All),
        Err(error) => {
            job.faults.report(&error)?;
            None
        }
    };
    let Some(stages) = of_builder.or(job.stages_in_registry(layers, keys).await?) else {
        return Ok(Vec::new());
    };
    let is_cached = |mount: &TargetMount| {
        let is_last = mount.uses.iter().all(|used| used.stage == keys.target);
        is_decided(mount) && (stages == Stages::All || is_last)
    };
    let (skipped, carried) = std::mem::take(&mut mounts.supported).into_iter().partition(is_cached);
    mounts.supported = carried;
    Ok(skipped)
}

/// A skipped mount, and whether skipping it was right; `None` if the build failed before its steps.
pub(super) type JudgedMount = (TargetMount, Option<Prediction>);

pub(super) fn judge_predictions(
    skipped: &[TargetMount],
    steps: &MountingSteps,
    has_failed: bool,
) -> Vec<JudgedMount> {
    let judged = skipped.iter().map(|mount| {
        let prediction = match (steps.ran_with(mount), has_failed) {
            (true, _) => Some(Prediction::Wrong),
            (false, false) => Some(Prediction::Right),
            (false, true) => None,
        };
        (mount.clone(), prediction)
    });
    judged.collect()
}

impl Job<'_> {
    /// Warns of mounts that were needed, and marks the entries of the other mounts as used. The entries of needed
    /// mounts are not replaced, because these mounts contain only what their steps have fetched since.
    pub(super) async fn record_predictions(&self, judged: &[JudgedMount], keyed: &Keyed) -> Result<()> {
        let is_needed = |judged: &&JudgedMount| judged.1 == Some(Prediction::Wrong);
        let (needed, unused): (Vec<&JudgedMount>, Vec<&JudgedMount>) = judged.iter().partition(is_needed);
        for (mount, _) in &needed {
            self.reporter.warn(&format!(
                "the cache mount {} was not restored because the layer of line {} was expected in the builder or a registry, but it was missing",
                mount.id, mount.uses[0].line
            ));
        }
        if let (false, Some(keys)) = (needed.is_empty(), keyed.keys()) {
            self.note_builder(|entry| entry.forget_layers(keys.layers_digest())).await?;
        }
        if !unused.is_empty() {
            let unused: Vec<TargetMount> = unused.into_iter().map(|(mount, _)| mount.clone()).collect();
            let report = self.mount_transfer(MountAction::Restore, keyed)?.touch(&unused).await?;
            self.check_faults(report)?;
        }
        Ok(())
    }

    /// Records that the builder has made the image and, if `has_mounts`, the layers of these dependencies.
    pub(super) async fn note_layers(&self, keys: &BuildKeys, image: &str, has_mounts: bool) -> Result<()> {
        if self.faults.is_cache_unusable() {
            return Ok(());
        }
        if let Ok(id) = image.parse() {
            self.note_builder(|entry| entry.note_image(id, Timestamp::now())).await?;
        }
        if keys.keys.layers.runs.is_empty() || !has_mounts {
            return Ok(());
        }
        self.note_builder(|entry| entry.note_layers(keys.layers_digest(), image, Timestamp::now())).await
    }

    pub(super) async fn known_builder(&self) -> Result<KnownBuilder<'_>, KnownBuilderError> {
        self.connection.known_builder(&self.notes).await
    }

    pub(super) async fn note_builder(&self, change: impl FnOnce(&mut BuilderEntry)) -> Result<()> {
        let noting = async { Ok(self.known_builder().await?.note(change)?) };
        noting.await.or_else(|error: KnownBuilderError| self.faults.report(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{Dockerfile, Options};
    use crate::mounts::{Variables, cache_mounts};

    #[test]
    fn a_step_contains_a_mount_if_it_names_the_target_and_the_id() {
        let text = "FROM x\nRUN --mount=type=cache,target=/c a\nRUN --mount=type=cache,id=pip,target=/p b\n";
        let resolution = Dockerfile::parse(text).unwrap().resolve(&Options::default()).unwrap();
        let carried =
            cache_mounts(&resolution, &std::collections::BTreeMap::new(), Variables::Expanded).supported;
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

    #[test]
    fn skipping_was_wrong_if_a_step_with_the_mount_ran_and_is_unknown_if_the_build_failed_earlier() {
        let text = "FROM x\nRUN --mount=type=cache,target=/a x\nRUN --mount=type=cache,target=/b x\n";
        let resolution = Dockerfile::parse(text).unwrap().resolve(&Options::default()).unwrap();
        let skipped =
            cache_mounts(&resolution, &std::collections::BTreeMap::new(), Variables::Expanded).supported;
        let ran = vec!["[2/3] RUN --mount=type=cache,target=/b x".to_owned()];
        let steps = MountingSteps { ran, killed: Vec::new() };
        for (has_failed, other) in [(false, Some(Prediction::Right)), (true, None)] {
            let judged: Vec<_> = judge_predictions(&skipped, &steps, has_failed)
                .into_iter()
                .map(|(mount, prediction)| (mount.uses[0].target.clone(), prediction))
                .collect();
            assert_eq!(judged, [("/a".to_owned(), other), ("/b".to_owned(), Some(Prediction::Wrong))]);
        }
    }
}
