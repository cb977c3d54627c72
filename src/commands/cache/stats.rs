//! `larder cache stats`.

use std::time::Duration;

use super::super::{print_json, print_text};
use super::{Cache, CommandError};
use crate::buildkit::Client;
use crate::cli::{Format, TierArgs};
use crate::output::usage::{RegistryUsage, Usage};
use crate::settings::{TierSettings, base_repository};

/// The time limit for the engine to report the size of its build cache.
const PATIENCE: Duration = Duration::from_secs(5);
pub(super) fn run(format: Format, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let registries = registries(cache)?;
    let usage = Usage::new(&census, &cache.name, cache.limits(), build_cache(cache))
        .signed_with(cache.settings.job.store.terms.trust.public_key())
        .with_registries(registries);
    match format {
        Format::Text => print_text(cache.printer, &usage.text())?,
        Format::Json => print_json(cache.printer, &usage)?,
    }
    Ok(())
}

/// Returns the usage of the configured repositories for caches and base images, if they are in ECR.
fn registries(cache: &Cache<'_>) -> Result<Vec<RegistryUsage>, CommandError> {
    let (settings, environment) = (cache.settings, cache.command.environment);
    let kept = TierSettings::resolve(&TierArgs::default(), settings, environment)?.cache_repo;
    let base = base_repository(("base-repo", None), settings, environment)?;
    let mut usages = Vec::new();
    for place in kept.into_iter().chain(base) {
        cache.command.block_on(async {
            let asked = async {
                match settings.job.ecr.registry(place.host()).await? {
                    Some(ecr) => ecr.images(place.path()).await.map(Some),
                    None => Ok(None),
                }
            };
            match asked.await {
                Ok(None) => {}
                Ok(Some(images)) => usages.push(RegistryUsage {
                    repository: place.repository(),
                    images: images.len(),
                    bytes: images.iter().map(|image| image.bytes).sum(),
                    last_pull: images.iter().filter_map(|image| image.pulled).max(),
                }),
                Err(error) => cache.printer.warn(&format!("{error}; {}", error.remedy())),
            }
            Ok(())
        })?;
    }
    Ok(usages)
}

/// Returns the size of the engine's build cache, or `None` if it is unknown.
fn build_cache(cache: &Cache<'_>) -> Option<u64> {
    let mut bytes = None;
    let ask = async { Client::connect(&cache.settings.job.endpoint).await?.build_cache_bytes().await };
    let asked = cache.command.block_on(async {
        bytes = tokio::time::timeout(PATIENCE, ask).await.ok().and_then(Result::ok);
        Ok(())
    });
    // A missing engine is not an error of the cache.
    drop(asked);
    bytes
}
