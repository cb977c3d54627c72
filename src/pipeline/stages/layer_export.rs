//! Exports the layers of a build to a registry, for other agents.
//!
//! The image with an inline cache is not the user's image, which must be the one that `docker build` makes. Its steps
//! are those that just ran, so the builder makes both images from the same layers, and a registry stores each layer
//! once.
//!
//! Both caches are exported by solves after the build, so that their failure does not fail the build. For steps that
//! were cached, BuildKit exports what it knows from the place where it found them (observed on 20.10 and 28.5): a
//! registry cache that is written without importing the previous one loses the stages below a hit, and an inline cache
//! that is written with importing the previous one loses the steps before a hit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::job::Job;
use super::keyed::Keyed;
use super::repeated_solve::RepeatedSolve;
use crate::buildkit::SolveError;
use crate::buildkit::solve::{CacheEntry, Exporter};
use crate::buildkit::trace::StepKind;
use crate::engine::ImageStore;
use crate::error_chain::chain;
use crate::ledger::{ExportedLayersRecord, StepEntry, millis};
use crate::pipeline::borrowed_name::BorrowedName;
use crate::pipeline::error::Result;
use crate::pipeline::exports::Exports;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::known_builder::KnownBuilderError;
use crate::pipeline::registries::PushError;
use crate::pipeline::reporter::BuildEvent;
use crate::registry::ImageRef;
use crate::store::Meter;
use crate::tiers::LayerCaches;
use crate::tiers::MARK_LABEL;

/// Lets the builds of this process export layers one at a time.
static EXPORT_LOCK: Mutex<()> = Mutex::const_new(());
/// The pause before layers are pushed again after a different job replaced the name. It doubles each time.
const PAUSE: Duration = Duration::from_millis(250);
const CANCEL_LIMIT: Duration = Duration::from_secs(10);
/// Phrases in an engine's errors when a different job gives the same name to its image, or removes it.
const NAME_CONFLICT_PHRASES: [&str; 4] =
    ["No such image", "tag does not exist", "does not exist locally", "already exists"];

