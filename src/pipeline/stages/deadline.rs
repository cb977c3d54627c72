//! `--timeout`: one deadline for all that comes before an image is built.

use std::time::{Duration, Instant};

use crate::pipeline::error::PipelineError;

/// When the build of an image is given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    limit: Duration,
    /// `None` for never.
    end: Option<Instant>,
}

impl Deadline {
    /// Returns the time after which the limit is reached, or `None` without a limit.
    pub(crate) fn after(limit: Option<Duration>) -> Self {
        let limit = limit.unwrap_or(Duration::MAX);
        Self { limit, end: Instant::now().checked_add(limit) }
    }

    /// Returns how much time is left, if there is a limit.
    pub(crate) fn remaining(self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Ends when the time is over, and returns how long it was.
    pub(super) async fn passed(self) -> Duration {
        match self.end {
            Some(end) => tokio::time::sleep_until(end.into()).await,
            None => std::future::pending().await,
        }
        self.limit
    }

    /// Runs `work` unless the time is over first.
    ///
    /// # Errors
    ///
    /// Fails when the time is over.
    pub(super) async fn bound<T>(self, work: impl Future<Output = T>) -> Result<T, PipelineError> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            limit = self.passed() => Err(PipelineError::TimedOut(limit)),
        }
    }
}
