//! Converts the trace of a build to records for the ledger: the steps, and the use of BuildKit's own cache.

use std::time::Duration;

use crate::amounts::count;
use crate::buildkit::trace::{StepKind, Trace};
use crate::ledger::{StepCountsRecord, StepEntry, TierOutcome, TierRecord, millis};
use crate::pipeline::confidential::step_mark;
use crate::requirements::without_secrets;
use crate::tiers::LayerCaches;

pub(super) const LAYERS: &str = "layers";

/// Returns the steps, with marks under the cache's `secret`. Their commands are omitted if they could contain values of
/// build arguments.
///
/// The mark depends on the text of the step and the names of the image. It does not depend on BuildKit's digest, which
/// differs in every session for steps after a COPY from the context.
pub(super) fn step_entries(
    trace: &Trace,
    secret: Option<[u8; 32]>,
    images: &[String],
    has_build_args: bool,
) -> Vec<StepEntry> {
    let counted = trace.steps().into_iter().filter(|step| step.kind().is_counted());
    let entries = counted.map(|step| StepEntry {
        name: if has_build_args { without_command(&step.name) } else { without_secrets(&step.name) },
        digest: secret.map_or_else(String::new, |secret| {
            step_mark(&secret, &format!("{}\n{}", images.join(" "), step.name)).to_string()
        }),
        cached: step.is_cached,
        imported: false,
        millis: millis(step.duration),
    });
    entries.collect()
}

/// `ignored` is the flag that disabled the builder's own cache and the `caches` in a registry.
pub(super) fn layers_record(
    trace: &Trace,
    counts: StepCountsRecord,
    ignored: Option<&str>,
    caches: &LayerCaches,
) -> TierRecord {
    let StepCountsRecord { total, cached, imported } = counts;
    // The cost of the caches is the time of the lookup. The time of the steps belongs to the build.
    let steps = trace.steps();
    let imports = || steps.iter().filter(|step| step.kind() == StepKind::CacheImport);
    let lookup: Duration = imports().map(|step| step.duration).sum();
    let reason = || {
        let failed = imports().find_map(|step| step.error.as_deref());
        let failed = failed.map(|error| format!("the engine cannot import: {error}"));
        let more = failed.or_else(|| caches.record_reason(imported)).map(|reason| format!("; {reason}"));
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
        millis: millis(lookup + caches.elapsed),
    }
}

/// Returns `[builder 2/3] RUN …` without the text after the instruction's name.
fn without_command(name: &str) -> String {
    let end = name.find("] ").map_or(0, |at| at + 2);
    let keyword = name[end..].find(' ').map_or(name.len(), |at| end + at);
    name[..keyword].to_owned()
}
