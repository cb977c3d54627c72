//! What a build's trace says for the ledger: the steps, and what BuildKit's own cache was worth.

use super::confidential::mark;
use crate::ledger::millis;
use crate::ledger::{StepCounts, StepEntry, TierOutcome, TierRecord};
use crate::output::progress::{StepKind, Trace};
use crate::requirements::without_secrets;

/// The name of BuildKit's own cache in records and summaries.
const LAYERS: &str = "layers";

/// How many RUN, COPY and ADD steps there were, and how many of them cached.
pub(super) fn counts(trace: &Trace) -> StepCounts {
    let counts = trace.counted_steps();
    StepCounts { total: counts.total, cached: counts.cached }
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
        millis: millis(step.duration),
    });
    entries.collect()
}

/// What BuildKit's own cache was worth; `ignored` names the flag that switched it off.
pub(super) fn layers(trace: &Trace, ignored: Option<&str>) -> TierRecord {
    let StepCounts { total, cached } = counts(trace);
    // What the layer cache costs is finding out what it holds; the steps themselves are the build.
    let steps = trace.steps();
    let asking =
        steps.iter().filter(|step| step.kind() == StepKind::CacheImport).map(|step| step.duration).sum();
    TierRecord {
        tier: LAYERS.to_owned(),
        outcome: match (ignored, cached) {
            (Some(_), _) => TierOutcome::Skipped,
            (None, 0) => TierOutcome::Miss,
            (None, _) => TierOutcome::Hit,
        },
        reason: ignored.map_or_else(|| format!("{cached} of {total} steps cached"), str::to_owned),
        bytes: 0,
        millis: millis(asking),
    }
}

/// `[builder 2/3] RUN …` without what follows the instruction's name.
fn without_command(name: &str) -> String {
    let end = name.find("] ").map_or(0, |at| at + 2);
    let keyword = name[end..].find(' ').map_or(name.len(), |at| end + at);
    name[..keyword].to_owned()
}
