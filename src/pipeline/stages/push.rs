//! The stage that creates missing repositories and pushes the image under its names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::job::Job;
use crate::buildkit::Ability;
use crate::engine::{Engine, ImageStore, PushProgress};
use crate::error_chain::chain;
use crate::ledger::Phase;
use crate::pipeline::direct_push::{DirectPush, DirectPushError, DirectlyPushed, EngineSpeed};
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::registries::PushError;
use crate::pipeline::reporter::BuildEvent;
use crate::pipeline::transfers::transfer;
use crate::plan::PushWith;
use crate::registry::ImageRef;
use crate::registry::ecr::{EcrError, NewRepository};
use crate::store::Meter;

impl Job<'_> {
    pub(super) async fn create_repositories(&self) -> Result<()> {
        if !self.build.create_repository {
            return Ok(());
        }
        for tag in self.build.tags.iter().filter(|_| self.wants_push()) {
            self.create_repository(tag).await.map_err(|error| PipelineError::Repository(Arc::new(error)))?;
        }
        let caches = self.build.tiers.cache_repo.iter().filter(|_| !self.settings.store.terms.read_only);
        for place in caches {
            if let Err(error) = self.create_repository(place).await {
                self.faults.report(&error)?;
            }
        }
        Ok(())
    }

    /// Creates the repository of `name` if it does not exist. Only ECR requires this.
    async fn create_repository(&self, name: &ImageRef) -> Result<(), EcrError> {
        let Some(ecr) = self.settings.ecr.client(name.host()).await? else { return Ok(()) };
        if Box::pin(ecr.create_repository(name.path(), NewRepository::default())).await? {
            self.reporter.note(&format!("created the repository {}\n", name.repository()));
        }
        Ok(())
    }

    /// `base` is the prefix in a registry that the build has continued from; the registry has its layers.
    pub(super) async fn push(&self, base: Option<&ImageRef>) -> Result<()> {
        let Some(engine) = self.engine() else { return Ok(()) };
        let mut phase = self.phases.enter(Phase::Push);
        let mut engine_time = Duration::ZERO;
        for tag in &self.build.tags {
            let (clock, meter) = (Instant::now(), Arc::default());
            let pushing = Box::pin(self.push_image(engine, tag, base, &meter));
            let pushed = transfer("pushing the image", pushing, &meter, self.session, self.reporter).await?;
            let (pushed, with_engine) = match pushed {
                Ok(pushed) => pushed,
                Err(error) => return Err(self.push_error(tag, error).await),
            };
            engine_time += with_engine;
            self.reporter.report(&BuildEvent::Pushed { name: tag, pushed, elapsed: clock.elapsed() });
        }
        phase.set_engine_time(engine_time);
        Ok(())
    }

    /// Pushes the image of this name: without the engine if that is requested or faster, otherwise with the engine.
    /// Also returns how long the engine takes for the push, or would have taken.
    pub(super) async fn push_image(
        &self,
        engine: &Engine,
        name: &ImageRef,
        base: Option<&ImageRef>,
        meter: &Arc<Meter>,
    ) -> Result<(PushProgress, Duration), PushError> {
        let clock = Instant::now();
        match self.push_without_engine(engine, name, base, meter).await {
            // The slowest of reading, compressing and sending determines how long a push takes.
            Ok(Some(DirectlyPushed { progress, engine_time })) => {
                return Ok((progress, engine_time.unwrap_or_default().max(clock.elapsed())));
            }
            Ok(None) => {}
            // The engine may be able to reach the registry, and reports an error if it cannot.
            Err(error) if error.is_unreachable() => {}
            Err(error) => self.reporter.note(&format!(
                "{} is pushed by the engine, because larder could not: {}\n",
                name.familiar(),
                chain(&error)
            )),
        }
        let clock = Instant::now();
        let progress = self.registries().push(engine, name, meter).await?;
        Ok((progress, clock.elapsed()))
    }

    async fn push_without_engine(
        &self,
        engine: &Engine,
        name: &ImageRef,
        base: Option<&ImageRef>,
        meter: &Arc<Meter>,
    ) -> Result<Option<DirectlyPushed>, DirectPushError> {
        let settings = self.build.push;
        let is_graph_driver =
            self.connection.image_store().await.is_ok_and(|store| store == ImageStore::GraphDriver);
        if settings.with == PushWith::Engine || !is_graph_driver {
            return Ok(None);
        }
        let Some(image) = engine.image(&name.familiar()).await? else { return Ok(None) };
        let place = self.build.tiers.cache_repo.as_ref().unwrap_or(name);
        let caches = self.registry_tags(None).await.inline_caches();
        let caches = caches.iter().filter_map(|tag| place.with_tag(tag));
        let mut related: Vec<ImageRef> =
            base.into_iter().chain(&self.build.tags).cloned().chain(caches).collect();
        related.retain(|related| related != name);
        let engine_speed = match self.client() {
            Ok(client) if client.product().supports(Ability::Attestations) => EngineSpeed::NEW,
            _ => EngineSpeed::OLD,
        };
        let push = DirectPush {
            engine,
            registries: self.registries(),
            image: &image,
            settings,
            related,
            bases: self.inputs.known_bases.names(),
            may_save: engine_speed == EngineSpeed::OLD && self.has_new_builder().await,
            engine_speed,
        };
        Box::pin(push.push(name, meter)).await
    }

    /// Returns `true` if the builder is not known to have built other images. A persistent engine records the blobs of
    /// layers that it has pushed, but would not learn those that larder pushes.
    async fn has_new_builder(&self) -> bool {
        self.known_builder().await.is_ok_and(|builder| !builder.entry.has_built_several_images())
    }

    pub(super) async fn push_error(&self, name: &ImageRef, error: PushError) -> PipelineError {
        let is_ecr = matches!(self.settings.ecr.client(name.host()).await, Ok(Some(_)));
        let (host, source) = (name.host().to_owned(), Arc::new(error));
        PipelineError::Push { name: name.familiar(), source, host, is_ecr }
    }
}
