//! The stage that creates repositories and pushes the image under its names.

use std::sync::Arc;
use std::time::Instant;

use super::job::Job;
use crate::pipeline::error::PipelineError;
use crate::pipeline::registries::PushError;
use crate::pipeline::reporter::Event;
use crate::pipeline::transfers::transfer;
use crate::registry::ImageRef;
use crate::registry::ecr::{EcrError, NewRepository};
use crate::store::Meter;

impl Job<'_> {
    /// Creates missing repositories for pushes, if that is requested.
    pub(super) async fn create_repositories(&self) -> Result<(), PipelineError> {
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

    /// Creates the repository of `name` if it does not exist; only ECR needs that.
    async fn create_repository(&self, name: &ImageRef) -> Result<(), EcrError> {
        let Some(ecr) = self.settings.ecr.registry(name.host()).await? else { return Ok(()) };
        if Box::pin(ecr.create(name.path(), NewRepository::default())).await? {
            self.reporter.note(&format!("created the repository {}\n", name.repository()));
        }
        Ok(())
    }

    pub(super) async fn push(&self) -> Result<(), PipelineError> {
        let Some(engine) = self.engine() else { return Ok(()) };
        for tag in &self.build.tags {
            let (clock, meter) = (Instant::now(), Meter::default());
            let pushing = Box::pin(self.registries().push(engine, tag, &meter));
            let pushed = transfer("pushing the image", pushing, &meter, self.session, self.reporter).await?;
            let pushed = match pushed {
                Ok(pushed) => pushed,
                Err(error) => return Err(self.push_error(tag, error).await),
            };
            self.reporter.report(&Event::Pushed { name: tag, pushed, elapsed: clock.elapsed() });
        }
        Ok(())
    }

    pub(super) async fn push_error(&self, name: &ImageRef, error: PushError) -> PipelineError {
        let is_ecr = matches!(self.settings.ecr.registry(name.host()).await, Ok(Some(_)));
        let (host, source) = (name.host().to_owned(), Arc::new(error));
        PipelineError::Push { name: name.familiar(), source, host, is_ecr }
    }
}
