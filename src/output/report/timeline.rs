//! The timeline of a build: its phases and steps, and when they ran.

use super::axis::{Axis, number};
use super::drawing::{Anchor, Bar, Drawing, Form, LINE_HEIGHT, Label, Paint, Swatch};
use super::palette::{
    AMBER, AMBER_DOTS, AXIS, BLUE, GREEN, GREY, GRID, INK, MUTED, PURPLE, PURPLE_BARS, TEAL, TEAL_STRIPES,
};
use crate::ledger::{BuildOutcome, BuildRecord, Phase, StepEntry};
use crate::output::summary::format_duration;
use crate::screen_text::join_lines;

/// The number of rows of a chart. Of more steps, only the longest have rows of their own.
const MAX_ROWS: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activity {
    Lookup,
    Cached,
    Run,
    Restore,
    Save,
    Push,
}

impl Activity {
    const ALL: [Self; 6] = [Self::Cached, Self::Run, Self::Restore, Self::Save, Self::Push, Self::Lookup];

    fn of(phase: Phase) -> Self {
        match phase {
            Phase::Prepare | Phase::Keys | Phase::Lookup | Phase::Layers => Self::Lookup,
            Phase::Graft | Phase::Solve => Self::Run,
            Phase::Restore => Self::Restore,
            Phase::Save | Phase::Archive | Phase::Export => Self::Save,
            Phase::Push => Self::Push,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lookup => "look up",
            Self::Cached => "cached",
            Self::Run => "run",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Push => "push",
        }
    }

    fn paint(self) -> Paint {
        match self {
            Self::Lookup => Paint::solid(GREY),
            Self::Cached => Paint::outline(GREEN),
            Self::Run => Paint::solid(BLUE),
            Self::Restore => Paint { fill: TEAL_STRIPES, stroke: TEAL },
            Self::Save => Paint { fill: AMBER_DOTS, stroke: AMBER },
            Self::Push => Paint { fill: PURPLE_BARS, stroke: PURPLE },
        }
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "Prepare",
        Phase::Keys => "Compute keys",
        Phase::Lookup => "Look up the image",
        Phase::Graft => "Graft",
        Phase::Layers => "Look up layers",
        Phase::Restore => "Restore cache mounts",
        Phase::Solve => "Build",
        Phase::Save => "Save cache mounts",
        Phase::Archive => "Archive the image",
        Phase::Push => "Push",
        Phase::Export => "Export layers",
    }
}

/// A phase, a step, or several steps that are summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) is_step: bool,
    pub(super) activity: Activity,
    /// In milliseconds from the start of the build.
    pub(super) start: u64,
    /// In milliseconds; `None` if it did not run.
    pub(super) millis: Option<u64>,
    /// How long a step took when it last ran, if it was cached and that is known.
    spared: Option<u64>,
    /// `true` if the row sums up several steps, so that the time need not have passed at a stretch.
    is_sum: bool,
}

impl Row {
    pub(super) fn starts_at(&self) -> String {
        if self.millis.is_some() { format_duration(self.start) } else { "-".to_owned() }
    }

    pub(super) fn time(&self) -> String {
        self.millis.map_or_else(|| "cached".to_owned(), format_duration)
    }

    pub(super) fn last_time(&self) -> String {
        match self.spared {
            Some(millis) => format_duration(millis),
            None if self.activity == Activity::Cached => "unknown".to_owned(),
            None => "-".to_owned(),
        }
    }

    /// Returns the name for a chart, where the options of mounts leave no space for the command.
    fn short_name(&self) -> String {
        let is_mount = |word: &&str| self.is_step && word.starts_with("--mount=");
        self.name.split(' ').filter(|word| !is_mount(word)).collect::<Vec<_>>().join(" ")
    }

    fn tooltip(&self) -> String {
        match (self.millis, self.spared) {
            (None, Some(spared)) => {
                format!("{}: cached, took {} when it last ran", self.name, format_duration(spared))
            }
            (None, None) => format!("{}: cached", self.name),
            (Some(millis), _) => {
                format!("{}: {}, from {}", self.name, format_duration(millis), format_duration(self.start))
            }
        }
    }
}

