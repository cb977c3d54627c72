//! Charts of an image's builds, the oldest at the left: build times, step hit rates, and the size of the cache.

use std::fmt::Write as _;

use super::axis::{Axis, number};
use super::drawing::{Anchor, Bar, Drawing, Form, LINE_HEIGHT, Label, Paint, SIZE, Swatch, circle, cross};
use super::palette::{AXIS, BLUE, GREEN, GREY, GRID, INK, MUTED, RED, RED_STRIPES, TEAL};
use super::text_fit::width;
use crate::amounts::size;
use crate::ledger::{BuildOutcome, BuildRecord, BuildStatistics};
use crate::output::stats::{label, percent};
use crate::output::summary::{format_duration, outcome_text};

/// The number of builds in a chart.
pub(super) const MAX_BUILDS: usize = 60;

const BUILT: Paint = Paint::solid(BLUE);
const HIT: Paint = Paint::outline(GREEN);
const FAILED: Paint = Paint { fill: RED_STRIPES, stroke: RED };
const INTERRUPTED: Paint = Paint::outline(GREY);

/// A drawing with an axis of values at the left, and a column for each build.
struct Plot {
    drawing: Drawing,
    axis: Axis,
    left: f64,
    top: f64,
    bottom: f64,
    /// The distance between two builds.
    step: f64,
}

impl Plot {
    fn new(form: Form, builds: &[&BuildRecord], axis: Axis, key: &[(Swatch, &str)], height: f64) -> Self {
        let mut drawing = Drawing::new(form, 0.0);
        let top = if key.is_empty() { 12.0 } else { drawing.key(key) + 18.0 };
        let bottom = top + height;
        drawing.height = bottom + LINE_HEIGHT + 6.0;
        let labels = axis.marks.iter().map(|(_, text)| width(text, SIZE) + 8.0);
        let left = labels.fold(56.0, f64::max);
        for (value, text) in &axis.marks {
            let y = bottom - value / axis.end * height;
            let colour = if *value > 0.0 { GRID } else { AXIS };
            drawing.line((left, y), (form.width(), y), colour);
            drawing.label(Label::new((left - 8.0, y + 4.5), Anchor::End, MUTED, text));
        }
        let step = (form.width() - left) / number(builds.len().max(1) as u64);
        let mut plot = Self { drawing, axis, left, top, bottom, step };
        plot.label_ends(builds);
        plot
    }

    /// Labels the first and the last build.
    fn label_ends(&mut self, builds: &[&BuildRecord]) {
        let baseline = self.bottom + LINE_HEIGHT;
        let room = (self.drawing.width - self.left) / 2.0 - 8.0;
        if let [first, .., _] = builds {
            self.drawing.label(Label::fitted((self.left, baseline), room, MUTED, &short_label(first)));
        }
        if let Some(last) = builds.last() {
            let mut label = Label::fitted((self.drawing.width, baseline), room, MUTED, &short_label(last));
            label.anchor = Anchor::End;
            self.drawing.label(label);
        }
    }

    /// Returns the middle of the column of a build.
    fn x(&self, at: usize) -> f64 {
        self.left + (number(at as u64) + 0.5) * self.step
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom - value / self.axis.end * (self.bottom - self.top)
    }

    /// Returns the radius of a mark that does not touch those of its neighbours.
    fn radius(&self) -> f64 {
        (self.step * 0.42).clamp(1.6, 4.0)
    }

    /// Draws a line through the known values, and a mark at each.
    fn series(&mut self, values: &[Option<f64>], colour: &'static str, paint: impl Fn(usize) -> Paint) {
        let (mut line, mut marks) = (String::new(), Vec::new());
        for (at, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let (x, y) = (self.x(at), self.y(*value));
            let _ = write!(line, "{}{x:.1} {y:.1}", if line.is_empty() { 'M' } else { 'L' });
            marks.push((circle((x, y), self.radius().min(3.5)), paint(at)));
        }
        self.drawing.path(line, Paint { fill: "none", stroke: colour });
        for (mark, paint) in marks {
            self.drawing.path(mark, paint);
        }
    }
}

