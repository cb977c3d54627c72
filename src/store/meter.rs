//! How far a save or a restore has come, and whether it is to stop.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counted by whoever works, read by whoever shows it.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
}

impl Meter {
    /// Bytes done, and bytes in all, as far as known.
    pub(crate) fn amounts(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Asks the work to stop at its next step.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether the work is to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// Takes over what somebody else counts.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.expect(total);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Fails once the work is to stop.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_stopped() { Err(io::Error::other("interrupted")) } else { Ok(()) }
    }
}

/// Counts what is read, and ends it once the work is to stop.
pub(crate) struct Counted<'a, R> {
    /// Where it is read from.
    pub(crate) inner: R,
    /// Who counts it.
    pub(crate) meter: &'a Meter,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.meter.check()?;
        let read = self.inner.read(buffer)?;
        self.meter.add(read as u64);
        Ok(read)
    }
}
