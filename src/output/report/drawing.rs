//! Drawings: shapes and text at positions, which `templates/chart.svg` renders as an SVG file.

use askama::Template;

use super::palette::{self, INK, PAPER};
use super::text_fit::{shorten, width};

/// The font size of labels. Both forms of a chart are shown at their own size where possible.
pub(super) const SIZE: f64 = 12.5;
/// The least distance between the baselines of two labels.
pub(super) const LINE_HEIGHT: f64 = 18.0;

/// The form of a chart: for a desktop or for a phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Wide,
    Narrow,
}

impl Form {
    pub(super) fn width(self) -> f64 {
        match self {
            Self::Wide => 1000.0,
            Self::Narrow => 320.0,
        }
    }
}

/// A chart of a fixed size. The origin is at its top left, and lengths are in pixels.
#[derive(Debug, Clone, Template)]
#[template(path = "chart.svg")]
pub(super) struct Drawing {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) marks: Vec<Mark>,
}

#[derive(Debug, Clone)]
pub(super) enum Mark {
    Bar(Bar),
    Line(Line),
    /// A path in SVG's notation, with its fill and stroke.
    Path(String, Paint),
    Label(Label),
}

/// A fill and a stroke, each a colour, a pattern or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    pub(super) fill: &'static str,
    pub(super) stroke: &'static str,
}

impl Paint {
    pub(super) const fn solid(colour: &'static str) -> Self {
        Self { fill: colour, stroke: colour }
    }

    pub(super) const fn outline(colour: &'static str) -> Self {
        Self { fill: PAPER, stroke: colour }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) paint: Paint,
    pub(super) is_dashed: bool,
    /// The full text for a tooltip; may be empty.
    pub(super) title: String,
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) from: (f64, f64),
    pub(super) to: (f64, f64),
    pub(super) colour: &'static str,
    pub(super) is_dashed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) x: f64,
    /// The position of the baseline.
    pub(super) y: f64,
    pub(super) anchor: Anchor,
    pub(super) colour: &'static str,
    pub(super) text: String,
    /// The full text, if `text` is shortened.
    pub(super) title: String,
}

impl Label {
    pub(super) fn new(
        (x, y): (f64, f64),
        anchor: Anchor,
        colour: &'static str,
        text: impl Into<String>,
    ) -> Self {
        Self { x, y, anchor, colour, text: text.into(), title: String::new() }
    }

    /// Returns a label at the start of a space, shortened to fit into it.
    pub(super) fn fitted(at: (f64, f64), available: f64, colour: &'static str, text: &str) -> Self {
        let short = shorten(text, SIZE, available);
        let title = if short == text { String::new() } else { text.to_owned() };
        Self { title, ..Self::new(at, Anchor::Start, colour, short) }
    }

    /// Returns the left and the right end, as estimated.
    pub(super) fn extent(&self) -> (f64, f64) {
        let width = width(&self.text, SIZE);
        let start = match self.anchor {
            Anchor::Start => self.x,
            Anchor::Middle => self.x - width / 2.0,
            Anchor::End => self.x - width,
        };
        (start, start + width)
    }
}

impl Drawing {
    pub(super) fn new(form: Form, height: f64) -> Self {
        Self { width: form.width(), height, marks: Vec::new() }
    }

    pub(super) fn bar(&mut self, bar: Bar) {
        self.marks.push(Mark::Bar(bar));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &'static str) {
        self.marks.push(Mark::Line(Line { from, to, colour, is_dashed: false }));
    }

    pub(super) fn dashed_line(&mut self, from: (f64, f64), to: (f64, f64), colour: &'static str) {
        self.marks.push(Mark::Line(Line { from, to, colour, is_dashed: true }));
    }

    pub(super) fn path(&mut self, path: String, paint: Paint) {
        self.marks.push(Mark::Path(path, paint));
    }

    pub(super) fn label(&mut self, label: Label) {
        self.marks.push(Mark::Label(label));
    }

    /// Draws the key of a chart from the top left, in as many lines as needed, and returns where they end.
    pub(super) fn key(&mut self, entries: &[(Swatch, &str)]) -> f64 {
        let (mut x, mut y) = (0.0, 0.0);
        for (swatch, text) in entries {
            let needed = Swatch::WIDTH + 6.0 + width(text, SIZE);
            if x > 0.0 && x + needed > self.width {
                (x, y) = (0.0, y + LINE_HEIGHT + 2.0);
            }
            swatch.draw(self, (x, y + 8.0));
            self.label(Label::new((x + Swatch::WIDTH + 6.0, y + 12.5), Anchor::Start, INK, *text));
            x += needed + 20.0;
        }
        y + LINE_HEIGHT
    }
}