/// Returns the number of the CI build, or else the day.
fn short_label(build: &BuildRecord) -> String {
    match build.job.as_ref().and_then(|job| job.number.as_ref()) {
        Some(_) => label(build),
        None => build.started.strftime("%Y-%m-%d").to_string(),
    }
}

pub(super) fn draw_times(builds: &[&BuildRecord], form: Form) -> Drawing {
    let longest = builds.iter().map(|build| build.millis).max().unwrap_or_default();
    let median = BuildStatistics::of(builds.iter().copied()).median_built_millis;
    let has = |outcome| builds.iter().any(|build| build.outcome == outcome);
    let outcomes = [
        (BuildOutcome::Built, Swatch::Bar(BUILT), "built"),
        (BuildOutcome::ImageHit, Swatch::Circle(HIT), "image hit"),
        (BuildOutcome::Failed, Swatch::Bar(FAILED), "failed (×)"),
        (BuildOutcome::Interrupted, Swatch::Bar(INTERRUPTED), "interrupted (×)"),
    ];
    let outcomes = outcomes.into_iter().filter(|(outcome, ..)| has(*outcome));
    let mut key: Vec<_> = outcomes.map(|(_, swatch, text)| (swatch, text)).collect();
    if median.is_some() {
        key.push((Swatch::Dashes(INK), "median of those built"));
    }
    let mut plot = Plot::new(form, builds, Axis::durations(longest, 4.0), &key, 170.0);
    if let Some(median) = median {
        let y = plot.y(number(median));
        plot.drawing.dashed_line((plot.left, y), (plot.drawing.width, y), INK);
    }
    let bar_width = (plot.step * 0.68).min(28.0);
    for (at, build) in builds.iter().enumerate() {
        let (x, y) = (plot.x(at), plot.y(number(build.millis)).min(plot.bottom - 1.0));
        let title = format!("{}: {} in {}", label(build), outcome_text(build), format_duration(build.millis));
        let paint = match build.outcome {
            BuildOutcome::Built => BUILT,
            BuildOutcome::ImageHit => HIT,
            BuildOutcome::Failed => FAILED,
            BuildOutcome::Interrupted => INTERRUPTED,
        };
        plot.drawing.bar(Bar {
            x: x - bar_width / 2.0,
            y,
            width: bar_width,
            height: plot.bottom - y,
            paint,
            is_dashed: false,
            title,
        });
        let radius = plot.radius();
        match build.outcome {
            BuildOutcome::Built => {}
            BuildOutcome::ImageHit => plot.drawing.path(circle((x, y), radius), paint),
            BuildOutcome::Failed | BuildOutcome::Interrupted => {
                let mark = Paint { fill: "none", stroke: paint.stroke };
                plot.drawing.path(cross((x, y - radius - 3.0), radius.min(3.5)), mark);
            }
        }
    }
    plot.drawing
}

/// Returns the rate of cached steps of a build, or `None` if it failed or has no steps.
fn step_hit_rate(build: &BuildRecord) -> Option<f64> {
    BuildStatistics::of([build]).step_hit_rate
}

pub(super) fn draw_hit_rates(builds: &[&BuildRecord], form: Form) -> Drawing {
    let rates: Vec<_> = builds.iter().map(|build| step_hit_rate(build)).collect();
    let mut plot = Plot::new(form, builds, Axis::percentages(), &[], 90.0);
    plot.series(&rates, GREEN, |at| match builds[at].outcome {
        BuildOutcome::ImageHit => Paint::outline(GREEN),
        _ => Paint::solid(GREEN),
    });
    plot.drawing
}

pub(super) fn draw_cache_sizes(builds: &[&BuildRecord], form: Form) -> Drawing {
    let sizes: Vec<_> = builds.iter().map(|build| build.stored_bytes).collect();
    let largest = sizes.iter().flatten().max().copied().unwrap_or_default();
    let mut plot = Plot::new(form, builds, Axis::bytes(largest, 3.0), &[], 90.0);
    let sizes: Vec<_> = sizes.into_iter().map(|bytes| bytes.map(number)).collect();
    plot.series(&sizes, TEAL, |_| Paint::solid(TEAL));
    plot.drawing
}

