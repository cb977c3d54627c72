//! Waiting for an image that is moved: its progress is shown, and the user may interrupt.

use std::io::{self, IsTerminal};
use std::time::Duration;

use super::error::CommandError;
use super::interrupts::Interrupts;
use crate::output::Printer;
use crate::output::transfer::Transfer;
use crate::settings::Settings;
use crate::store::Meter;

/// How often progress is brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// Waits for `work`, whose progress `meter` has.
///
/// # Errors
///
/// Fails when the user interrupts; the work is asked to stop, and not waited for.
pub(super) async fn watched<T>(
    what: &str,
    work: impl Future<Output = T>,
    meter: &Meter,
    settings: &Settings,
    printer: Printer,
) -> Result<T, CommandError> {
    let live = io::stderr().is_terminal() && !settings.no_redraw;
    let mut progress = Transfer::new(what.to_owned(), printer, live);
    let (mut interrupts, mut ticks) = (Interrupts::watch(), tokio::time::interval(TICK));
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break Ok(done),
            () = interrupts.next() => {
                meter.stop();
                break Err(CommandError::interrupted("interrupted"));
            }
            _ = ticks.tick() => progress.show(meter.amounts()),
        }
    };
    progress.finish();
    done
}
