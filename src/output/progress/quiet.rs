//! Progress that writes nothing.

use super::Renderer;

pub(super) struct QuietRenderer;

impl Renderer for QuietRenderer {}

#[cfg(test)]
mod tests {
    use super::super::captured::CapturedOutput;
    use super::super::{DisplayMode, DisplayOptions, ProgressDisplay, TerminalSize};
    use crate::buildkit::trace::testing::{Script, at};

    #[test]
    fn a_quiet_build_writes_nothing_but_returns_the_trace() {
        let captured = CapturedOutput::default();
        let options = DisplayOptions::fixed(true, TerminalSize { cols: 80, rows: 24 });
        let mut display = ProgressDisplay::new(DisplayMode::Quiet, options, captured.boxed());
        let message = Script::new().failed("a", "[2/2] RUN false", 0, 9, "exit code: 1").log("a", 1, "boo\n");
        display.update(message.update(), at(9)).unwrap();
        display.tick(at(500)).unwrap();
        assert_eq!(display.finish(at(900)).unwrap().failures().count(), 1);
        assert_eq!(captured.text(), "");
    }
}
