//! Runs blocking work outside the task that other images, progress and interrupts share.

/// Runs `work` on a thread for blocking work. The work continues to its end even if the caller is dropped.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
