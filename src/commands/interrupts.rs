//! The user's wish to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::error::CommandError;

/// SIGINTs and SIGTERMs of the whole process. Each clone sees all of them, also those that came before it was made: an
/// interrupt that comes between two stages ends the second one.
#[derive(Debug, Clone)]
pub(super) struct Interrupts {
    count: watch::Receiver<u32>,
    seen: u32,
}

impl Interrupts {
    /// Starts to watch the signals. Where they cannot be watched, they end the process as usual.
    pub(super) fn start() -> Self {
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
            // The channel stays open: nobody is woken.
            std::future::pending::<()>().await;
            drop(counter);
        });
        Self { count, seen: 0 }
    }

    /// Returns `true` if there was one that [`next`](Self::next) has not returned.
    pub(super) fn has_come(&self) -> bool {
        *self.count.borrow() > self.seen
    }

    /// Ends with the next one.
    pub(super) async fn next(&mut self) {
        let seen = self.seen;
        if self.count.wait_for(|count| *count > seen).await.is_err() {
            // The runtime ends.
            std::future::pending::<()>().await;
        }
        self.seen += 1;
    }

    /// Runs `work` unless the user interrupts.
    ///
    /// # Errors
    ///
    /// Fails when the user interrupts.
    pub(super) async fn bound<T>(mut self, work: impl Future<Output = T>) -> Result<T, CommandError> {
        tokio::select! {
            // Work that notices by itself also stops what it has begun.
            biased;
            result = work => Ok(result),
            () = self.next() => Err(CommandError::interrupted("interrupted")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_interrupt_between_two_stages_ends_the_second() {
        let (counter, count) = watch::channel(0);
        let interrupts = Interrupts { count, seen: 0 };
        assert!(interrupts.clone().bound(std::future::ready(())).await.is_ok());
        counter.send_modify(|count| *count += 1);
        let endless = std::future::pending::<()>();
        assert!(interrupts.clone().bound(endless).await.is_err());
        // Whoever handles the first waits for the second.
        let mut handled = interrupts.clone();
        handled.next().await;
        assert!(interrupts.has_come() && !handled.has_come());
        assert!(tokio::time::timeout(Duration::from_millis(50), handled.next()).await.is_err());
        counter.send_modify(|count| *count += 1);
        handled.next().await;
    }
}
