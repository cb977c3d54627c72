//! Pushes an image that was made without a builder. Nothing is tagged before everything else is in the registry.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all, try_join3};
use jiff::Timestamp;

use super::graft::{GraftError, GraftLayers, GraftPlan};
use super::job::Job;
use super::lookup::Lookup;
use crate::digest::{Digest, DigestingReader};
use crate::engine::PushProgress;
use crate::graft::{FinishedLayer, LayerTarReader, Refusal};
use crate::images::{compress, cores};
use crate::key::PrefixKey;
use crate::pipeline::blocking::blocking;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::reporter::BuildEvent;
use crate::registry::{
    Compression, GrowingBlob, ImageRef, LayerBlob, PrefixMark, Repository, StoredManifest, UploadError,
    growing_blob,
};
use crate::store::Meter;
use crate::tiers::PushTarget;

/// Layers with files below this size in bytes are uploaded in a single request.
const SMALL_LAYER: u64 = 4 << 20;

pub(super) struct PushedGraft {
    pub(super) config: Digest,
    pub(super) manifest: Digest,
    /// The number of bytes that were uploaded.
    pub(super) bytes: u64,
}

struct UploadedGraft {
    target: PushTarget,
    manifest: StoredManifest,
    config: Digest,
    layers: Vec<(Digest, LayerBlob)>,
    bytes: u64,
}

struct CompressingLayer {
    blob: GrowingBlob,
    is_small: bool,
}

