//! Connecting to an engine, which may take a while to come up.

use std::time::{Duration, Instant};

use super::error::chain;
use crate::buildkit::{Client, ConnectError};
use crate::endpoint::Endpoint;
use crate::output::Printer;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Connects to an engine; one that cannot be reached is tried again for so long.
pub(super) async fn connect(
    endpoint: &Endpoint,
    wait: Option<Duration>,
    printer: Option<Printer>,
) -> Result<Client, ConnectError> {
    let begin = Instant::now();
    let mut is_told = false;
    loop {
        match (Client::connect(endpoint).await, wait) {
            (Err(error), Some(wait)) if error.is_of_reach() && begin.elapsed() < wait => {
                if let Some(printer) = printer.filter(|_| !std::mem::replace(&mut is_told, true)) {
                    printer.note(&format!("waiting up to {wait:?} for the engine: {}\n", chain(&error)));
                }
                tokio::time::sleep(PAUSE.min(wait.saturating_sub(begin.elapsed()))).await;
            }
            (result, _) => return result,
        }
    }
}
