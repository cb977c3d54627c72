//! A writer for one of several commands that run at once.

use std::io::{self, Write};

/// The maximum length of a line; longer ones are split.
const MAX_LINE_LENGTH: usize = 16 << 10;

/// A writer of whole lines, each prefixed with a name. An incomplete line is buffered until its end or until the writer
/// is dropped.
pub(crate) struct PrefixedWriter<W: Write> {
    name: String,
    out: W,
    line: Vec<u8>,
}

impl<W: Write> PrefixedWriter<W> {
    pub(crate) fn new(name: &str, out: W) -> Self {
        Self { name: name.to_owned(), out, line: Vec::new() }
    }

    fn end_line(&mut self, lines: &mut Vec<u8>) {
        lines.extend_from_slice(self.name.as_bytes());
        lines.extend_from_slice(b" | ");
        lines.append(&mut self.line);
        lines.push(b'\n');
    }
}

impl<W: Write> Write for PrefixedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            for piece in text.chunks(MAX_LINE_LENGTH) {
                if self.line.len() + piece.len() > MAX_LINE_LENGTH {
                    self.end_line(&mut lines);
                }
                self.line.extend_from_slice(piece);
            }
            if ends {
                self.end_line(&mut lines);
            }
        }
        if !lines.is_empty() {
            // A single write, so that output of other writers does not interrupt a summary.
            self.out.write_all(&lines)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Drop for PrefixedWriter<W> {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            let mut lines = Vec::new();
            self.end_line(&mut lines);
            // The reader may have closed the stream.
            drop(self.out.write_all(&lines).and_then(|()| self.out.flush()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_begins_with_the_name() {
        let mut written = Vec::new();
        let mut lines = PrefixedWriter::new("a", &mut written);
        for part in ["one\ntw", "o\n\n", "three"] {
            lines.write_all(part.as_bytes()).unwrap();
        }
        drop(lines);
        assert_eq!(String::from_utf8(written).unwrap(), "a | one\na | two\na | \na | three\n");
    }

    #[test]
    fn lines_of_one_write_are_not_interrupted() {
        struct Writes(Vec<String>);
        impl Write for Writes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(String::from_utf8_lossy(bytes).into_owned());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writes = Writes(Vec::new());
        PrefixedWriter::new("a", &mut writes).write_all(b"larder\n  tier\n  engine\n").unwrap();
        assert_eq!(writes.0, ["a | larder\na |   tier\na |   engine\n"]);
    }

    #[test]
    fn a_long_line_without_a_newline_is_split() {
        let mut written = Vec::new();
        let mut lines = PrefixedWriter::new("a", &mut written);
        for _ in 0..100 {
            lines.write_all(&[b'x'; 1000]).unwrap();
        }
        assert!(lines.line.len() <= MAX_LINE_LENGTH);
        drop(lines);
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written.matches('x').count(), 100_000);
    }
}
