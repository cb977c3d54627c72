//! Charts on the page: two files for each, of which a browser shows the one that suits the width of the screen.

use askama::Template;

use super::drawing::{Drawing, Form};

/// A chart in both forms, and the markup that shows it.
#[derive(Debug, Clone, Template)]
#[template(path = "figure.html")]
pub(super) struct Figure {
    /// The name of its files before `-wide.svg` and `-narrow.svg`.
    name: &'static str,
    /// What it shows, for those who do not see it.
    description: String,
    caption: String,
    wide: Drawing,
    narrow: Drawing,
}

impl Figure {
    pub(super) fn new(
        name: &'static str,
        description: String,
        caption: impl Into<String>,
        draw: impl Fn(Form) -> Drawing,
    ) -> Self {
        let (wide, narrow) = (draw(Form::Wide), draw(Form::Narrow));
        Self { name, description, caption: caption.into(), wide, narrow }
    }

    /// Returns the names of its files and the drawings in them.
    pub(super) fn files(&self) -> [(String, &Drawing); 2] {
        let [wide, narrow] = file_names(self.name);
        [(wide, &self.wide), (narrow, &self.narrow)]
    }
}

/// Returns the names of the files of a chart.
pub(super) fn file_names(chart: &str) -> [String; 2] {
    ["wide", "narrow"].map(|form| format!("{chart}-{form}.svg"))
}
