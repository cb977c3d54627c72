//! Pushing the image under its names, and repositories for it.

use std::time::Instant;

use super::job::Job;
use crate::commands::ecr::{create_repository, fault};
use crate::commands::error::{CommandError, ErrorKind, chain};
use crate::commands::transfers::transfer;
use crate::output::summary;
use crate::pipeline::registries::PushError;
use crate::registry::ImageRef;
use crate::store::Meter;

/// How an engine says that it does not reach a registry.
const UNREACHED: [&str; 5] =
    ["connection refused", "no such host", "timeout", "unreachable", "deadline exceeded"];

impl Job<'_> {
    /// Creates what is missing of the repositories that are pushed to, where that is asked for.
    pub(super) async fn create_repositories(&self) -> Result<(), CommandError> {
        if !self.build.create_repository {
            return Ok(());
        }
        for tag in self.build.tags.iter().filter(|_| self.wants_push()) {
            Box::pin(create_repository(tag, self.settings, self.printer))
                .await
                .map_err(|error| fault(&error))?;
        }
        let caches = self.build.tiers.cache_repo.iter().filter(|_| !self.settings.store.terms.read_only);
        for place in caches {
            if let Err(error) = Box::pin(create_repository(place, self.settings, self.printer)).await {
                self.faults.report(&error)?;
            }
        }
        Ok(())
    }

    /// Pushes the image under each of its names.
    pub(super) async fn push(&self) -> Result<(), CommandError> {
        let Some(engine) = self.engine() else { return Ok(()) };
        for tag in &self.build.tags {
            let (clock, meter) = (Instant::now(), Meter::default());
            let pushing = Box::pin(self.registries().push(engine, tag, &meter));
            let pushed = transfer("pushing the image", pushing, &meter, self.session, self.printer).await?;
            let pushed = match pushed {
                Ok(pushed) => pushed,
                Err(error) => return Err(self.push_fault(tag, &error).await),
            };
            self.printer.note(&summary::pushed(&tag.familiar(), pushed, clock.elapsed()));
        }
        Ok(())
    }

    /// Why the image was not pushed, and what would help.
    async fn push_fault(&self, tag: &ImageRef, error: &PushError) -> CommandError {
        let cause = format!("cannot push {}: {}", tag.familiar(), chain(error));
        let is_ecr = matches!(self.settings.ecr.registry(tag.host()).await, Ok(Some(_)));
        let hint = match error {
            PushError::Login(error) => error.remedy(),
            PushError::Engine(_) if cause.contains("immutable") => {
                format!("{} cannot be replaced: push another tag", tag.familiar())
            }
            PushError::Engine(_) if is_ecr => {
                "--create-repository makes a repository that does not exist; pushing takes ecr:PutImage, \
                 ecr:InitiateLayerUpload, ecr:UploadLayerPart and ecr:CompleteLayerUpload"
                    .to_owned()
            }
            PushError::Engine(_) if UNREACHED.iter().any(|words| cause.contains(words)) => {
                format!("check that {} is up and can be reached from the engine", tag.host())
            }
            PushError::Engine(_) => {
                format!("check that the repository exists and that you are logged in to {}", tag.host())
            }
        };
        CommandError { kind: ErrorKind::Push, ..CommandError::build(cause) }.hint(hint)
    }
}
