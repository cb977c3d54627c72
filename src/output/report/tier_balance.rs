//! What each tier spared and cost in the selected builds.

use super::axis::number;
use super::drawing::{Anchor, Bar, Drawing, Form, LINE_HEIGHT, Label, Paint, SIZE, Swatch, diamond};
use super::palette::{AMBER, AMBER_DOTS, AXIS, GREEN, GREY, INK, MUTED, PAPER, RED};
use super::text_fit::width;
use crate::ledger::{BuildRecord, TierOutcome};
use crate::output::stats::signed_duration;
use crate::output::summary::format_duration;

const UNKNOWN: &str = "time spared: unknown";

/// The sums of a tier over several builds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TierBalance {
    pub(super) tier: String,
    /// The number of builds that used it.
    pub(super) hits: usize,
    /// The number of builds that tried it.
    pub(super) tried: usize,
    /// The number of builds in which it failed.
    pub(super) failed: usize,
    /// The number of hits whose worth is known.
    known: usize,
    spared_millis: u64,
    /// The time before the image existed.
    cost_millis: u64,
    saving_millis: u64,
}

/// Returns the sums of each tier that a build tried or saved to, in the order in which builds try them.
pub(super) fn balances(builds: &[BuildRecord]) -> Vec<TierBalance> {
    let mut sums: Vec<TierBalance> = Vec::new();
    // The last builds list the tiers as they are now.
    for tier in builds.iter().rev().flat_map(|build| &build.tiers) {
        let at = sums.iter().position(|sum| sum.tier == tier.tier).unwrap_or_else(|| {
            sums.push(TierBalance { tier: tier.tier.clone(), ..TierBalance::default() });
            sums.len() - 1
        });
        let sum = &mut sums[at];
        if tier.outcome != TierOutcome::Skipped {
            sum.tried += 1;
            sum.cost_millis += tier.millis;
        }
        sum.failed += usize::from(tier.failed);
        sum.saving_millis += tier.saving_millis;
        if tier.outcome == TierOutcome::Hit {
            sum.hits += 1;
            sum.known += usize::from(tier.spared_millis.is_some());
            sum.spared_millis += tier.spared_millis.unwrap_or_default();
        }
    }
    sums.retain(|sum| sum.tried > 0 || sum.saving_millis > 0);
    sums
}

impl TierBalance {
    /// Returns the time spared, or `None` if it is not known for any hit.
    fn spared(&self) -> Option<u64> {
        (self.hits == 0 || self.known > 0).then_some(self.spared_millis)
    }

    fn net_millis(&self) -> Option<i64> {
        let cost = self.cost_millis.checked_add(self.saving_millis)?;
        i64::try_from(self.spared()?).ok()?.checked_sub_unsigned(cost)
    }

    /// Returns `true` if the worth of some hits is known, and not that of the others.
    fn is_partly_known(&self) -> bool {
        self.known > 0 && self.known < self.hits
    }

    pub(super) fn hits_text(&self) -> String {
        format!("{} of {}", self.hits, self.tried)
    }

    pub(super) fn spared_text(&self) -> String {
        match self.spared() {
            None => "unknown".to_owned(),
            Some(spared) if self.is_partly_known() => {
                format!("{} in {} of {} hits", format_duration(spared), self.known, self.hits)
            }
            Some(spared) => format_duration(spared),
        }
    }

    pub(super) fn cost_text(&self) -> String {
        format_duration(self.cost_millis)
    }

    pub(super) fn saving_text(&self) -> String {
        format_duration(self.saving_millis)
    }

    pub(super) fn net_text(&self) -> String {
        match self.net_millis() {
            None => "unknown".to_owned(),
            Some(net) if self.is_partly_known() => format!("at least {}", signed_duration(net)),
            Some(net) => signed_duration(net),
        }
    }
}

