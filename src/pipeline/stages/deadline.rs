//! Implements `--timeout`, the time limit for building an image.

use std::time::{Duration, Instant};

use crate::pipeline::error::{PipelineError, Result};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    limit: Duration,
    /// `None` if the deadline never expires.
    end: Option<Instant>,
}

impl Deadline {
    /// Returns a deadline after `limit`, or one that never expires.
    pub(crate) fn after(limit: Option<Duration>) -> Self {
        let limit = limit.unwrap_or(Duration::MAX);
        Self { limit, end: Instant::now().checked_add(limit) }
    }

    pub(crate) fn remaining(self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Waits until the deadline, and returns the limit.
    pub(super) async fn expired(self) -> Duration {
        match self.end {
            Some(end) => tokio::time::sleep_until(end.into()).await,
            None => std::future::pending().await,
        }
        self.limit
    }

    /// Runs `work` until the deadline. Does not start it after the deadline.
    pub(super) async fn run<T>(self, work: impl Future<Output = T>) -> Result<T> {
        if self.remaining().is_some_and(|remaining| remaining.is_zero()) {
            return Err(PipelineError::TimedOut(self.limit));
        }
        tokio::select! {
            biased;
            done = work => Ok(done),
            limit = self.expired() => Err(PipelineError::TimedOut(limit)),
        }
    }
}
