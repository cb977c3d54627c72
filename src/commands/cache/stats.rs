//! `larder cache stats`.

use std::time::Duration;

use super::super::{on_a_runtime, print_json, print_text};
use super::{Cache, CommandError};
use crate::buildkit::Client;
use crate::cli::Format;
use crate::output::usage::Usage;

/// How long the engine may take to tell what its own cache holds.
const PATIENCE: Duration = Duration::from_secs(5);
pub(super) fn run(format: Format, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let usage = Usage::new(&census, &cache.name, cache.settings.store.limits, build_cache(cache))
        .signed_with(cache.settings.store.terms.trust.public_key());
    match format {
        Format::Text => print_text(cache.printer, &usage.text())?,
        Format::Json => print_json(cache.printer, &usage)?,
    }
    Ok(())
}

/// Bytes of the engine's own build cache; `None` where no engine tells.
fn build_cache(cache: &Cache<'_>) -> Option<u64> {
    let mut bytes = None;
    let ask = async { Client::connect(&cache.settings.endpoint).await?.build_cache_bytes().await };
    let asked = on_a_runtime(async {
        bytes = tokio::time::timeout(PATIENCE, ask).await.ok().and_then(Result::ok);
        Ok(())
    });
    // That there is no engine is no fault of the cache.
    drop(asked);
    bytes
}
