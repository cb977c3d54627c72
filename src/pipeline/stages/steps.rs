//! What a build's trace says for the ledger: the steps, and what BuildKit's own cache was worth.

use std::time::Duration;

use crate::amounts::count;
use crate::buildkit::trace::{StepKind, StepRecord, Trace};
use crate::ledger::{StepCounts, StepEntry, TierOutcome, TierRecord, millis};
use crate::pipeline::confidential::mark;
use crate::requirements::without_secrets;
use crate::tiers::LayerCaches;

/// The name of BuildKit's own cache in records and summaries.
pub(super) const LAYERS: &str = "layers";

/// How many RUN, COPY and ADD steps there were, and how many of them cached.
pub(super) fn counts(trace: &Trace) -> StepCounts {
    let counts = trace.counted_steps();
    StepCounts { total: counts.total, cached: counts.cached, imported: 0 }
}

/// The steps, marked under the cache's `secret`; without their commands where `shows_values` says that build
/// arguments could stand in them.
///
/// A step is known by its words among those of the same images: BuildKit's digest of one that follows a COPY from the
/// context is another in every session.
pub(super) fn entries(
    trace: &Trace,
    secret: Option<[u8; 32]>,
    images: &[String],
    shows_values: bool,
) -> Vec<StepEntry> {
    let counted = trace.steps().into_iter().filter(|step| step.kind().is_counted());
    let entries = counted.map(|step| StepEntry {
        name: if shows_values { without_command(&step.name) } else { without_secrets(&step.name) },
        digest: secret.map_or_else(String::new, |secret| {
            mark(&secret, &format!("{}\n{}", images.join(" "), step.name)).to_string()
        }),
        cached: step.cached,
        imported: false,
        millis: millis(step.duration),
    });
    entries.collect()
}

/// What the builder's own cache and the `caches` in a registry were worth; `ignored` names the flag that switched them off.
pub(super) fn layers(
    trace: &Trace,
    counts: StepCounts,
    ignored: Option<&str>,
    caches: &LayerCaches,
) -> TierRecord {
    let StepCounts { total, cached, imported } = counts;
    // What they cost is finding out what they hold; the steps themselves are the build.
    let steps = trace.steps();
    let imports = steps.iter().filter(|step| step.kind() == StepKind::CacheImport);
    let asking: Duration = imports.map(|step| step.duration).sum();
    let reason = || {
        let is_import = |step: &&StepRecord| step.kind() == StepKind::CacheImport;
        let failed = steps.iter().filter(is_import).find_map(|step| step.error.as_deref());
        let failed = failed.map(|error| format!("the engine cannot import: {error}"));
        let more = failed.or_else(|| caches.reason(imported)).map(|told| format!("; {told}"));
        format!("{cached} of {} cached{}", count(total, "step", "steps"), more.unwrap_or_default())
    };
    TierRecord {
        tier: LAYERS.to_owned(),
        outcome: match (ignored, cached) {
            (Some(_), _) => TierOutcome::Skipped,
            (None, 0) => TierOutcome::Miss,
            (None, _) => TierOutcome::Hit,
        },
        reason: ignored.map_or_else(reason, str::to_owned),
        bytes: 0,
        millis: millis(asking + caches.elapsed),
    }
}

/// `[builder 2/3] RUN …` without what follows the instruction's name.
fn without_command(name: &str) -> String {
    let end = name.find("] ").map_or(0, |at| at + 2);
    let keyword = name[end..].find(' ').map_or(name.len(), |at| end + at);
    name[..keyword].to_owned()
}
