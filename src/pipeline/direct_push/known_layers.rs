//! Finds blobs of an image's layers in registries, so that they need not be compressed and uploaded again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;

use super::DirectPush;
use super::layer_sources::{KnownImage, LayerSource};
use crate::digest::Digest;
use crate::registry::{ImageRef, LayerBlob, RegistryError, Repository, with_timeout};

/// The time limit for the registry that is pushed to, for returning the layers of an image.
const OWN_DEADLINE: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_secs(5);

/// Looks for the layers of an image: first in the image that has its name, then in related images, and in the base
/// images only if the lowest layer was not found in any of these. Other registries that fail are skipped.
pub(super) async fn find_layers(
    push: &DirectPush<'_>,
    name: &ImageRef,
    diff_ids: &[Digest],
    repository: &mut Repository,
) -> Result<Vec<KnownImage>, RegistryError> {
    let mut known = Vec::new();
    let mut unreachable = BTreeSet::new();
    let mut missing: BTreeSet<Digest> = diff_ids.iter().copied().collect();
    let own = std::iter::once((name, false)).chain(push.related.iter().map(|name| (name, false)));
    for (related, is_base) in own.chain(push.bases.iter().map(|base| (base, true))) {
        let is_lowest_known = diff_ids.first().is_none_or(|lowest| !missing.contains(lowest));
        if missing.is_empty() || is_base && is_lowest_known {
            break;
        }
        let platform = &push.image.platform;
        let layers = if related.repository() == name.repository() {
            layers_of(related, repository, platform, OWN_DEADLINE).await?
        } else if unreachable.contains(related.host()) {
            continue;
        } else {
            let looking = async {
                layers_of(related, &mut push.registries.repository(related).await?, platform, DEADLINE).await
            };
            let found = looking.await;
            if found.as_ref().is_err_and(RegistryError::is_unreachable) {
                unreachable.insert(related.host());
            }
            found.unwrap_or_default()
        };
        for (diff_id, blob) in &layers {
            if push.settings.compression.supports_layer(blob.compression) {
                missing.remove(diff_id);
            }
        }
        known.push(KnownImage { name: related.clone(), layers });
    }
    Ok(known)
}

async fn layers_of(
    name: &ImageRef,
    repository: &mut Repository,
    platform: &str,
    deadline: Duration,
) -> Result<Vec<(Digest, LayerBlob)>, RegistryError> {
    let reference = name.digest_or_tag();
    with_timeout(name.host(), deadline, Box::pin(repository.layer_blobs(reference, platform))).await
}

/// Marks the layers for compression whose blobs the repository has lost although its manifests name them.
pub(super) async fn check_blobs(
    repository: &Repository,
    ways: &mut BTreeMap<Digest, LayerSource>,
) -> Result<(), RegistryError> {
    let present = ways.iter().filter_map(|(diff_id, way)| match way {
        LayerSource::Present(blob) => Some((*diff_id, blob.digest)),
        _ => None,
    });
    let checks = present.map(|(diff_id, blob)| {
        let mut repository = repository.clone();
        async move { repository.has_blob(blob).await.map(|has| (diff_id, has)) }
    });
    for answer in join_all(checks).await {
        if let (diff_id, false) = answer? {
            ways.insert(diff_id, LayerSource::Compress);
        }
    }
    Ok(())
}
