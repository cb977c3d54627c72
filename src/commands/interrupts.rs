//! The user's wish to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The SIGINTs and SIGTERMs from now on; none, where signals cannot be watched.
pub(super) struct Interrupts(Option<[Signal; 2]>);

impl Interrupts {
    pub(super) fn watch() -> Self {
        let watched = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        let [Ok(interrupt), Ok(terminate)] = watched else { return Self(None) };
        Self(Some([interrupt, terminate]))
    }

    /// Whether one has come already.
    pub(super) async fn has_come(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.next() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// Ends with the next one.
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some([interrupt, terminate]) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            None => std::future::pending().await,
        }
    }
}
