//! Converts the trace of a build to records for the ledger: the steps, the time of the solve, and the use of BuildKit's
//! own cache.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::amounts::count;
use crate::buildkit::trace::{StepKind, Trace, elapsed};
use crate::dockerfile::{Dockerfile, Resolution};
use crate::key::shown_text;
use crate::ledger::{Loss, SolveRecord, StepCountsRecord, StepEntry, TierOutcome, TierRecord, millis};
use crate::pipeline::confidential::step_mark;
use crate::requirements::without_secrets;
use crate::tiers::LayerCaches;

pub(super) const LAYERS: &str = "layers";

/// How the steps of a trace are recorded.
pub(super) struct StepContext<'a> {
    /// The secret of the cache, for the marks of the steps.
    pub(super) secret: Option<[u8; 32]>,
    /// The repositories of the image.
    pub(super) images: &'a [String],
    pub(super) has_build_args: bool,
    /// The Dockerfile that was built, if larder can read it.
    pub(super) dockerfile: Option<&'a Dockerfile>,
    /// When the solve started, in milliseconds from the start of the build.
    pub(super) start_millis: u64,
}

impl StepContext<'_> {
    /// Returns the counted steps. Commands are omitted from their names if they could contain values of build
    /// arguments; their sources are the text of the Dockerfile.
    ///
    /// The mark of a step depends on its text and the names of the image. It does not depend on BuildKit's digest,
    /// which differs in every session for steps after a COPY from the context.
    pub(super) fn entries(&self, trace: &Trace) -> Vec<StepEntry> {
        let start = trace.started().unwrap_or(Timestamp::UNIX_EPOCH);
        let counted = trace.steps().into_iter().filter(|step| step.kind().is_counted());
        let entries = counted.map(|step| {
            let written = self.dockerfile.and_then(|dockerfile| dockerfile.step(&step.name));
            let mark =
                |secret| step_mark(&secret, &format!("{}\n{}", self.images.join(" "), step.name)).to_string();
            StepEntry {
                digest: self.secret.map_or_else(String::new, mark),
                stage: written.and_then(|(stage, _)| stage.name.clone()),
                source: written.map(|(_, instruction)| shown_text(&instruction.text)),
                cached: step.is_cached,
                start_millis: step.started.map(|at| self.start_millis + millis(elapsed(start, at))),
                millis: millis(step.duration),
                name: if self.has_build_args {
                    without_command(&step.name)
                } else {
                    without_secrets(&step.name)
                },
                ..StepEntry::default()
            }
        });
        entries.collect()
    }
}

/// Returns entries for steps that the builder was not asked for. `tier_of` returns for a stage and a line the tier that
/// made the step unnecessary, or `Some(None)` if the builder has the step, or `None` if the step is not wanted.
pub(super) fn unneeded_steps<'t>(
    resolution: &Resolution,
    tier_of: impl Fn(usize, usize) -> Option<Option<&'t str>>,
) -> Vec<StepEntry> {
    let instructions = resolution.stages.iter().flat_map(|stage| {
        let steps = stage.instructions.iter().map(|resolved| &resolved.instruction);
        steps.map(move |instruction| (stage, instruction))
    });
    let steps = instructions.filter(|(_, instruction)| instruction.is_step());
    let wanted = steps.filter_map(|(stage, instruction)| {
        Some((stage, instruction, tier_of(stage.index, *instruction.lines.start())?))
    });
    let entries = wanted.map(|(stage, instruction, tier)| StepEntry {
        name: shown_text(&instruction.text),
        stage: stage.name.clone(),
        source: Some(shown_text(&instruction.text)),
        cached: true,
        tier: tier.map(str::to_owned),
        ..StepEntry::default()
    });
    entries.collect()
}

/// Returns the time of a solve that took `duration` milliseconds. `base` is the image that a tier has provided, if there is one.
pub(super) fn solve_record(trace: &Trace, base: Option<&str>, duration: u64) -> SolveRecord {
    let times = trace.times(|step| base.is_some_and(|base| step.ends_with(base)));
    SolveRecord {
        millis: duration,
        steps_millis: millis(times.steps),
        base_millis: millis(times.base),
        import_millis: millis(times.import),
        export_millis: millis(times.export),
        other_millis: millis(times.other) + duration.saturating_sub(millis(times.all)),
    }
}

/// `ignored` is the flag that disabled the builder's own cache and the `caches` in a registry.
pub(super) fn layers_record(
    trace: &Trace,
    counts: StepCountsRecord,
    ignored: Option<&str>,
    caches: &LayerCaches,
    loss: Option<&Loss>,
) -> TierRecord {
    let StepCountsRecord { total, cached, imported } = counts;
    let steps = trace.steps();
    let imports = || steps.iter().filter(|step| step.kind() == StepKind::CacheImport);
    let reason = || {
        let failed = imports().find_map(|step| step.error.as_deref());
        let failed = failed.map(|error| format!("the engine cannot import: {error}"));
        let more = failed.or_else(|| caches.record_reason(imported)).or_else(|| loss.map(Loss::to_string));
        let more = more.map(|reason| format!("; {reason}"));
        format!("{cached} of {} cached{}", count(total, "step", "steps"), more.unwrap_or_default())
    };
    // The steps that are cached run only while their layers are fetched.
    let fetching = steps.iter().filter(|step| step.kind().is_counted() && step.is_cached);
    let fetching = fetching.filter(|step| !step.fetched.is_empty());
    let cost: Duration = imports().chain(fetching.clone()).map(|step| step.duration).sum();
    let sizes: HashMap<String, u64> = caches.blob_sizes().collect();
    let fetched: HashMap<&str, u64> = fetching
        .flat_map(|step| &step.fetched)
        .map(|(layer, bytes)| (layer.as_str(), sizes.get(layer).copied().unwrap_or(*bytes)))
        .collect();
    let outcome = match (ignored, cached) {
        (Some(_), _) => TierOutcome::Skipped,
        (None, 0) => TierOutcome::Miss,
        (None, _) => TierOutcome::Hit,
    };
    TierRecord {
        failed: caches.fault.is_some(),
        loses_time: loss.is_some(),
        bytes: fetched.values().sum(),
        millis: millis(cost + caches.elapsed),
        ..TierRecord::new(LAYERS, outcome, ignored.map_or_else(reason, str::to_owned))
    }
}

/// Returns `[builder 2/3] RUN …` without the text after the instruction's name.
fn without_command(name: &str) -> String {
    let end = name.find("] ").map_or(0, |at| at + 2);
    let keyword = name[end..].find(' ').map_or(name.len(), |at| end + at);
    name[..keyword].to_owned()
}
