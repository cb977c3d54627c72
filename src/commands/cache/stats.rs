//! `larder cache stats`.

use std::time::Duration;

use super::super::print_result;
use super::{Cache, CommandError};
use crate::buildkit::Client;
use crate::cli::OutputFormat;
use crate::output::usage::{CacheUsage, RegistryUsage};
use crate::settings::{TierSettings, base_repository};

/// The time limit for the engine to report the size of its build cache.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn run(format: OutputFormat, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let registries = cache.command.block_on(registries(cache))?;
    let undeleted = cache.settings.job.notes().undeleted().map_err(|error| CommandError::config(&error))?;
    let mut usage = CacheUsage::new(&census, &cache.name, cache.limits());
    usage.engine_build_cache_bytes = build_cache(cache);
    usage.public_key = cache.settings.job.store.terms.trust.public_key();
    usage.registries = registries;
    usage.undeleted = undeleted;
    print_result(cache.printer, format, &usage, || usage.text())
}

/// Returns the usage of the configured repositories for caches and base images, if they are in ECR.
async fn registries(cache: &Cache<'_>) -> Result<Vec<RegistryUsage>, CommandError> {
    let settings = cache.settings;
    let kept = TierSettings::from_settings(settings).cache_repo;
    let base = base_repository(("base-repo", None), settings)?;
    let mut usages = Vec::new();
    for place in kept.into_iter().chain(base) {
        let query = async {
            match settings.job.ecr.client(place.host()).await? {
                Some(ecr) => ecr.list_images(place.path()).await.map(Some),
                None => Ok(None),
            }
        };
        match query.await {
            Ok(None) => {}
            Ok(Some(images)) => usages.push(RegistryUsage {
                repository: place.repository(),
                images: images.len(),
                bytes: images.iter().map(|image| image.bytes).sum(),
                last_pull: images.iter().filter_map(|image| image.pulled).max(),
            }),
            Err(error) => cache.printer.warn(&format!("{error}; {}", error.remedy())),
        }
    }
    Ok(usages)
}

/// Returns the size of the engine's build cache, or `None` if it is unknown.
fn build_cache(cache: &Cache<'_>) -> Option<u64> {
    let query = async { Client::connect(&cache.settings.job.endpoint).await?.build_cache_bytes().await };
    // A missing engine is not an error of the cache.
    cache
        .command
        .block_on(async { Ok(tokio::time::timeout(TIMEOUT, query).await.ok().and_then(Result::ok)) })
        .ok()
        .flatten()
}
