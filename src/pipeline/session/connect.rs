//! Connects to an engine, and waits for one that is still starting.

use std::time::{Duration, Instant};

use crate::buildkit::{Client, ConnectError};
use crate::endpoint::Endpoint;
use crate::error_chain::chain;
use crate::pipeline::reporter::Reporter;

const PAUSE: Duration = Duration::from_millis(500);

/// Connects to an engine. If it cannot be reached, retries for the duration of `wait`.
pub(super) async fn connect(
    endpoint: &Endpoint,
    wait: Option<Duration>,
    reporter: Option<&dyn Reporter>,
) -> Result<Client, ConnectError> {
    let begin = Instant::now();
    let mut is_reported = false;
    loop {
        match (Client::connect(endpoint).await, wait) {
            (Err(error), Some(wait)) if error.is_unreachable() && begin.elapsed() < wait => {
                if let Some(reporter) = reporter.filter(|_| !std::mem::replace(&mut is_reported, true)) {
                    reporter.note(&format!("waiting up to {wait:?} for the engine: {}\n", chain(&error)));
                }
                tokio::time::sleep(PAUSE.min(wait.saturating_sub(begin.elapsed()))).await;
            }
            (result, _) => return result,
        }
    }
}