pub(super) fn describe_times(builds: &[&BuildRecord]) -> String {
    let sums = BuildStatistics::of(builds.iter().copied());
    let median = |millis: Option<u64>| millis.map_or_else(|| "unknown".to_owned(), format_duration);
    format!(
        "Time of each build: {} built (median {}), {} image hits (median {}), {} failed, {} interrupted.",
        sums.built,
        median(sums.median_built_millis),
        sums.image_hits,
        median(sums.median_hit_millis),
        sums.failed,
        sums.interrupted
    )
}

/// Describes the step hit rates, or returns `None` if none is known.
pub(super) fn describe_hit_rates(builds: &[&BuildRecord]) -> Option<String> {
    let rates = || builds.iter().filter_map(|build| step_hit_rate(build));
    let (lowest, highest) = (rates().min_by(f64::total_cmp)?, rates().max_by(f64::total_cmp)?);
    let last = rates().next_back()?;
    Some(format!(
        "Step hit rate of each build: from {} to {}, {} in the last one.",
        percent(lowest),
        percent(highest),
        percent(last)
    ))
}

/// Describes the sizes of the cache, or returns `None` if none is known.
pub(super) fn describe_cache_sizes(builds: &[&BuildRecord]) -> Option<String> {
    let sizes = || builds.iter().filter_map(|build| build.stored_bytes);
    let (first, last) = (sizes().next()?, sizes().next_back()?);
    let largest = sizes().max().unwrap_or_default();
    Some(format!(
        "Size of the cache after each build: {} at first, {} at last, at most {}.",
        size(first),
        size(last),
        size(largest)
    ))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::{CiJobRecord, StepCountsRecord};
    use crate::output::report::drawing::Mark;

    fn build(number: Option<&str>, outcome: BuildOutcome) -> BuildRecord {
        let job =
            number.map(|number| CiJobRecord { number: Some(number.to_owned()), ..CiJobRecord::default() });
        BuildRecord {
            outcome,
            job,
            millis: 42_000,
            steps: StepCountsRecord { total: 4, cached: 2, imported: 0 },
            stored_bytes: (outcome == BuildOutcome::Failed).then_some(u64::MAX),
            ..BuildRecord::started(Timestamp::UNIX_EPOCH)
        }
    }

    fn bars(drawing: &Drawing) -> usize {
        drawing.marks.iter().filter(|mark| matches!(mark, Mark::Bar(_))).count()
    }

    #[test]
    fn every_build_has_a_bar_and_all_text_is_legible() {
        let long = "9".repeat(40);
        for number in [None, Some("8"), Some(long.as_str())] {
            for count in [1, 2, MAX_BUILDS] {
                let builds = vec![build(number, BuildOutcome::Failed); count];
                let builds: Vec<&BuildRecord> = builds.iter().collect();
                for form in [Form::Wide, Form::Narrow] {
                    let times = draw_times(&builds, form);
                    // The key has one, too.
                    assert_eq!(bars(&times), count + 1);
                    for drawing in [times, draw_hit_rates(&builds, form), draw_cache_sizes(&builds, form)] {
                        drawing.assert_text_is_legible();
                    }
                }
            }
        }
    }

    #[test]
    fn an_unknown_value_has_no_mark() {
        let known = build(None, BuildOutcome::Built);
        let unknown = build(None, BuildOutcome::Failed);
        let drawing = draw_hit_rates(&[&known, &known, &unknown, &known], Form::Wide);
        let paths: Vec<&String> = drawing
            .marks
            .iter()
            .filter_map(|mark| if let Mark::Path(path, _) = mark { Some(path) } else { None })
            .collect();
        assert_eq!(paths.len(), 1 + 3);
        assert_eq!((paths[0].matches('M').count(), paths[0].matches('L').count()), (1, 2));
        assert_eq!(describe_hit_rates(&[&unknown]), None);
        assert_eq!(describe_cache_sizes(&[&known]), None);
    }
}
