//! Lines of one of several that are at work at once.

use std::io::{self, Write};

/// Longer lines are written in pieces.
const LONGEST: usize = 16 << 10;

/// Writes whole lines, each behind a name. What has no end yet waits, or is given one when it is dropped.
pub struct Prefixed<W: Write> {
    name: String,
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Prefixed<W> {
    /// Lines of `name`.
    pub fn new(name: &str, out: W) -> Self {
        Self { name: name.to_owned(), out, line: Vec::new() }
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.line.push(b'\n');
        // One write, so that lines of others come before or behind.
        let text = [self.name.as_bytes(), b" | ", &self.line].concat();
        self.line.clear();
        self.out.write_all(&text)
    }
}

impl<W: Write> Write for Prefixed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            for piece in text.chunks(LONGEST) {
                if self.line.len() + piece.len() > LONGEST {
                    self.end_line()?;
                }
                self.line.extend_from_slice(piece);
            }
            if ends {
                self.end_line()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Drop for Prefixed<W> {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            // Whoever does not listen any more misses it.
            drop(self.end_line().and_then(|()| self.out.flush()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_begins_with_the_name_however_it_comes() {
        let mut told = Vec::new();
        let mut lines = Prefixed::new("a", &mut told);
        for part in ["one\ntw", "o\n\n", "three"] {
            lines.write_all(part.as_bytes()).unwrap();
        }
        drop(lines);
        assert_eq!(String::from_utf8(told).unwrap(), "a | one\na | two\na | \na | three\n");
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let mut told = Vec::new();
        let mut lines = Prefixed::new("a", &mut told);
        for _ in 0..100 {
            lines.write_all(&[b'x'; 1000]).unwrap();
        }
        assert!(lines.line.len() <= LONGEST);
        drop(lines);
        let written = String::from_utf8(told).unwrap();
        assert_eq!(written.matches('x').count(), 100_000);
    }
}
