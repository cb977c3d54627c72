//! Work that moves bytes, with its progress shown.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::output::Printer;
use crate::output::transfer::Transfer;
use crate::settings::Settings;

/// How often progress is brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// Runs `work`, which tells of the bytes that it has done, and shows how far it is on the way to `total`.
pub(super) fn watched<T: Send>(
    what: &str,
    total: u64,
    settings: &Settings,
    printer: Printer,
    work: impl FnOnce(&(dyn Fn(u64) + Sync)) -> T + Send,
) -> T {
    let live = io::stderr().is_terminal() && !settings.no_redraw;
    let mut progress = Transfer::new(what.to_owned(), printer, live);
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
