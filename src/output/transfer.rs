//! Progress of work that moves bytes: a bar on a terminal, else a line a second once it takes long.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Printer, size};

/// Nothing is shown of what takes no longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// The bar comes earlier, for it goes again.
const BAR_PATIENCE: Duration = Duration::from_millis(300);

/// What is shown while bytes are moved.
#[derive(Debug)]
pub struct Transfer {
    what: String,
    printer: Printer,
    started: Instant,
    last: Option<Instant>,
    live: bool,
    bar: Option<ProgressBar>,
}

impl Transfer {
    /// Shows `what`, such as `saving .pip-cache`; `live` where standard error can be redrawn.
    pub fn new(what: String, printer: Printer, live: bool) -> Self {
        let live = live && printer.may_redraw();
        Self { what, printer, started: Instant::now(), last: None, live, bar: None }
    }

    /// Brings what is shown up to date; to be called several times a second.
    pub fn show(&mut self, (done, total): (u64, u64)) {
        let elapsed = self.started.elapsed();
        if (done, total) == (0, 0) {
            // Nothing is known yet.
            return;
        }
        if self.live {
            if elapsed >= BAR_PATIENCE {
                let what = &self.what;
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
                    let style = "{msg} [{bar:30}] {bytes} / {total_bytes}, {bytes_per_sec}";
                    if let Ok(style) = ProgressStyle::with_template(style) {
                        bar.set_style(style.progress_chars("=> "));
                    }
                    bar.set_message(what.clone());
                    bar
                });
                bar.set_length(total.max(done));
                bar.set_position(done);
            }
        } else if elapsed >= PATIENCE && self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            self.last = Some(Instant::now());
            let (done, total) = (size(done), size(total.max(done)));
            self.printer.note(&format!("{}: {done} of {total}\n", self.what));
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_shown_only_on_a_terminal_without_a_log() {
        let mut plain = Printer::new(false);
        plain.speak_plain();
        let mut json = Printer::new(false);
        json.speak_json();
        let mut quiet = Printer::new(false);
        quiet.speak_quiet();
        let part = Printer::new(false).for_part("a");
        let logs = [plain, json, quiet, part].map(|printer| (printer, false));
        for (printer, has_bar) in logs.into_iter().chain([(Printer::new(false), true)]) {
            assert_eq!(Transfer::new("saving".to_owned(), printer, true).live, has_bar, "{printer:?}");
        }
    }
}
