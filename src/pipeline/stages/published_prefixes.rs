//! The stage that publishes prefixes of an image that was pushed, from which later builds continue.
//!
//! ```text
//!  Dockerfile, cut ─▶ builder, all steps cached ─▶ settings, layers, history ─┐
//!  pushed image ─▶ manifest, config ──────────────────────────────────────────┴─▶ config, manifest, tag
//! ```
//!
//! Only the config and the manifest of a prefix are uploaded: its layers are those of the pushed image. The settings
//! cannot be taken from the pushed image, because later instructions overwrite them.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::job::Job;
use super::lookup::Lookup;
use super::prefix::Prefixes;
use super::repeated::{Labels, Repeat};
use crate::buildkit::SolveError;
use crate::buildkit::solve::Exporter;
use crate::dockerfile::{Cut, Dockerfile, InstructionKind, Resolution, Source, prefix_text};
use crate::engine::{EngineError, ImageStore};
use crate::key::PrefixKey;
use crate::ledger::millis;
use crate::pipeline::error::PipelineError;
use crate::pipeline::exports::Exports;
use crate::pipeline::keys::BuildKeys;
use crate::registry::{
    CutImage, ImageRef, PrefixDocuments, PrefixError, PrefixMark, RegistryError, Repository, UploadError,
};

/// How long publishing may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long a builder may take to stop.
const CANCELLING: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("the layers up to {place} are not published")]
struct Unpublished {
    place: String,
    #[source]
    error: Box<PublishError>,
}

impl Unpublished {
    fn new(prefix: &PrefixKey, error: PublishError) -> Self {
        Self { place: prefix.place(), error: Box::new(error) }
    }
}

#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Solve(#[from] SolveError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    #[error("the Dockerfile cannot be written")]
    Write(#[source] io::Error),
    #[error("the Dockerfile is in a context that only the engine can read")]
    NotLocal,
    #[error("that took longer than {0:?}")]
    Late(Duration),
}

impl Prefixes {
    /// Publishes the prefixes of the image, which was pushed under the names of the build.
    ///
    /// # Errors
    ///
    /// Fails with a registry or a builder at fault under `--strict`, or when the user interrupts.
    pub(super) async fn publish(
        &mut self,
        job: &Job<'_>,
        keys: &BuildKeys,
        lookup: &Lookup,
    ) -> Result<(), PipelineError> {
        let (Some(place), None) = (job.prefix_place(), job.no_prefixes(keys, lookup)) else { return Ok(()) };
        let clock = Instant::now();
        let replaces = lookup.replaces_images(job);
        let prefixes = keys.keys.prefixes.as_deref().unwrap_or_default();
        let missing = prefixes.iter().filter(|key| replaces || !self.published.contains(&key.key));
        let missing: Vec<PrefixKey> = missing.filter(|key| self.makes(key)).cloned().collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let cancel = CancellationToken::new();
        let published = {
            let mut publishing = Box::pin(async {
                let mut published = Vec::new();
                for key in &missing {
                    let replaces = replaces || self.broken == Some(key.key);
                    let name = job.publish_prefix((keys, key), &place, self, replaces, &cancel).await;
                    let name = name.map_err(|error| Unpublished::new(key, error))?;
                    published.push((key.key.digest(), name));
                }
                let pruned = job.prune_prefixes(keys, &place).await;
                pruned.map_err(|error| Unpublished::new(first, error.into()))?;
                Ok(published)
            });
            let published =
                job.session.interrupts().bound(tokio::time::timeout(DEADLINE, &mut publishing)).await;
            if !matches!(published, Ok(Ok(_))) {
                cancel.cancel();
                drop(tokio::time::timeout(CANCELLING, publishing).await);
            }
            published
        };
        if let Some(tier) = &mut self.tier {
            // Saving is part of the price.
            tier.millis += millis(clock.elapsed());
        }
        let late = |_| Err(Unpublished::new(first, PublishError::Late(DEADLINE)));
        match published?.unwrap_or_else(late) {
            // A builder that has continued does not know these layers as those of the Dockerfile.
            Ok(_) if self.continued.is_some() => Ok(()),
            Ok(names) => {
                let now = Timestamp::now();
                job.note_builder(|entry| {
                    for (key, name) in names {
                        entry.note_prefix(key, None, Some(name), now);
                    }
                })
                .await
            }
            Err(error) => job.faults.report(&error),
        }
    }

    /// Returns `true` if this build has made the layers of the prefix and the history that it would have anyway.
    fn makes(&self, key: &PrefixKey) -> bool {
        self.continued.as_ref().is_none_or(|continued| {
            key.cut.instructions > continued.key.cut.instructions && !continued.adds_history()
        })
    }
}