pub(super) fn draw(balances: &[TierBalance], form: Form) -> Drawing {
    let is_wide = form == Form::Wide;
    let (row_height, net_width) = if is_wide { (30.0, 120.0) } else { (42.0, 0.0) };
    let left = if is_wide { 110.0 } else { 6.0 };
    let length = form.width() - left - net_width - 6.0;
    let most = |value: fn(&TierBalance) -> u64| balances.iter().map(value).max().unwrap_or_default();
    let most_cost = number(most(|tier| tier.cost_millis + tier.saving_millis));
    let most_spared = number(most(|tier| tier.spared().unwrap_or_default()));
    // The text of an unknown sum needs space right of zero.
    let is_unknown = balances.iter().any(|tier| tier.spared().is_none());
    let least = if is_unknown { width(UNKNOWN, SIZE) + 14.0 } else { 10.0 };
    let zero = left + (length * most_cost / (most_cost + most_spared).max(1.0)).clamp(10.0, length - least);
    let scale = |value: f64, space: f64| if value > 0.0 { space / value } else { f64::INFINITY };
    let scale = scale(most_cost, zero - left).min(scale(most_spared, left + length - zero));
    let scale = if scale.is_finite() { scale } else { 0.0 };

    let mut drawing = Drawing::new(form, 0.0);
    let (spared, cost, saving) =
        (Paint::solid(GREEN), Paint::solid(GREY), Paint { fill: AMBER_DOTS, stroke: AMBER });
    let net_paint = Paint { fill: INK, stroke: PAPER };
    let top = drawing.key(&[
        (Swatch::Bar(spared), "spared"),
        (Swatch::Bar(cost), "spent before the image existed"),
        (Swatch::Bar(saving), "spent on saving"),
        (Swatch::Diamond(net_paint), "net"),
    ]) + 12.0;
    let mut row_top = top;
    for tier in balances {
        let baseline = row_top + if is_wide { 19.0 } else { 14.0 };
        let middle = if is_wide { baseline - 4.5 } else { baseline + 14.0 };
        let name_width = if is_wide { left - 12.0 } else { form.width() - 150.0 };
        drawing.label(Label::fitted((0.0, baseline), name_width, INK, &tier.tier));
        let colour = match tier.net_millis() {
            None => MUTED,
            Some(net) => {
                if net < 0 {
                    RED
                } else {
                    INK
                }
            }
        };
        drawing.label(Label::new((form.width(), baseline), Anchor::End, colour, tier.net_text()));
        let mut bar = |from: f64, width: f64, paint: Paint, title: String| {
            if width > 0.0 {
                let (width, y) = (width.max(1.5), middle - 6.0);
                drawing.bar(Bar { x: from, y, width, height: 12.0, paint, is_dashed: false, title });
            }
        };
        let (cost_width, saving_width) =
            (number(tier.cost_millis) * scale, number(tier.saving_millis) * scale);
        bar(
            zero - cost_width,
            cost_width,
            cost,
            format!("{}: {} before the image existed", tier.tier, tier.cost_text()),
        );
        bar(
            zero - cost_width - saving_width,
            saving_width,
            saving,
            format!("{}: {} for saving", tier.tier, tier.saving_text()),
        );
        match tier.spared() {
            Some(millis) => {
                bar(
                    zero,
                    number(millis) * scale,
                    spared,
                    format!("{}: {} spared", tier.tier, tier.spared_text()),
                );
            }
            None => drawing.label(Label::new((zero + 8.0, middle + 4.5), Anchor::Start, MUTED, UNKNOWN)),
        }
        if !is_wide {
            drawing.line((zero, middle - 9.0), (zero, middle + 9.0), AXIS);
        }
        if let Some(net) = tier.net_millis() {
            let distance = number(net.unsigned_abs()) * scale;
            let x = if net < 0 { zero - distance } else { zero + distance };
            drawing.path(diamond((x, middle), 5.0), net_paint);
        }
        row_top += row_height;
    }
    if is_wide {
        drawing.line((zero, top), (zero, row_top), AXIS);
    }
    drawing.height = row_top + LINE_HEIGHT / 3.0;
    drawing
}

/// Describes the chart for those who do not see it.
pub(super) fn describe(balances: &[TierBalance]) -> String {
    let tiers: Vec<String> =
        balances.iter().map(|tier| format!("{}: net {}", tier.tier, tier.net_text())).collect();
    format!("Time that each tier spared and spent. {}.", tiers.join("; "))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::TierRecord;

    fn hit(tier: &str, spared_millis: Option<u64>) -> TierRecord {
        TierRecord {
            millis: 500,
            saving_millis: 1_500,
            spared_millis,
            ..TierRecord::new(tier, TierOutcome::Hit, "")
        }
    }

    fn builds(tiers: &[TierRecord]) -> Vec<BuildRecord> {
        let build = |tier: &TierRecord| BuildRecord {
            tiers: vec![tier.clone()],
            ..BuildRecord::started(Timestamp::UNIX_EPOCH)
        };
        tiers.iter().map(build).collect()
    }

    fn texts(tiers: &[TierRecord]) -> [String; 3] {
        let balance = &balances(&builds(tiers))[0];
        [balance.hits_text(), balance.spared_text(), balance.net_text()]
    }

    #[test]
    fn the_net_time_of_a_tier_is_what_it_spared_less_all_that_it_cost() {
        let miss = TierRecord { millis: 1_000, ..TierRecord::new("mounts", TierOutcome::Miss, "") };
        let skipped = TierRecord { millis: 9_000, ..TierRecord::new("mounts", TierOutcome::Skipped, "") };
        let hits = hit("mounts", Some(7_000));
        assert_eq!(texts(&[hits, miss.clone(), skipped]), ["1 of 2", "7.0s", "4.0s"]);
        assert_eq!(texts(&[miss]), ["0 of 1", "0ms", "-1.0s"]);
    }

    #[test]
    fn what_an_unknown_hit_spared_is_not_zero() {
        assert_eq!(texts(&[hit("mounts", None)]), ["1 of 1", "unknown", "unknown"]);
        assert_eq!(
            texts(&[hit("mounts", None), hit("mounts", Some(9_000))]),
            ["2 of 2", "9.0s in 1 of 2 hits", "at least 5.0s"]
        );
    }

    #[test]
    fn an_unknown_sum_is_text_and_not_a_bar() {
        let texts = |drawing: &Drawing| drawing.render_text();
        for others in [None, Some(3_000_000), Some(1)] {
            let tiers = [hit("registry", None), hit("layers", others)];
            for form in [Form::Wide, Form::Narrow] {
                let drawing = draw(&balances(&builds(&tiers)), form);
                drawing.assert_text_is_legible();
                assert!(texts(&drawing).contains(UNKNOWN));
            }
        }
    }
}
