//! Runs work that transfers bytes, and shows its progress. Handles interrupts, but no deadlines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::session::Session;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::reporter::Reporter;
use crate::store::Meter;

pub(super) const TICK: Duration = Duration::from_millis(100);

/// Waits for `work`, whose progress is in `meter`. An interrupt stops the work and returns without waiting for it.
pub(crate) async fn transfer<T>(
    what: &str,
    work: impl Future<Output = T>,
    meter: &Meter,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<T> {
    transfer_until_interrupts(1, what, work, meter, session, reporter).await
}

/// Waits for `work`. The first interrupt stops the work; interrupt number `count` returns without waiting for it.
pub(crate) async fn transfer_until_interrupts<T>(
    mut count: u32,
    what: &str,
    work: impl Future<Output = T>,
    meter: &Meter,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<T> {
    let mut progress = reporter.transfer(what);
    let (mut interrupts, mut ticks) = (session.interrupts(), tokio::time::interval(TICK));
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            // If the work is done, a simultaneous interrupt is ignored.
            biased;
            done = &mut work => break Ok(done),
            () = interrupts.next() => {
                meter.stop();
                count -= 1;
                if count == 0 {
                    break Err(PipelineError::Interrupted);
                }
            }
            _ = ticks.tick() => progress.show(meter.amounts()),
        }
    };
    progress.finish();
    done
}

/// Runs `work` on a separate thread. `work` reports completed bytes through its argument, up to `total`.
pub(crate) fn transfer_on_thread<T: Send>(
    what: &str,
    total: u64,
    reporter: &dyn Reporter,
    work: impl FnOnce(&(dyn Fn(u64) + Sync)) -> T + Send,
) -> T {
    let mut progress = reporter.transfer(what);
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
