//! Receives the user's interrupts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::pipeline::error::{PipelineError, Result};

/// A receiver of the SIGINT and SIGTERM signals of the process. Each clone receives all of them, including those before
/// the clone was made, so that an interrupt between two stages ends the second stage.
#[derive(Debug, Clone)]
pub(crate) struct Interrupts {
    count: watch::Receiver<u32>,
    returned: u32,
    /// The number of interrupts that any receiver has handled.
    handled: Arc<AtomicU32>,
}

/// The time after which an interrupt that no receiver handles ends the command.
const UNHANDLED_LIMIT: Duration = Duration::from_secs(1);

impl Interrupts {
    /// Starts to watch the signals. If they cannot be watched, they end the process as usual.
    pub(crate) fn start() -> Self {
        let (counter, count) = watch::channel(0);
        let watched = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        tokio::spawn(async move {
            if let [Ok(mut interrupt), Ok(mut terminate)] = watched {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    counter.send_modify(|count| *count += 1);
                }
            }
            // Keep the channel open: closing it would wake the receivers.
            std::future::pending::<()>().await;
            drop(counter);
        });
        Self { count, returned: 0, handled: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn after(interrupts: u32) -> Self {
        let (counter, count) = watch::channel(interrupts);
        // Keep the channel open, as in a process.
        std::mem::forget(counter);
        Self { count, returned: 0, handled: Arc::default() }
    }

    pub(crate) fn is_pending(&self) -> bool {
        let count = *self.count.borrow();
        if count > self.returned {
            self.handled.fetch_max(count, Ordering::Relaxed);
        }
        count > self.returned
    }

    pub(crate) async fn next(&mut self) {
        let seen = self.returned;
        if self.count.wait_for(|count| *count > seen).await.is_err() {
            // The runtime is shutting down.
            std::future::pending::<()>().await;
        }
        self.returned += 1;
        self.handled.fetch_max(self.returned, Ordering::Relaxed);
    }

    /// Waits for an interrupt that no other receiver handles within a second, or for a second interrupt.
    pub(crate) async fn unhandled(&mut self) {
        loop {
            let noticed = self.handled.load(Ordering::Relaxed);
            if self.count.wait_for(|count| *count > noticed).await.is_err() {
                std::future::pending::<()>().await;
            }
            let again = self.count.wait_for(|count| *count > noticed + 1);
            drop(tokio::time::timeout(UNHANDLED_LIMIT, again).await);
            if self.handled.load(Ordering::Relaxed) <= noticed {
                return;
            }
        }
    }

    pub(crate) async fn run_until_interrupt<T>(mut self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            // Work that handles the interrupt itself can also clean up.
            biased;
            result = work => Ok(result),
            () = self.next() => Err(PipelineError::Interrupted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_between_two_stages_ends_the_second_stage() {
        let (counter, count) = watch::channel(0);
        let interrupts = Interrupts { count, returned: 0, handled: Arc::default() };
        assert!(interrupts.clone().run_until_interrupt(std::future::ready(())).await.is_ok());
        counter.send_modify(|count| *count += 1);
        let endless = std::future::pending::<()>();
        assert!(interrupts.clone().run_until_interrupt(endless).await.is_err());
        // The first interrupt is handled, so `next` waits for the second one.
        let mut handled = interrupts.clone();
        handled.next().await;
        assert!(interrupts.is_pending() && !handled.is_pending());
        assert!(tokio::time::timeout(Duration::from_millis(50), handled.next()).await.is_err());
        counter.send_modify(|count| *count += 1);
        handled.next().await;
    }

    #[tokio::test]
    async fn an_interrupt_that_no_receiver_handles_ends_the_command() {
        let (counter, count) = watch::channel(0);
        let interrupts = Interrupts { count, returned: 0, handled: Arc::default() };
        let mut listener = interrupts.clone();
        let listening = tokio::spawn(async move { listener.next().await });
        let mut command = interrupts.clone();
        counter.send_modify(|count| *count += 1);
        assert!(
            tokio::time::timeout(UNHANDLED_LIMIT * 2, command.unhandled()).await.is_err(),
            "the interrupt was handled"
        );
        listening.await.unwrap();
        counter.send_modify(|count| *count += 1);
        tokio::time::timeout(UNHANDLED_LIMIT * 2, command.unhandled()).await.unwrap();
    }
}