impl Job<'_> {
    pub(super) async fn push_graft(
        &self,
        (keys, lookup): (&BuildKeys, &Lookup),
        planned: &GraftPlan,
        GraftLayers { layers, prefixes }: GraftLayers,
        meter: &Arc<Meter>,
    ) -> Result<PushedGraft, GraftError> {
        let repository = &mut planned.repository.clone();
        let clock = Instant::now();
        let mut targets = self.targets_of(self.build.tags.iter()).await?;
        // The repository of the prefix comes first, because it already has the layers.
        targets.sort_by_key(|target| target.repository.name() != repository.name());
        let mut targets = targets.into_iter();
        let first =
            targets.next().ok_or_else(|| GraftError::Unsupported("the image has no name".to_owned()))?;
        let sent = layers.len();
        let uploaded = self.upload_graft(first, repository, planned, layers, meter).await?;
        let UploadedGraft { target: mut first, manifest, config, layers, mut bytes } = uploaded;
        let is_of_key = !self.have_inputs_changed(keys, "made").await;
        let is_kept = is_of_key && self.build.tiers.registry && !self.settings.store.terms.read_only;
        let key_tag = self.registry_tags(Some(keys)).await.of_image(keys.keys.image).swap_remove(0);
        let key_tag = is_kept.then_some(key_tag.as_str());
        let mut others: Vec<PushTarget> = targets.collect();
        for target in &mut others {
            let mut moved = |done, total| meter.set(bytes + done, bytes + total);
            bytes += target.repository.copy_image(&mut first.repository, &manifest, &mut moved).await?;
        }
        for target in [&first].into_iter().chain(&others) {
            tag_image(target, &manifest, key_tag).await?;
        }
        let pushed = PushProgress { sent, present: planned.base.layer_count() };
        for name in &self.build.tags {
            self.reporter.report(&BuildEvent::Pushed { name, pushed, elapsed: clock.elapsed() });
        }
        if is_of_key {
            self.note_inputs(keys, lookup).await?;
        }
        if is_kept && !prefixes.is_empty() {
            let publishing = self.publish_grafted(keys, planned, &first.repository, &layers, prefixes);
            if let Err(error) = Box::pin(publishing).await {
                self.faults.report(&error)?;
            }
        }
        Ok(PushedGraft { config, manifest: manifest.digest, bytes })
    }

    /// Publishes the prefixes that end after large layers, in the repository of the prefix.
    async fn publish_grafted(
        &self,
        keys: &BuildKeys,
        planned: &GraftPlan,
        pushed: &Repository,
        layers: &[(Digest, LayerBlob)],
        prefixes: Vec<(PrefixKey, usize, Option<String>)>,
    ) -> Result<(), GraftError> {
        let mut repository = planned.repository.clone();
        let tags = self.registry_tags(Some(keys)).await;
        let mut is_new = false;
        for (key, last, index) in prefixes {
            let Some(index) = index else { continue };
            let below = &layers[..=last];
            let diff_ids = below.iter().map(|(diff_id, _)| diff_id.to_string());
            let config = planned.tail.configs[last].with_layers(diff_ids);
            let mark = PrefixMark::new(key.key.digest(), Timestamp::now());
            let config = planned.base.prefix_config(&config, mark, index).ok_or(Refusal::UnreadableConfig)?;
            let blobs: Vec<LayerBlob> = below.iter().map(|(_, blob)| *blob).collect();
            let manifest = planned
                .base
                .grafted_manifest(&config, &blobs, &BTreeMap::new())
                .ok_or(Refusal::UnreadableConfig)?;
            repository.upload_new_blob(&config.into()).await?;
            if repository.name() != pushed.name() {
                repository.copy_image(&mut pushed.clone(), &manifest, &mut |_, _| {}).await?;
            }
            repository.put_manifest(&tags.of_prefix(key.key).swap_remove(0), &manifest).await?;
            is_new = true;
        }
        if let (true, Some(place)) = (is_new, self.prefix_repository()) {
            let undeleted = self.prune_prefixes(keys, &place).await?;
            let noted = self.notes.note_undeleted(&place.repository(), undeleted);
            noted.or_else(|fault| self.faults.report_notes(&fault))?;
        }
        Ok(())
    }

    /// Uploads everything except the manifest to the first target.
    async fn upload_graft(
        &self,
        mut target: PushTarget,
        prefix: &mut Repository,
        planned: &GraftPlan,
        layers: Vec<FinishedLayer>,
        meter: &Arc<Meter>,
    ) -> Result<UploadedGraft, GraftError> {
        if target.repository.name() != prefix.name() {
            let mut moved = |done, total| meter.set(done, total);
            target.repository.copy_image(prefix, &planned.base.manifest, &mut moved).await?;
        }
        let checking = async {
            if target.repository.has_layers(&planned.base).await? {
                Ok(())
            } else {
                Err(GraftError::Unsupported("the registry has lost a layer of the prefix".to_owned()))
            }
        };
        let (compression, mut blobs, mut compressing) = (planned.compression, Vec::new(), Vec::new());
        for layer in layers {
            let is_small = layer.size() < SMALL_LAYER;
            let (writer, blob) = growing_blob()?;
            blobs.push(CompressingLayer { blob, is_small });
            compressing.push(blocking(move || {
                let mut writer = writer;
                let mut plain = DigestingReader::new(LayerTarReader::new(layer)?);
                let cores = if is_small { NonZero::<usize>::MIN } else { cores() };
                compress(compression, &mut plain, &mut writer, cores)?;
                writer.finish();
                Ok::<_, GraftError>(plain.digest())
            }));
        }
        let large = blobs.iter().filter(|layer| !layer.is_small);
        let uploading = try_join_all(large.map(|layer| upload(&target.repository, layer)));
        let describing = async {
            let diff_ids = try_join_all(compressing).await?;
            let layers = try_join_all(blobs.iter().map(|layer| layer_blob(layer, compression))).await?;
            let made = diff_ids.iter().copied().zip(layers.iter().copied()).collect();
            let config = planned.tail.config.with_layers(diff_ids.iter().map(Digest::to_string));
            let manifest = planned.base.grafted_manifest(&config, &layers, &planned.annotations);
            let manifest = manifest.ok_or(Refusal::UnreadableConfig)?;
            let config = Bytes::from(config);
            // Uploading small layers concurrently with the config takes no longer than uploading the config.
            let small = blobs.iter().filter(|layer| layer.is_small);
            let small = try_join_all(small.map(|layer| upload(&target.repository, layer)));
            let mut repository = target.repository.clone();
            try_join(small, async { Ok(repository.upload_new_blob(&config).await?) }).await?;
            let size = layers.iter().map(|layer| layer.size).sum::<u64>() + config.len() as u64;
            Ok((manifest, Digest::of(&config), made, size))
        };
        let ((), _, (manifest, config, layers, bytes)) = try_join3(checking, uploading, describing).await?;
        Ok(UploadedGraft { target, manifest, config, layers, bytes })
    }
}

async fn layer_blob(layer: &CompressingLayer, compression: Compression) -> Result<LayerBlob, GraftError> {
    let (digest, size) = layer.blob.clone().complete().await.map_err(UploadError::from)?;
    Ok(LayerBlob { digest, size, compression })
}

async fn upload(repository: &Repository, layer: &CompressingLayer) -> Result<(), GraftError> {
    let mut repository = repository.clone();
    if layer.is_small {
        let bytes = layer.blob.clone().read_all().await.map_err(UploadError::from)?;
        repository.upload_new_blob(&bytes).await?;
    } else {
        repository.upload_growing(&layer.blob, &mut |_| {}).await?;
    }
    Ok(())
}

/// Tags the image with its names and its key. All of its blobs must be in the repository.
async fn tag_image(
    target: &PushTarget,
    manifest: &StoredManifest,
    key_tag: Option<&str>,
) -> Result<(), GraftError> {
    let names = target.names.iter().map(ImageRef::tag_or_latest);
    Ok(target.repository.put_all(names.chain(key_tag), manifest).await?)
}