impl Job<'_> {
    /// Publishes a prefix, unless it exists, and returns its name.
    async fn publish_prefix(
        &self,
        (keys, key): (&BuildKeys, &PrefixKey),
        place: &ImageRef,
        prefixes: &Prefixes,
        replaces: bool,
        cancel: &CancellationToken,
    ) -> Result<String, PublishError> {
        let tag = self.registry_tags(Some(keys)).await.of_prefix(key.key).swap_remove(0);
        let name = place.with_tag(&tag).map(|name| name.to_string()).unwrap_or_default();
        let platform = keys.sole_platform().unwrap_or_default();
        let mut repository = self.registries().repository(place).await?;
        if !replaces && let Some(manifest) = repository.manifest(&tag).await? {
            let mark = repository.prefix_mark(&manifest, platform).await?;
            if mark.is_some_and(|mark| mark.key == key.key.digest()) {
                return Ok(name);
            }
        }
        let Some(pushed_name) = self.build.tags.first() else { return Ok(name) };
        let mut pushed = self.registries().repository(pushed_name).await?;
        let cut = self.cut_image((keys, key), prefixes, &mut pushed, cancel).await?;
        let reference = pushed_name.tag().unwrap_or("latest");
        let (manifest, config) = documents(&mut pushed, reference, platform).await?;
        let mark = PrefixMark { key: key.key.digest(), published: Timestamp::now() };
        let PrefixDocuments { config, manifest } = PrefixDocuments::compose(&manifest, &config, &cut, mark)?;
        repository.upload(&config.into()).await?;
        if repository.name() != pushed.name() {
            repository.take_over(&mut pushed, &manifest, &mut |_, _| {}).await?;
        }
        repository.put(&tag, &manifest).await?;
        Ok(name)
    }

    /// Lets the builder make the image of the Dockerfile up to the cut, whose steps it has, and describe it.
    async fn cut_image(
        &self,
        (keys, key): (&BuildKeys, &PrefixKey),
        prefixes: &Prefixes,
        pushed: &mut Repository,
        cancel: &CancellationToken,
    ) -> Result<CutImage, PublishError> {
        let continued = prefixes.continued.as_ref().map(|continued| &continued.text);
        let text = continued.or_else(|| self.inputs.built()).ok_or(PublishError::NotLocal)?;
        let dockerfile = text.parsed().map_err(|_| PublishError::NotLocal)?;
        let cut_text = prefix_text(text.as_str(), dockerfile, cut_in(dockerfile, key));
        let directory = self.inputs.with_text(&cut_text).map_err(PublishError::Write)?;
        let directory = directory.ok_or(PublishError::NotLocal)?;
        // Graph drivers cannot push it. containerd's store could keep it, but when it is removed there, builds that unpack
        // an image at that moment fail.
        let images = self.connection.image_store().await.unwrap_or(ImageStore::Containerd);
        let engine = self.engine().filter(|_| images == ImageStore::GraphDriver);
        let exporter = if engine.is_some() {
            Exporter { kind: "moby".to_owned(), attributes: BTreeMap::new() }
        } else {
            let name = pushed.name();
            let attributes =
                [("name", &*name), ("push", "true"), ("push-by-digest", "true"), ("store", "false")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()));
            Exporter { kind: "image".to_owned(), attributes: attributes.into() }
        };
        let repeat = Repeat {
            exports: Exports { exporters: vec![exporter], ..Exports::none() },
            dockerfile: Some(directory.path().to_owned()),
            labels: Labels::None,
            cache_imports: Vec::new(),
            cache_exports: Vec::new(),
        };
        let made = self.repeat(Some(keys), repeat, cancel).await?;
        let id = made.get("containerimage.digest").ok_or(PrefixError::Unusable)?;
        let own_entries = own_entries(&keys.resolution, key.cut);
        let Some(engine) = engine else {
            let (_, config) = documents(pushed, id, keys.sole_platform().unwrap_or_default()).await?;
            return Ok(CutImage::of_config(&config, own_entries)?);
        };
        let image = engine.image(id).await?.ok_or(PrefixError::Unusable)?;
        let history = engine.history(id).await?;
        if image.names.is_empty() {
            // An image that cannot be removed has no layers of its own.
            drop(engine.remove_image(id).await);
        }
        let (settings, layers) = (image.config.settings, image.config.layers);
        Ok(CutImage { settings, layers, history, own_entries })
    }
}

/// Returns the manifest and the config of an image.
async fn documents(
    repository: &mut Repository,
    reference: &str,
    platform: &str,
) -> Result<(Vec<u8>, Vec<u8>), PublishError> {
    let stored = repository.manifest(reference).await?.ok_or(PrefixError::Unusable)?;
    let image = repository.image(&stored, platform).await?.ok_or(PrefixError::Unusable)?;
    Ok(repository.documents(&image).await?.ok_or(PrefixError::Unusable)?)
}

/// Returns where a prefix ends in this version of the Dockerfile, in which instructions before it may be missing.
fn cut_in(dockerfile: &Dockerfile, key: &PrefixKey) -> Cut {
    let instructions = dockerfile.stages[key.cut.stage].instructions.iter();
    let instructions = instructions.take_while(|at| *at.lines.start() <= key.line).count();
    Cut { stage: key.cut.stage, instructions: instructions.max(1) }
}

/// Returns the number of entries in the history of a prefix that its base image does not have: one for each instruction
/// of the target stage, without ONBUILD, and of the stages that it is based on.
fn own_entries(resolution: &Resolution, cut: Cut) -> usize {
    let find = |index| resolution.stages.iter().find(|stage| stage.index == index);
    let mut count = 0;
    let mut next = find(cut.stage);
    while let Some(stage) = next {
        let is_target = stage.index == cut.stage;
        let triggers = stage.instructions.iter().filter(|at| at.triggered).count();
        let limit = if is_target { cut.instructions + triggers } else { usize::MAX };
        let own = stage.instructions.iter().take(limit).skip(1);
        count += own
            .filter(|at| !(is_target && matches!(at.instruction.kind, InstructionKind::Onbuild(_))))
            .count();
        next = if let Source::Stage(base) = stage.base { find(base) } else { None };
    }
    count
}
