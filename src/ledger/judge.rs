//! Decides from earlier builds of an image whether a tier is worth its time.
//!
//! A tier may lose half a minute, or 5 % of the time of the last builds, because its next hit may be worth more. Once it has
//! lost more, it is skipped until that share has become smaller, but not for more than 19 builds in a row.

use std::fmt;

use super::record::{BuildOutcome, BuildRecord, TierOutcome, TierRecord};

/// The number of builds that are considered.
const MAX_BUILDS: usize = 40;
/// The number of builds that use a tier before it is judged.
const MIN_TRIALS: usize = 3;
/// The part of the time of the builds that a tier may lose.
const MAX_LOSS: f64 = 0.05;
/// A loss of less than this is accepted, in milliseconds, even if the builds took little time.
const MIN_LOSS: f64 = 30_000.0;
/// A skipped tier is tried again in every build of this number.
const RETRY_INTERVAL: usize = 20;

/// What a tier has lost in the last builds of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The number of builds that used the tier.
    trials: usize,
    cost_millis: u64,
    spared_millis: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |millis: u64| format!("{}.{}s", millis / 1000, millis % 1000 / 100);
        let (cost, spared) = (seconds(self.cost_millis), seconds(self.spared_millis));
        write!(f, "it cost {cost} and spared {spared} in the last {} builds that used it", self.trials)
    }
}

/// What a build shows about a tier, in milliseconds.
struct Trial {
    cost: u64,
    spared: u64,
}

impl Trial {
    fn is_gain(&self) -> bool {
        self.spared > self.cost
    }
}

/// Returns what `tiers` have lost if the next build should skip them. Tiers that depend on each other are judged together.
///
/// `builds` are those of one image, the oldest first. If the gain of a hit is not known, nothing is skipped.
pub(crate) fn loss<'b>(
    builds: impl DoubleEndedIterator<Item = &'b BuildRecord>,
    tiers: &[&str],
) -> Option<Loss> {
    let is_counted =
        |build: &&BuildRecord| matches!(build.outcome, BuildOutcome::Built | BuildOutcome::ImageHit);
    let (mut trials, mut skipped_since, mut all_millis) = (Vec::new(), 0, 0);
    for build in builds.rev().filter(is_counted).take(MAX_BUILDS) {
        all_millis += build.millis;
        let own = || build.tiers.iter().filter(|record| tiers.contains(&record.tier.as_str()));
        let mut used = own().filter(|record| was_used(record)).peekable();
        if own().any(|record| record.loses_time) {
            skipped_since += usize::from(trials.is_empty());
        } else if used.peek().is_some() {
            trials.push(trial(used)?);
        }
    }
    let latest_is_gain = trials.first().is_some_and(Trial::is_gain);
    if trials.len() < MIN_TRIALS || latest_is_gain || skipped_since + 1 >= RETRY_INTERVAL {
        return None;
    }
    let cost_millis = trials.iter().map(|trial| trial.cost).sum();
    let spared_millis = trials.iter().map(|trial| trial.spared).sum();
    #[expect(clippy::cast_precision_loss, reason = "a share of a time needs no more than 52 bits")]
    let (lost, all) = (cost_millis as f64 - spared_millis as f64, all_millis as f64);
    // Without the tier, the builds would have taken `all - lost`.
    let is_lost = lost >= MIN_LOSS && lost > MAX_LOSS * (all - lost);
    is_lost.then_some(Loss { trials: trials.len(), cost_millis, spared_millis })
}

/// Returns `true` unless the tier failed, or had nothing to do, for example because the builder had all layers. A fault is
/// reported by itself, and may be over before the next build.
fn was_used(record: &TierRecord) -> bool {
    let saves = record.saving_millis > 0;
    match record.outcome {
        _ if record.failed => false,
        TierOutcome::Hit => saves || record.bytes > 0 || record.spared_millis != Some(0),
        TierOutcome::Miss => saves || record.millis > 0,
        TierOutcome::Skipped => false,
    }
}

/// Returns what a build shows about the tiers with these records, or `None` if the gain of a hit is not known.
fn trial<'r>(mut records: impl Iterator<Item = &'r TierRecord>) -> Option<Trial> {
    records.try_fold(Trial { cost: 0, spared: 0 }, |sum, record| {
        let spared = match record.outcome {
            TierOutcome::Hit => record.spared_millis?,
            TierOutcome::Miss | TierOutcome::Skipped => 0,
        };
        let cost = record.millis + record.saving_millis;
        Some(Trial { cost: sum.cost + cost, spared: sum.spared + spared })
    })
}

#[cfg(test)]
mod tests;
