//! What is wrong with a Dockerfile, and where.

use std::fmt::Write as _;

/// A Dockerfile that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct SyntaxError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
}

impl SyntaxError {
    /// Points at `line` and, where `part` stands in it, at that part.
    pub(super) fn at(line: usize, source: &str, part: Option<&str>, message: impl Into<String>) -> Self {
        let indent = source.len() - source.trim_start().len();
        let byte = part.filter(|part| !part.is_empty()).and_then(|part| source.find(part)).unwrap_or(indent);
        Self { line, column: source[..byte].chars().count() + 1, message: message.into() }
    }

    /// Renders the error with its source line and a caret below the place.
    ///
    /// ```text
    /// Dockerfile:2:1: unknown instruction `RNU`; did you mean `RUN`?
    ///   |
    /// 2 | RNU make
    ///   | ^
    /// ```
    ///
    /// `file` is the name to show and `text` what was parsed.
    pub fn caret(&self, file: &str, text: &str) -> String {
        let Self { line, column, message } = self;
        let mut shown = format!("{file}:{line}:{column}: {message}");
        if let Some(source) = text.lines().nth(line.saturating_sub(1)) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // Tabs stay tabs below a tab, so that the caret lines up.
            let indent: String = source
                .trim_start_matches('\u{feff}')
                .chars()
                .take(column - 1)
                .map(|char| if char == '\t' { '\t' } else { ' ' })
                .collect();
            let source = source.trim_start_matches('\u{feff}').trim_end();
            let _ = write!(shown, "\n{margin} |\n{number} | {source}\n{margin} | {indent}^");
        }
        shown
    }
}
