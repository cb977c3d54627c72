//! Work that keeps a core or the disk busy, kept off the task that other images, progress and interrupts share.

/// Runs `work` on a thread for blocking work. What was begun goes on to its end, whoever waits for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