/// Returns the phases of a build in the order of their start, with all steps below the phase that ran them.
pub(super) fn all_rows(build: &BuildRecord) -> Vec<Row> {
    rows(build, None)
}

/// With `most`, returns at most as many rows, and one for all steps of an image hit.
fn rows(build: &BuildRecord, most: Option<usize>) -> Vec<Row> {
    let mut phases = build.phases.clone();
    phases.sort_by_key(|at| at.start_millis);
    let runs_steps = |phase| matches!(phase, Phase::Solve | Phase::Graft);
    let running = phases.iter().position(|at| at.phase == Phase::Solve);
    let running = running.or_else(|| phases.iter().position(|at| runs_steps(at.phase)));
    let start = running.map_or(0, |at| phases[at].start_millis);
    let steps = steps(build, start, most.map(|most| most.saturating_sub(phases.len())));
    let mut rows: Vec<Row> = phases
        .iter()
        .map(|at| Row {
            name: phase_name(at.phase).to_owned(),
            is_step: false,
            activity: Activity::of(at.phase),
            start: at.start_millis,
            millis: Some(at.millis),
            spared: None,
            is_sum: false,
        })
        .collect();
    let after = running.map_or(rows.len(), |at| at + 1);
    rows.splice(after..after, steps);
    rows
}

/// Returns rows for the steps, in the order of their start. Cached ones come where the build starts.
fn steps(build: &BuildRecord, build_start: u64, most: Option<usize>) -> Vec<Row> {
    let mut steps: Vec<&StepEntry> = build.step_list.iter().collect();
    let start = |step: &StepEntry| step.start_millis.filter(|_| !step.cached).unwrap_or(build_start);
    steps.sort_by_key(|step| start(step));
    let row = |step: &StepEntry| Row {
        name: join_lines(step.source.as_deref().unwrap_or(&step.name)),
        is_step: true,
        activity: if step.cached { Activity::Cached } else { Activity::Run },
        start: start(step),
        millis: (!step.cached).then_some(step.millis),
        spared: step.spared_millis.filter(|_| step.cached),
        is_sum: false,
    };
    let Some(most) = most.filter(|most| *most < steps.len() || build.outcome == BuildOutcome::ImageHit)
    else {
        return steps.into_iter().map(row).collect();
    };
    // The builder was not asked for any of them.
    if build.outcome == BuildOutcome::ImageHit {
        let all: Vec<Row> = steps.into_iter().map(row).collect();
        return sum("step", &all).into_iter().collect();
    }
    let mut by_time: Vec<usize> = (0..steps.len()).collect();
    by_time.sort_by_key(|at| std::cmp::Reverse(if steps[*at].cached { 0 } else { steps[*at].millis }));
    let (mut own, mut others) = (Vec::new(), Vec::new());
    let shown = &by_time[..most.saturating_sub(1)];
    for (at, step) in steps.into_iter().enumerate() {
        if shown.contains(&at) { own.push(row(step)) } else { others.push(row(step)) }
    }
    own.extend(sum("more step", &others));
    own
}

/// Returns one row for several steps.
fn sum(what: &str, rows: &[Row]) -> Option<Row> {
    let start = rows.iter().map(|row| row.start).min()?;
    let ran: Vec<u64> = rows.iter().filter_map(|row| row.millis).collect();
    let cached = rows.len() - ran.len();
    let plural = if rows.len() == 1 { "" } else { "s" };
    let cached = match cached {
        0 => String::new(),
        all if all == rows.len() => ", cached".to_owned(),
        some => format!(", {some} of them cached"),
    };
    Some(Row {
        name: format!("{} {what}{plural}{cached}", rows.len()),
        is_step: true,
        activity: if ran.is_empty() { Activity::Cached } else { Activity::Run },
        start,
        millis: (!ran.is_empty()).then(|| ran.iter().sum()),
        spared: None,
        is_sum: true,
    })
}

