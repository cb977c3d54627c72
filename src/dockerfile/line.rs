//! Splits text into joined lines: comments, continuations, here-documents.
//!
//! ```text
//!  # comment              not part of a line
//!  RUN apt-get update \   ─┐ first
//!    # comment             │ dropped from `joined`, kept in `source`
//!    && make <<EOF         │ joined: "RUN apt-get update   && make <<EOF"
//!  text                    │ here-document
//!  EOF                    ─┘ last
//! ```
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/parser/parser.go`. The crate `parse-dockerfile` is used only in
//! tests, for comparison: up to 0.1.9 it supports only one here-document in a RUN, does not unquote flags, rejects two
//! stages with one name, and treats a doubled escape at the end of a line as a continuation.

use super::error::SyntaxError;
use super::heredoc::Heredoc;
use super::words::{self, InstructionWords};

#[derive(Debug)]
pub(super) struct SourceLine {
    /// The source lines, from 1, including here-documents.
    pub(super) first: usize,
    pub(super) last: usize,
    /// The source as written. Line ends are `\n`, except inside here-documents, where they are unchanged.
    pub(super) source: String,
    pub(super) command: InstructionWords,
    pub(super) heredocs: Vec<Heredoc>,
}

const MAX_LINE_BYTES: usize = 65_535;

pub(super) fn lines(text: &str, escape: char) -> Result<Vec<SourceLine>, SyntaxError> {
    let too_long = |line: &&str| line.strip_suffix('\n').unwrap_or(line).len() > MAX_LINE_BYTES;
    if let Some((line, number)) = text.split_inclusive('\n').zip(1..).find(|(line, _)| too_long(line)) {
        return Err(SyntaxError::at_line(
            number,
            line,
            format!("the line is longer than {MAX_LINE_BYTES} bytes"),
        ));
    }
    let mut read = Vec::new();
    let mut sources = text.split_inclusive('\n').zip(1..);
    while let Some((raw, first)) = sources.next() {
        let start = trim_line_end(raw);
        let content = start.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let mut last = first;
        let mut source = start.to_owned();
        let (piece, mut continued) = continuation(content, escape);
        let mut joined = piece.to_owned();
        while continued {
            let Some((raw, number)) = sources.next() else { break };
            last = number;
            let line = trim_line_end(raw);
            source.push('\n');
            source.push_str(line);
            let content = line.trim_start();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let (piece, more) = continuation(line, escape);
            joined.push_str(piece);
            continued = more;
        }
        let error = |message: String| SyntaxError::at_line(first, start, message);
        if joined.trim().is_empty() {
            return Err(error("a line continuation without an instruction".to_owned()));
        }
        let command = InstructionWords::of_line(&joined, escape);
        let mut heredocs = Vec::new();
        if command.may_open_heredoc(escape) && joined.contains("<<") {
            heredocs = Heredoc::of_line(&joined).map_err(|cause| error(cause.to_string()))?;
        }
        for heredoc in &mut heredocs {
            loop {
                let Some((raw, number)) = sources.next() else {
                    return Err(error(format!("here-document `{}` is never closed", heredoc.name)));
                };
                last = number;
                source.push('\n');
                source.push_str(raw.strip_suffix('\n').unwrap_or(raw));
                if heredoc.is_closed_by(trim_line_end(raw)) {
                    break;
                }
                heredoc.content.push_str(raw);
            }
        }
        read.push(SourceLine { first, last, source, command, heredocs });
    }
    Ok(read)
}

fn trim_line_end(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// Returns the content of a line, and `true` if the next line continues it.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

impl InstructionWords {
    /// Returns `true` for a RUN, COPY or ADD, also in ONBUILD, that is not in JSON form.
    fn may_open_heredoc(&self, escape: char) -> bool {
        let opens = |command: &Self| {
            matches!(command.keyword.as_str(), "ADD" | "COPY" | "RUN")
                && words::parse_json_array(&command.arguments).is_none()
        };
        if self.keyword == "ONBUILD" {
            return opens(&Self::of_line(&self.arguments, escape));
        }
        opens(self)
    }
}
