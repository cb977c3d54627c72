//! Progress of transfers: a bar on a terminal, else one line per second for long transfers.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Printer;
use crate::amounts::size;
use crate::pipeline::reporter::TransferProgress;

const DELAY: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_secs(1);
/// The time before the bar is shown; shorter, because the bar is removed at the end.
const BAR_DELAY: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub(crate) struct TransferDisplay {
    label: String,
    printer: Printer,
    started: Instant,
    last_shown: Option<Instant>,
    is_live: bool,
    bar: Option<ProgressBar>,
}

impl TransferDisplay {
    /// Creates the progress of `what`, such as `saving .pip-cache`.
    pub(crate) fn new(label: String, printer: Printer) -> Self {
        let is_live = printer.may_redraw();
        Self { label, printer, started: Instant::now(), last_shown: None, is_live, bar: None }
    }
}

impl TransferProgress for TransferDisplay {
    fn show(&mut self, (done, total): (u64, u64)) {
        let elapsed = self.started.elapsed();
        if (done, total) == (0, 0) {
            // The total is not known yet.
            return;
        }
        if self.is_live {
            if elapsed >= BAR_DELAY {
                let what = &self.label;
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
        } else if elapsed >= DELAY && self.last_shown.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.last_shown = Some(Instant::now());
            let (done, total) = (size(done), size(total.max(done)));
            self.printer.note(&format!("{}: {done} of {total}\n", self.label));
        }
    }

    fn finish(self: Box<Self>) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
