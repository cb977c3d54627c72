//! Runs blocking work on a separate thread, so that other images, progress and interrupts are handled in the meantime.

/// Runs `work` on a thread for blocking work. The work runs to its end even if the returned future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
