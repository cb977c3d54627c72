//! Output lines, assembled from bytes that were split at any point.
//!
//! A line depends only on the bytes, not on the message boundaries. A carriage return restarts the line, as on a
//! terminal, so that a progress bar leaves only its last state; `\r\n` ends a line like `\n`. Invalid UTF-8 becomes
//! U+FFFD.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

/// Length in bytes at which a line is split, so that a step that never ends its lines cannot exhaust memory.
const MAX_LINE_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// 1 for stdout, 2 for stderr.
    pub(crate) stream: i64,
    /// Time from the start of the vertex to the start of the line.
    pub(crate) since_start: Duration,
    /// The line without its terminator, but with escape sequences.
    pub(crate) text: String,
}

/// Prints `0.412 text`, with three significant digits below 100 seconds as docker does.
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.since_start.as_secs_f64();
        let digits = match seconds {
            ..10.0 => 3,
            10.0..100.0 => 2,
            _ => 1,
        };
        write!(f, "{seconds:.digits$} {}", self.text)
    }
}

/// The unfinished line of one stream of one vertex.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenLine {
    bytes: Vec<u8>,
    started: Option<Timestamp>,
    has_carriage_return: bool,
}

/// A line with the time of its first byte.
pub(super) type DatedLine = (Option<Timestamp>, String);

impl OpenLine {
    /// Adds bytes and returns the lines that they completed.
    pub(super) fn push(&mut self, mut data: &[u8], at: Option<Timestamp>) -> Vec<DatedLine> {
        let mut lines = Vec::new();
        while let Some(&first) = data.first() {
            match first {
                b'\n' => {
                    lines.push(self.take(at));
                    data = &data[1..];
                }
                b'\r' => {
                    self.has_carriage_return = true;
                    data = &data[1..];
                }
                _ => {
                    if std::mem::take(&mut self.has_carriage_return) {
                        self.bytes.clear();
                        self.started = None;
                    }
                    if self.bytes.is_empty() {
                        self.started = at;
                    }
                    let end = data.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
                    let taken = end.unwrap_or(data.len()).min(MAX_LINE_BYTES - self.bytes.len());
                    self.bytes.extend_from_slice(&data[..taken]);
                    data = &data[taken..];
                    if self.bytes.len() == MAX_LINE_BYTES {
                        lines.push(self.split_long_line());
                    }
                }
            }
        }
        lines
    }

    /// Ends the unfinished line and returns it, if there is one.
    pub(super) fn close(&mut self) -> Option<DatedLine> {
        (!self.bytes.is_empty()).then(|| self.take(None))
    }

    pub(super) fn partial(&self) -> Option<DatedLine> {
        (!self.bytes.is_empty()).then(|| (self.started, String::from_utf8_lossy(&self.bytes).into_owned()))
    }

    fn take(&mut self, at: Option<Timestamp>) -> DatedLine {
        let line = Self::take_bytes(&mut self.bytes);
        self.has_carriage_return = false;
        (self.started.take().or(at), line)
    }

    /// Splits a line that is too long, but not in the middle of a character.
    fn split_long_line(&mut self) -> DatedLine {
        let complete = match std::str::from_utf8(&self.bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.bytes.len(),
        };
        let rest = self.bytes.split_off(complete);
        let line = (self.started, Self::take_bytes(&mut self.bytes));
        self.bytes = rest;
        line
    }

    fn take_bytes(bytes: &mut Vec<u8>) -> String {
        String::from_utf8(std::mem::take(bytes))
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut open = OpenLine::default();
        let mut lines: Vec<_> = chunks.into_iter().flat_map(|chunk| open.push(chunk, None)).collect();
        lines.extend(open.close());
        lines.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_line_shows_what_a_terminal_would_show() {
        for (written, shown) in [
            ("one\ntwo\n", vec!["one", "two"]),
            ("dos\r\nunix\n", vec!["dos", "unix"]),
            ("10%\r50%\r100%\n", vec!["100%"]),
            ("10%\r", vec!["10%"]),
            ("100%\r\r\n", vec!["100%"]),
            ("\n\nno end", vec!["", "", "no end"]),
            ("", vec![]),
        ] {
            assert_eq!(lines([written.as_bytes()]), shown, "{written:?}");
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_the_rest_kept() {
        assert_eq!(lines([b"caf\xe9 au lait\n".as_slice()]), ["caf\u{fffd} au lait"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_split_between_characters() {
        let endless = "x€".repeat(MAX_LINE_BYTES);
        let broken = lines([endless.as_bytes()]);
        assert!(broken.len() > 1);
        assert!(broken.iter().all(|line| line.len() <= MAX_LINE_BYTES && !line.contains('\u{fffd}')));
        assert_eq!(broken.concat(), endless);
    }

    #[test]
    fn a_longer_time_has_fewer_decimals() {
        for (millis, shown) in
            [(0, "0.000 x"), (412, "0.412 x"), (9_999, "9.999 x"), (12_345, "12.35 x"), (123_456, "123.5 x")]
        {
            let line =
                LogLine { stream: 1, since_start: Duration::from_millis(millis), text: "x".to_owned() };
            assert_eq!(line.to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn message_boundaries_do_not_affect_the_lines(
            text in "[a-c€é\r\n]{0,60}", cuts in prop::collection::vec(0usize..200, 0..8)
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(lines(chunks), lines([bytes]));
        }
    }
}
