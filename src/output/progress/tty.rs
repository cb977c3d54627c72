//! The live table on a terminal, painted by overwriting the previous frame.
//!
//! It redraws at most ten times a second, and only over its own lines: it moves the cursor up by the rows that its last
//! frame occupies at the terminal's current width, rewrites them and clears the rows below. At the end it leaves the
//! complete table. The builder's clock may differ from the local one; the table uses the builder's, by the difference
//! observed when the first vertex started.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Renderer;
use super::frame::{LineTone, TableLine, TerminalSize, frame, summary};
use crate::buildkit::trace::{Trace, TraceChanges, elapsed};
use crate::screen_text::columns;

const MIN_FRAME_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct TtyRenderer {
    color: bool,
    /// Returns the terminal's size; called before each redraw.
    size: Box<dyn Fn() -> TerminalSize + Send>,
    /// The local clock minus the builder's.
    clock_offset: Option<SignedDuration>,
    last_frame: Option<Timestamp>,
    /// The width of each line on the screen.
    drawn_widths: Vec<usize>,
}

impl TtyRenderer {
    pub(crate) fn new(color: bool, size: impl Fn() -> TerminalSize + Send + 'static) -> Self {
        let size = Box::new(size);
        Self { color, size, clock_offset: None, last_frame: None, drawn_widths: Vec::new() }
    }

    fn builder_time(&mut self, trace: &Trace, now: Timestamp) -> Timestamp {
        if self.clock_offset.is_none() {
            self.clock_offset = trace.started().map(|started| now.duration_since(started));
        }
        self.clock_offset.and_then(|ahead| now.checked_sub(ahead).ok()).unwrap_or(now)
    }

    fn paint(&mut self, lines: &[TableLine], size: TerminalSize, out: &mut String) {
        out.push_str("\x1b[?25l\r");
        let height: usize =
            self.drawn_widths.iter().map(|width| width.div_ceil(size.cols.max(1)).max(1)).sum();
        let up = height.min(size.rows.saturating_sub(1));
        if up > 0 {
            let _ = write!(out, "\x1b[{up}A");
        }
        for line in lines {
            let (colour, reset) = if self.color { colour(line.tone) } else { ("", "") };
            let _ = writeln!(out, "\x1b[2K{colour}{}{reset}", line.text);
        }
        out.push_str("\x1b[J\x1b[?25h");
        self.drawn_widths = lines.iter().map(|line| columns(&line.text)).collect();
    }
}

/// Returns the escape sequences (ECMA-48, SGR) that begin and end a tone.
fn colour(tone: LineTone) -> (&'static str, &'static str) {
    match tone {
        LineTone::Plain => ("", ""),
        LineTone::Ended => ("\x1b[34m", "\x1b[0m"),
        LineTone::Warning => ("\x1b[33m", "\x1b[0m"),
        LineTone::Error => ("\x1b[31m", "\x1b[0m"),
        LineTone::Faint => ("\x1b[2m", "\x1b[0m"),
    }
}

impl Renderer for TtyRenderer {
    fn changed(&mut self, trace: &Trace, _changes: TraceChanges, now: Timestamp, out: &mut String) {
        self.tick(trace, now, out);
    }

    fn tick(&mut self, trace: &Trace, now: Timestamp, out: &mut String) {
        if self.last_frame.is_some_and(|last| elapsed(last, now) < MIN_FRAME_INTERVAL) {
            return;
        }
        self.last_frame = Some(now);
        let size = (self.size)();
        let lines = frame(trace, self.builder_time(trace, now), size);
        self.paint(&lines, size, out);
    }