/// The layout of a chart in one of its forms.
struct Layout {
    /// Where the axis starts and how long it is.
    plot: (f64, f64),
    row_height: f64,
    /// The space for a name.
    name_width: f64,
    /// The distance from the baseline of the name to the middle of the bar.
    bar_offset: f64,
    marks: f64,
}

impl Layout {
    const DURATION_WIDTH: f64 = 62.0;

    fn of(form: Form) -> Self {
        match form {
            Form::Wide => {
                let plot = (320.0, form.width() - 320.0 - Self::DURATION_WIDTH - 12.0);
                Self { plot, row_height: 22.0, name_width: 304.0, bar_offset: -4.5, marks: 8.0 }
            }
            Form::Narrow => Self {
                plot: (1.0, form.width() - 2.0),
                row_height: 36.0,
                name_width: form.width() - Self::DURATION_WIDTH - 10.0,
                bar_offset: 10.0,
                marks: 4.0,
            },
        }
    }
}

pub(super) fn draw(build: &BuildRecord, form: Form) -> Drawing {
    let rows = rows(build, Some(MAX_ROWS));
    let layout = Layout::of(form);
    let (left, length) = layout.plot;
    let end = |row: &Row| row.start + row.millis.filter(|_| !row.is_sum).unwrap_or_default();
    let end = rows.iter().map(end).chain([build.millis]).max().unwrap_or_default();
    let axis = Axis::seconds(end, layout.marks);
    let at = |millis: u64| left + number(millis) / axis.end * length;

    let mut drawing = Drawing::new(form, 0.0);
    let used = |activity: &Activity| rows.iter().any(|row| row.activity == *activity);
    let key: Vec<_> = Activity::ALL.into_iter().filter(used).collect();
    let key: Vec<_> = key.iter().map(|activity| (Swatch::Bar(activity.paint()), activity.name())).collect();
    let axis_top = drawing.key(&key) + 20.0;
    let top = axis_top + 8.0;
    #[expect(clippy::cast_precision_loss, reason = "there are few rows")]
    let bottom = top + rows.len() as f64 * layout.row_height;
    drawing.height = bottom + 6.0;
    draw_axis(&mut drawing, &axis, (left, length), (axis_top, bottom));

    let mut baseline = top + LINE_HEIGHT - 3.0;
    for row in &rows {
        let indent = if row.is_step { 14.0 } else { 0.0 };
        let colour = if row.is_step { MUTED } else { INK };
        let mut name =
            Label::fitted((indent, baseline), layout.name_width - indent, colour, &row.short_name());
        name.title = row.tooltip();
        drawing.label(name);
        let time = Label::new((form.width(), baseline), Anchor::End, colour, row.time());
        drawing.label(time);
        let height = if row.is_step { 8.0 } else { 11.0 };
        let x = at(row.start).min(left + length - 8.0);
        let width = match row.millis {
            Some(millis) => (number(millis) / axis.end * length).clamp(2.0, left + length - x),
            None => 8.0,
        };
        drawing.bar(Bar {
            x,
            y: baseline + layout.bar_offset - height / 2.0,
            width,
            height,
            paint: if row.is_sum {
                Paint::outline(row.activity.paint().stroke)
            } else {
                row.activity.paint()
            },
            is_dashed: row.is_sum,
            title: row.tooltip(),
        });
        baseline += layout.row_height;
    }
    drawing
}

/// Draws a horizontal axis above a chart, and a line through the chart at each of its marks.
fn draw_axis(drawing: &mut Drawing, axis: &Axis, (left, length): (f64, f64), (top, bottom): (f64, f64)) {
    for (value, text) in &axis.marks {
        let x = left + value / axis.end * length;
        drawing.line((x, top + 4.0), (x, bottom), GRID);
        let mut label = Label::new((x, top), Anchor::Middle, MUTED, text);
        let (start, end) = label.extent();
        if start < 0.0 {
            (label.anchor, label.x) = (Anchor::Start, 0.0);
        } else if end > drawing.width {
            (label.anchor, label.x) = (Anchor::End, drawing.width);
        }
        drawing.label(label);
    }
    drawing.line((left, top + 4.0), (left + length, top + 4.0), AXIS);
}