/// The sample of a mark in a chart's key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Swatch {
    Bar(Paint),
    Circle(Paint),
    Diamond(Paint),
    Dashes(&'static str),
}

impl Swatch {
    const WIDTH: f64 = 14.0;

    /// Draws the sample into a space of [`Self::WIDTH`] right of a point.
    fn draw(self, drawing: &mut Drawing, (x, y): (f64, f64)) {
        let middle = (x + Self::WIDTH / 2.0, y);
        match self {
            Self::Bar(paint) => drawing.bar(Bar {
                x: x + 0.5,
                y: y - 5.0,
                width: Self::WIDTH - 1.0,
                height: 10.0,
                paint,
                is_dashed: false,
                title: String::new(),
            }),
            Self::Circle(paint) => drawing.path(circle(middle, 4.0), paint),
            Self::Diamond(paint) => drawing.path(diamond(middle, 5.0), paint),
            Self::Dashes(colour) => drawing.dashed_line((x, y), (x + Self::WIDTH, y), colour),
        }
    }
}

pub(super) fn circle((x, y): (f64, f64), radius: f64) -> String {
    let (left, right) = (x - radius, x + radius);
    format!(
        "M{left:.1} {y:.1}A{radius} {radius} 0 0 1 {right:.1} {y:.1}A{radius} {radius} 0 0 1 {left:.1} {y:.1}Z"
    )
}

pub(super) fn diamond((x, y): (f64, f64), radius: f64) -> String {
    format!("M{x:.1} {:.1}l{radius} {radius}l-{radius} {radius}l-{radius} -{radius}Z", y - radius)
}

pub(super) fn cross((x, y): (f64, f64), radius: f64) -> String {
    let (left, right, top, bottom) = (x - radius, x + radius, y - radius, y + radius);
    format!("M{left:.1} {top:.1}L{right:.1} {bottom:.1}M{left:.1} {bottom:.1}L{right:.1} {top:.1}")
}

#[cfg(test)]
impl Drawing {
    pub(super) fn render_text(&self) -> String {
        self.render().unwrap()
    }

    /// Checks by the estimated widths that all text is inside the drawing, and that no two texts overlap.
    pub(super) fn assert_text_is_legible(&self) {
        let labels = self
            .marks
            .iter()
            .filter_map(|mark| if let Mark::Label(label) = mark { Some(label) } else { None });
        let boxes: Vec<_> = labels
            .map(|label| (label.extent(), (label.y - 0.93 * SIZE, label.y + 0.24 * SIZE), &label.text))
            .collect();
        for (at, (across, down, text)) in boxes.iter().enumerate() {
            assert!(across.0 >= 0.0 && across.1 <= self.width, "`{text}` at {across:?} of {}", self.width);
            assert!(down.0 >= 0.0 && down.1 <= self.height, "`{text}` at {down:?} of {}", self.height);
            for (other_across, other_down, other) in &boxes[..at] {
                let is_apart = |one: &(f64, f64), other: &(f64, f64)| one.1 <= other.0 || other.1 <= one.0;
                assert!(
                    is_apart(across, other_across) || is_apart(down, other_down),
                    "`{text}` and `{other}`"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::palette::GREEN;
    use super::*;

    #[test]
    fn a_drawing_is_an_svg_file_without_styles() {
        let mut drawing = Drawing::new(Form::Narrow, 60.0);
        let end =
            drawing.key(&[(Swatch::Bar(Paint::outline(GREEN)), "cached"), (Swatch::Dashes(INK), "median")]);
        drawing.label(Label::fitted((0.0, end + 20.0), 60.0, INK, "RUN a && b < c"));
        drawing.assert_text_is_legible();
        insta::assert_snapshot!("drawing", drawing.render().unwrap());
    }

    #[test]
    fn the_key_is_wrapped() {
        let mut drawing = Drawing::new(Form::Narrow, 60.0);
        let entries = ["cached", "run", "restore", "save for later builds", "push"];
        let end = drawing.key(&entries.map(|text| (Swatch::Bar(Paint::solid(INK)), text)));
        assert!(end > LINE_HEIGHT);
        drawing.assert_text_is_legible();
    }
}