    fn finish(&mut self, trace: &Trace, _changes: TraceChanges, now: Timestamp, out: &mut String) {
        let size = (self.size)();
        let lines = summary(trace, self.builder_time(trace, now), size.cols);
        self.paint(&lines, size, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ProgressDisplay;
    use super::super::captured::CapturedOutput;
    use super::*;
    use crate::buildkit::trace::testing::{TraceScript, at};
    use crate::pipeline::reporter::StepProgress as _;

    fn display(
        color: bool,
        size: impl Fn() -> TerminalSize + Send + 'static,
    ) -> (Box<ProgressDisplay>, CapturedOutput) {
        let captured = CapturedOutput::default();
        let renderer = Box::new(TtyRenderer::new(color, size));
        (Box::new(ProgressDisplay::new(renderer, captured.boxed())), captured)
    }

    fn escaped(text: &str) -> String {
        text.replace('\u{1b}', "^").replace('\r', "<cr>")
    }

    #[test]
    fn each_frame_overwrites_the_previous_one() {
        let (mut display, captured) = display(true, || TerminalSize { cols: 40, rows: 24 });
        display
            .update(TraceScript::new().start("a", "[2/2] RUN false", 0).log("a", 5, "boo\n").update(), at(0));
        let failed = TraceScript::new().failed("a", "[2/2] RUN false", 0, 300, "exit code: 1");
        display.update(failed.update(), at(300));
        display.finish(at(310));
        insta::assert_snapshot!(escaped(&captured.text()), @r#"
        ^[?25l<cr>^[2K[+] Building 0.0s (0/1)
        ^[2K => [2/2] RUN false                 0.0s
        ^[2K^[2m => => # boo^[0m
        ^[J^[?25h^[?25l<cr>^[3A^[2K[+] Building 0.3s (1/1)
        ^[2K^[31m => ERROR [2/2] RUN false           0.3s^[0m
        ^[J^[?25h^[?25l<cr>^[2A^[2K[+] Building 0.3s (1/1) FINISHED
        ^[2K^[31m => ERROR [2/2] RUN false           0.3s^[0m
        ^[J^[?25h
        "#);
    }

    #[test]
    fn without_colour_only_the_cursor_is_moved() {
        let (mut display, captured) = display(false, || TerminalSize { cols: 40, rows: 24 });
        display.update(TraceScript::new().failed("a", "RUN a", 0, 5, "exit code: 1").update(), at(5));
        let final_bytes: Vec<char> = (captured.text().split("\u{1b}[").skip(1))
            .filter_map(|sequence| sequence.chars().find(char::is_ascii_alphabetic))
            .collect();
        assert_eq!(final_bytes, ['l', 'K', 'K', 'J', 'h']);
    }

    #[test]
    fn the_table_is_redrawn_at_most_ten_times_a_second() {
        let (mut display, captured) = display(false, || TerminalSize { cols: 40, rows: 24 });
        display.update(TraceScript::new().start("a", "RUN a", 0).update(), at(0));
        for millis in 1..=1_000 {
            display.tick(at(millis));
        }
        assert_eq!(captured.text().matches("[+] Building").count(), 11);
    }

    #[test]
    fn a_builder_with_a_wrong_clock_does_not_shift_the_times() {
        let (mut display, captured) = display(false, || TerminalSize { cols: 40, rows: 24 });
        display.update(TraceScript::new().start("a", "RUN a", 3_600_000).update(), at(0));
        display.tick(at(2_500));
        assert!(captured.text().contains("[+] Building 2.5s (0/1)"), "{}", captured.text());
    }

    #[test]
    fn a_narrowed_window_is_cleared_to_the_top_of_the_previous_frame() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COLS: AtomicUsize = AtomicUsize::new(60);
        let (mut display, captured) =
            display(false, || TerminalSize { cols: COLS.load(Ordering::Relaxed), rows: 24 });
        display.update(TraceScript::new().start("a", "RUN a", 0).update(), at(0));
        COLS.store(30, Ordering::Relaxed);
        display.tick(at(100));
        // The header fits into 30 columns; the vertex's line of 60 now takes two rows.
        assert!(captured.text().contains("\u{1b}[3A"), "{}", escaped(&captured.text()));
    }
}