/// Describes the chart for those who do not see it.
pub(super) fn describe(build: &BuildRecord) -> String {
    let mut rows = rows(build, Some(MAX_ROWS));
    rows.retain(|row| row.millis.is_some());
    rows.sort_by_key(|row| std::cmp::Reverse(row.millis));
    let longest: Vec<String> =
        rows.iter().take(4).map(|row| format!("{} ({})", row.name, row.time())).collect();
    let total = format_duration(build.millis);
    if longest.is_empty() {
        return format!("Timeline of the last build, {total} in all.");
    }
    format!("Timeline of the last build, {total} in all. The longest parts: {}.", longest.join("; "))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::PhaseRecord;

    fn step(source: &str, start: Option<u64>, millis: u64) -> StepEntry {
        StepEntry {
            source: Some(source.to_owned()),
            cached: start.is_none(),
            start_millis: start,
            millis,
            ..StepEntry::default()
        }
    }

    fn build(steps: Vec<StepEntry>) -> BuildRecord {
        let phase = PhaseRecord::new;
        BuildRecord {
            outcome: BuildOutcome::Built,
            phases: vec![
                phase(Phase::Push, 30_000, 6_000),
                phase(Phase::Keys, 0, 200),
                phase(Phase::Solve, 300, 29_000),
                phase(Phase::Save, 29_300, 4_000),
            ],
            step_list: steps,
            millis: 36_000,
            ..BuildRecord::started(Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn steps_are_below_the_build_in_the_order_of_their_start() {
        let steps = vec![
            step("RUN later", Some(9_000), 5),
            step("RUN pip", None, 0),
            step("RUN\n  first", Some(400), 10),
        ];
        let rows = all_rows(&build(steps));
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(
            names,
            ["Compute keys", "Build", "RUN pip", "RUN   first", "RUN later", "Save cache mounts", "Push"]
        );
    }

    #[test]
    fn a_chart_shows_the_command_and_not_the_mounts() {
        let name = "RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=a pip install .";
        let rows = all_rows(&build(vec![step(name, Some(400), 10)]));
        assert_eq!((rows[2].short_name().as_str(), rows[2].name.as_str()), ("RUN pip install .", name));
    }

    #[test]
    fn many_steps_are_summed_up_except_the_longest() {
        let steps: Vec<StepEntry> = (0..90).map(|at| step("RUN x", Some(300 + at), at)).collect();
        let rows = rows(&build(steps), Some(MAX_ROWS));
        assert_eq!(rows.len(), MAX_ROWS);
        let sum = rows.iter().find(|row| row.is_sum).unwrap();
        assert_eq!((sum.name.as_str(), sum.millis), ("55 more steps", Some((0..55).sum())));
    }

    #[test]
    fn the_steps_of_an_image_hit_are_one_row() {
        let hit = BuildRecord {
            outcome: BuildOutcome::ImageHit,
            ..build(vec![step("RUN a", None, 0), step("RUN b", None, 0)])
        };
        let rows = rows(&hit, Some(MAX_ROWS));
        let sum = rows.iter().find(|row| row.is_step).unwrap();
        assert_eq!((sum.name.as_str(), sum.time().as_str()), ("2 steps, cached", "cached"));
    }

    #[test]
    fn long_names_and_many_rows_are_legible() {
        let name = "RUN --mount=type=cache,target=/root/.cache/pip pip install -r requirements.txt 漢字漢字漢字漢字漢字";
        let many: Vec<StepEntry> =
            (0..60).map(|at| step(name, (at % 3 > 0).then_some(400 * at), 600)).collect();
        for build in [build(many), build(Vec::new()), BuildRecord::started(Timestamp::UNIX_EPOCH)] {
            for form in [Form::Wide, Form::Narrow] {
                draw(&build, form).assert_text_is_legible();
            }
        }
    }
}
