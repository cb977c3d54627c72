//! Work that moves bytes, with its progress shown.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::error::CommandError;
use super::session::Session;
use crate::output::Printer;
use crate::output::transfer::Transfer;
use crate::store::Meter;

/// How often progress is brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// Starts to show the progress of what is done.
pub(super) fn progress(what: &str, session: &Session<'_>, printer: Printer) -> Transfer {
    let live = io::stderr().is_terminal() && !session.settings.no_redraw;
    Transfer::new(what.to_owned(), printer, live)
}

/// Waits for `work`, whose progress `meter` has.
///
/// # Errors
///
/// Fails when the user interrupts; the work is asked to stop, and not waited for.
pub(super) async fn transfer<T>(
    what: &str,
    work: impl Future<Output = T>,
    meter: &Meter,
    session: &Session<'_>,
    printer: Printer,
) -> Result<T, CommandError> {
    let mut progress = progress(what, session, printer);
    let (mut interrupts, mut ticks) = (session.interrupts(), tokio::time::interval(TICK));
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            // What is done is done, whenever the user interrupted.
            biased;
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

/// Runs `work` on a thread of its own; it calls its argument with the bytes that it has done, of `total`.
pub(super) fn transfer_on_thread<T: Send>(
    what: &str,
    total: u64,
    session: &Session<'_>,
    printer: Printer,
    work: impl FnOnce(&(dyn Fn(u64) + Sync)) -> T + Send,
) -> T {
    let mut progress = progress(what, session, printer);
    let done = AtomicU64::new(0);
    let watcher = thread::current();
    let result = thread::scope(|scope| {
        let working = scope.spawn(|| {
            let result = work(&|bytes| {
                done.fetch_add(bytes, Ordering::Relaxed);
            });
            watcher.unpark();
            result
        });
        while !working.is_finished() {
            thread::park_timeout(TICK);
            progress.show((done.load(Ordering::Relaxed), total));
        }
        working.join()
    });
    progress.finish();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