#[derive(Debug, thiserror::Error)]
enum ExportLayersError {
    #[error("the layers were not exported to the registry")]
    Solve(#[from] SolveError),
    #[error("the layers were not exported to the registry")]
    Push(#[from] PushError),
    #[error("the layers were not exported to the registry: that took longer than {0:?}")]
    TimedOut(Duration),
}

impl ExportLayersError {
    /// Returns `true` if a different job on this engine interfered.
    fn is_name_conflict(&self) -> bool {
        let message = chain(self);
        !matches!(self, Self::Push(PushError::Registry(_)) | Self::TimedOut(_))
            && NAME_CONFLICT_PHRASES.iter().any(|words| message.contains(words))
    }

    fn remedy(&self, place: &ImageRef) -> String {
        let place = place.repository();
        match self {
            Self::TimedOut(_) => "--archive-timeout sets how long that may take".to_owned(),
            Self::Push(PushError::Login(error)) => error.remedy(),
            Self::Push(PushError::Registry(error)) => error.remedy(),
            Self::Solve(_) | Self::Push(_) => {
                let message = chain(self);
                if message.contains("immutable") {
                    format!("allow tags of {place} that begin with `cache` and `buildcache` to be replaced")
                } else if ["not known", "name unknown", "does not exist"]
                    .iter()
                    .any(|words| message.contains(words))
                {
                    format!("create the repository {place} (--create-repository does so on ECR)")
                } else {
                    format!("allow this login to push to {place}, or use --read-only")
                }
            }
        }
    }
}

pub(super) struct LayerExport<'a> {
    /// The id; `None` if the build produced no image.
    pub(super) image: Option<&'a str>,
    /// The steps that ran or were cached; empty for an image that was found in a cache.
    pub(super) steps: &'a [StepEntry],
    pub(super) layers: &'a LayerCaches,
}

#[derive(Default)]
pub(super) struct ExportedLayers {
    pub(super) record: Option<ExportedLayersRecord>,
    /// The reason why the layers were not exported, and a remedy.
    pub(super) fault: Option<String>,
}

impl ExportedLayers {
    /// Exports the layers of an image. Fails if the registry fails under `--strict`, or if the user interrupts.
    pub(super) async fn export(&mut self, job: &Job<'_>, keyed: &Keyed, of: LayerExport<'_>) -> Result<()> {
        let has_own = job.build.cache_to.iter().any(|cache| cache.kind != "inline");
        let (false, false, Some(place)) =
            (has_own, job.settings.store.terms.read_only, of.layers.place.clone())
        else {
            return Ok(());
        };
        let keys = keyed.keys();
        let tags = job.registry_tags(keys).await;
        let named = |tags: Vec<String>| tags.first().and_then(|tag| place.with_tag(tag));
        let Some(inline) = named(tags.inline_caches()) else { return Ok(()) };
        let full = if job.can_export_registry_caches().await? { named(tags.registry_caches()) } else { None };
        // Do not replace an image of the user that has this name.
        if [Some(&inline), full.as_ref()].into_iter().flatten().any(|name| job.build.tags.contains(name)) {
            return Ok(());
        }
        // Graph drivers can only push images that have a name in the engine.
        let is_named =
            job.engine().is_some() && job.connection.image_store().await? == ImageStore::GraphDriver;
        let clock = Instant::now();
        let deadline = job.build.tiers.archive_timeout;
        let mark = match keys {
            Some(keys) if !keys.keys.layers.runs.is_empty() => {
                Some(job.layers_mark(keys, full.is_some()).await?)
            }
            _ => None,
        };
        // Hold the lock until the name is restored: builds of several images may share a repository, and the next one
        // would treat the image of that name as the user's.
        let alone = job.run_until_interrupt(EXPORT_LOCK.lock()).await?;
        let (mut borrowed, cancel) = (None, CancellationToken::new());
        let kept = {
            let mut keeping = Box::pin(async {
                if of.has_registry_all_layers(job, &inline, full.as_ref(), &place).await? {
                    return Ok(false);
                }
                if let Some(full) = &full {
                    job.export_cache(full, keys, of.layers, &cancel).await?;
                }
                if let Some(engine) = job.engine().filter(|_| is_named) {
                    let borrowed = borrowed.insert(BorrowedName::new(engine, &inline));
                    borrowed.borrow().await.map_err(PushError::from)?;
                }
                let mut pause = PAUSE;
                while let Err(error) =
                    job.push_inline_cache(&inline, is_named, mark.clone(), keys, &cancel).await
                {
                    if !error.is_name_conflict() || pause > PAUSE * 4 {
                        return Err(error);
                    }
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Ok(true)
            });
            let kept = job.run_until_interrupt(timeout(deadline, &mut keeping)).await;
            if !matches!(kept, Ok(Ok(_))) {
                // Wait for it, because an engine that still exports would use the name again.
                cancel.cancel();
                drop(timeout(CANCEL_LIMIT, keeping).await);
            }
            kept
        };
        if let Some(borrowed) = borrowed
            && let Err(error) = borrowed.restore_name().await
        {
            job.reporter.warn(&chain(&error));
        }
        drop(alone);
        match kept?.unwrap_or(Err(ExportLayersError::TimedOut(deadline))) {
            Ok(false) => Ok(()),
            Ok(true) => {
                if full.is_none() && keys.is_some_and(|keys| keys.target > 0) {
                    job.report_omitted_layers().await?;
                }
                let references = full.into_iter().chain([inline]).map(|name| name.familiar()).collect();
                let record = ExportedLayersRecord { references, millis: millis(clock.elapsed()) };
                job.reporter.report(&BuildEvent::LayersExported(&record));
                self.record = Some(record);
                Ok(())
            }
            Err(error) => {
                self.fault = Some(format!("{}; {}", chain(&error), error.remedy(&place)));
                job.faults.report(&error)
            }
        }
    }
}

impl LayerExport<'_> {
    /// Returns `true` if the registry has all layers that are worth fetching: only COPY steps ran, and the registry has
    /// an image with the layers below them. Other agents copy their own files faster than this one exports them.
    async fn has_registry_all_layers(
        &self,
        job: &Job<'_>,
        inline: &ImageRef,
        full: Option<&ImageRef>,
        place: &ImageRef,
    ) -> Result<bool, PushError> {
        let ran: Vec<_> = self.steps.iter().filter(|step| !step.cached).collect();
        let is_copied = ran.iter().all(|step| StepKind::of(&step.name) == StepKind::Copy);
        let has = |wanted: &ImageRef| self.layers.found.iter().any(|cache| cache.name == *wanted);
        if !is_copied || !full.is_none_or(has) || !has(inline) {
            return Ok(false);
        }
        let (Some(engine), Some(id)) = (job.engine(), self.image) else { return Ok(false) };
        let Some(image) = engine.image(id).await? else { return Ok(false) };
        let own = &image.config.layers;
        let below = own.len().saturating_sub(ran.len());
        let mut repository = job.registries().repository(place).await?;
        for cache in self.layers.found.iter().filter(|cache| cache.is_inline) {
            let known = repository.image(&cache.manifest, &image.platform).await?;
            if known.is_some_and(|known| known.config.layers.get(..below) == Some(&own[..below])) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Job<'_> {
    async fn can_export_registry_caches(&self) -> Result<bool> {
        let is_able =
            self.engine().is_none() || self.connection.image_store().await? == ImageStore::Containerd;
        Ok(is_able && self.can_import_registry_caches())
    }

    /// Reports, once for each builder, that it exports only the layers of the last stage.
    async fn report_omitted_layers(&self) -> Result<()> {
        if !self.reporter.shows_notes() {
            return Ok(());
        }
        let is_first = async { Ok(self.known_builder().await?.note_limits_reported()?) };
        match is_first.await {
            Ok(true) => self.reporter.note(
                "only the layers of the last stage were exported: Docker 25.0 and newer with containerd's image store \
                 (\"features\": {\"containerd-snapshotter\": true} in daemon.json) exports those of all stages\n",
            ),
            Ok(false) => {}
            Err::<_, KnownBuilderError>(error) => self.faults.report(&error)?,
        }
        Ok(())
    }

    /// Exports a registry cache of all stages. Imports the previous one for that purpose.
    async fn export_cache(
        &self,
        name: &ImageRef,
        keys: Option<&BuildKeys>,
        layers: &LayerCaches,
        cancel: &CancellationToken,
    ) -> Result<(), ExportLayersError> {
        let name = name.to_string();
        let attributes = [
            ("ref", name.as_str()),
            ("mode", "max"),
            ("image-manifest", "true"),
            ("oci-mediatypes", "true"),
            ("compression", "zstd"),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let repeat = RepeatedSolve {
            exports: Exports::none(),
            label: None,
            cache_imports: layers.imports(),
            cache_exports: vec![CacheEntry { kind: "registry".to_owned(), attributes }],
        };
        self.repeat(keys, repeat, cancel).await?;
        Ok(())
    }

    /// Builds the image again, with an inline cache and the mark of its layers, and pushes it. If `is_named`, the image
    /// gets the name in the engine first.
    async fn push_inline_cache(
        &self,
        name: &ImageRef,
        is_named: bool,
        mark: Option<String>,
        keys: Option<&BuildKeys>,
        cancel: &CancellationToken,
    ) -> Result<(), ExportLayersError> {
        let mut attributes = BTreeMap::from([("name".to_owned(), name.to_string())]);
        let kind = if is_named { "moby" } else { "image" };
        if !is_named {
            // Do not store the image: removing it from containerd's store can break other builds that unpack one.
            attributes.extend(
                [("push", "true"), ("store", "false")].map(|(name, value)| (name.into(), value.into())),
            );
        }
        let exporters = vec![Exporter { kind: kind.to_owned(), attributes }];
        let inline = CacheEntry { kind: "inline".to_owned(), attributes: BTreeMap::new() };
        // Even an empty label distinguishes this image from the user's while it has that name in the engine.
        let mark = (MARK_LABEL, mark.unwrap_or_default());
        let repeat = RepeatedSolve {
            exports: Exports { exporters, ..Exports::none() },
            label: Some(mark),
            cache_imports: Vec::new(),
            cache_exports: vec![inline],
        };
        self.repeat(keys, repeat, cancel).await?;
        if let Some(engine) = self.engine().filter(|_| is_named) {
            self.push_image(engine, name, None, &Arc::new(Meter::default())).await?;
        }
        Ok(())
    }
}
