//! Dockerfile errors with their position.

use std::fmt::Write as _;

/// A mistake in a Dockerfile, with its position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct SyntaxError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The mistake, as a lower-case fragment.
    pub message: String,
}

/// A mistake in an instruction, with the parts of its text that it concerns, the most specific first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InstructionMistake {
    pub(super) message: String,
    pub(super) parts: Vec<String>,
    /// `true` if the position is the second occurrence of the first part.
    pub(super) is_repetition: bool,
}

impl From<String> for InstructionMistake {
    fn from(message: String) -> Self {
        Self { message, parts: Vec::new(), is_repetition: false }
    }
}

impl InstructionMistake {
    pub(super) fn at_part(part: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), parts: vec![part.into()], is_repetition: false }
    }

    /// Converts to an error at the position of the mistake in `source`, the text from line `first` on.
    pub(super) fn into_error(self, first: usize, source: &str) -> SyntaxError {
        let before = usize::from(self.is_repetition);
        let found = self.parts.iter().find_map(|part| locate(source, part, before));
        SyntaxError::at_position(first, source, found, self.message)
    }
}

const MAX_SHOWN_CHARS: usize = 200;

impl SyntaxError {
    /// Creates an error at the first of `parts` that occurs in `source`, the text from line `first` on, or else at the
    /// start of that text.
    pub(super) fn at_part(first: usize, source: &str, parts: &[&str], message: impl Into<String>) -> Self {
        let found = parts.iter().find_map(|part| locate(source, part, 0));
        Self::at_position(first, source, found, message)
    }

    fn at_position(
        first: usize,
        source: &str,
        found: Option<(usize, usize)>,
        message: impl Into<String>,
    ) -> Self {
        let (line, byte) = found.unwrap_or_else(|| {
            let line = source.lines().next().unwrap_or_default();
            (0, line.len() - line.trim_start().len())
        });
        let before = source.lines().nth(line).and_then(|line| line.get(..byte)).unwrap_or_default();
        Self { line: first + line, column: before.chars().count() + 1, message: message.into() }
    }

    pub(super) fn at_line(line: usize, source: &str, message: impl Into<String>) -> Self {
        Self::at_part(line, source, &[], message)
    }

    /// Renders the error with its source line and a caret below the position.
    ///
    /// ```text
    /// Dockerfile:2:1: unknown instruction `RNU`; did you mean `RUN`?
    ///   |
    /// 2 | RNU make
    ///   | ^
    /// ```
    ///
    /// `file` is the name to show and `text` the parsed text.
    pub fn caret(&self, file: &str, text: &str) -> String {
        let Self { line, column, message } = self;
        let mut shown = format!("{file}:{line}:{column}: {message}");
        if let Some(source) = text.lines().nth(line.saturating_sub(1)) {
            // Show only the part of an overlong line around the position.
            let source = source.trim_start_matches('\u{feff}').trim_end();
            let skipped =
                if source.len() > MAX_SHOWN_CHARS { column.saturating_sub(MAX_SHOWN_CHARS / 2) } else { 0 };
            let source: String = source.chars().skip(skipped).take(MAX_SHOWN_CHARS).collect();
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            // A tab is indented with a tab, so that the caret lines up.
            let before = source.chars().chain(std::iter::repeat(' ')).take(column - 1 - skipped);
            let indent: String = before.map(|char| if char == '\t' { '\t' } else { ' ' }).collect();
            let _ = write!(shown, "\n{margin} |\n{number} | {source}\n{margin} | {indent}^");
        }
        shown
    }
}

/// Returns the position of `part` in `source` after skipping `before` occurrences: lines before it, and bytes before it
/// in its line.
///
/// A part that continues on the next line is located by its beginning.
fn locate(source: &str, part: &str, before: usize) -> Option<(usize, usize)> {
    if part.is_empty() {
        return None;
    }
    let lines = || source.lines().enumerate();
    let mut whole =
        lines().flat_map(|(index, line)| line.match_indices(part).map(move |(byte, _)| (index, byte)));
    let continued_part = || {
        lines().find_map(|(index, line)| {
            let line = line.trim_end().trim_end_matches(['\\', '`']);
            let lengths = (2..part.len()).rev().filter(|length| part.is_char_boundary(*length));
            let byte =
                lengths.filter_map(|length| line.strip_suffix(&part[..length])).map(str::len).next()?;
            Some((index, byte))
        })
    };
    whole.nth(before).or_else(continued_part)
}
