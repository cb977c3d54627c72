//! Progress of transfers: a bar on a terminal, else one line per second for long transfers.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Printer;
use crate::amounts::size;
use crate::pipeline::reporter::TransferProgress;

/// The time before the first line.
const DELAY: Duration = Duration::from_secs(2);
/// The interval between lines.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time before the bar is shown; shorter, because the bar is removed at the end.
const BAR_DELAY: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct Transfer {
    what: String,
    printer: Printer,
    started: Instant,
    last: Option<Instant>,
    live: bool,
    bar: Option<ProgressBar>,
}

impl Transfer {
    /// Creates the progress of `what`, such as `saving .pip-cache`.
    pub(crate) fn new(what: String, printer: Printer) -> Self {
        let live = printer.may_redraw();
        Self { what, printer, started: Instant::now(), last: None, live, bar: None }
    }
}

impl TransferProgress for Transfer {
    fn show(&mut self, (done, total): (u64, u64)) {
        let elapsed = self.started.elapsed();
        if (done, total) == (0, 0) {
            // The total is not known yet.
            return;
        }
        if self.live {
            if elapsed >= BAR_DELAY {
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
        } else if elapsed >= DELAY && self.last.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.last = Some(Instant::now());
            let (done, total) = (size(done), size(total.max(done)));
            self.printer.note(&format!("{}: {done} of {total}\n", self.what));
        }
    }

    fn finish(self: Box<Self>) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
