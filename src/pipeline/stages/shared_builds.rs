//! Exchanges the last builds of the image with other agents: through the remote store or, without one, through the
//! registry. A fresh agent then knows how long the steps take, and what earlier builds hit.
//!
//! This is best effort: no fault of it fails a build, even under `--strict`, because the result does not depend on it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::job::Job;
use crate::error_chain::chain;
use crate::ledger::{self, BuildRecord, MAX_PACKED_SIZE, MAX_SHARED, pack, unknown_builds, unpack};
use crate::pipeline::blocking::blocking;
use crate::registry::ImageRef;

/// The time limit for reading or writing the builds.
const DEADLINE: Duration = Duration::from_secs(3);

/// The number of builds in the ledger among which a build of another agent is looked for.
const MAX_KNOWN: usize = 500;

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

impl Job<'_> {
    /// Adds to the ledger the builds of other agents that it lacks. Returns `true` if there were any builds of others.
    pub(super) async fn import_builds(&self) -> bool {
        if self.notes.is_read_only() || self.settings.store.terms.trust.is_strict() {
            return false;
        }
        let importing = async {
            let mut found = Vec::new();
            let objects = self.read_shared().await?;
            let has_found = !objects.is_empty();
            for object in objects {
                // Whatever another agent wrote must not matter to this build.
                found.extend(unpack(&object).unwrap_or_default());
            }
            let path = self.notes.ledger_path();
            self.notes.prepare(&path)?;
            let known = ledger::read(&path, MAX_KNOWN, |_| true)?.builds;
            for build in unknown_builds(&known, found) {
                ledger::append(&path, &build)?;
            }
            Ok::<_, BoxedError>(has_found)
        };
        // The tiers report a registry or a store that fails.
        let importing = self.run_until_interrupt(timeout(DEADLINE, Box::pin(importing))).await;
        matches!(importing, Ok(Ok(Ok(true))))
    }

    /// Writes the last builds of the image, including the one of `record`, for other agents. `is_first` is `true` if
    /// there may be no builds of others.
    pub(super) async fn share_builds(&self, record: &BuildRecord, is_first: bool) {
        let is_disabled = self.settings.reason_nothing_is_saved().is_some() || self.notes.is_read_only();
        if is_disabled || self.session.remote_fault().is_some() {
            return;
        }
        let sharing = async {
            let is_of_image = |build: &BuildRecord| build.repositories == record.repositories;
            let builds = ledger::read(&self.notes.ledger_path(), MAX_SHARED, is_of_image)?.builds;
            let packed = pack(&builds)?;
            if self.settings.store.remote.is_some() {
                let (store, repositories) = (self.session.store()?, record.repositories.clone());
                let write = move || store.share_builds(&repositories, &packed, Timestamp::now());
                blocking(write).await?;
            } else if let Some(place) = self.builds_repository() {
                let tags = self.registry_tags(None).await.of_builds();
                let mut repository = self.registries().repository(&place).await?;
                repository.share_builds(&tags[0], &packed, is_first).await?;
            }
            Ok::<_, BoxedError>(())
        };
        let reason = match self.run_until_interrupt(timeout(DEADLINE, Box::pin(sharing))).await {
            Ok(Ok(Ok(()))) | Err(_) => return,
            Ok(Ok(Err(error))) => chain(&*error),
            Ok(Err(_)) => format!("that took longer than {DEADLINE:?}"),
        };
        self.reporter.note(&format!("the last builds cannot be written for other agents: {reason}\n"));
    }

    /// Returns the repository for the builds of the image, or `None` if the build uses none.
    fn builds_repository(&self) -> Option<ImageRef> {
        let first = || self.build.tags.first().filter(|_| self.wants_push());
        let place = self.build.tiers.cache_repo.as_ref().or_else(first);
        place.filter(|_| self.build.tiers.registry).cloned()
    }

    async fn read_shared(&self) -> Result<Vec<Vec<u8>>, BoxedError> {
        if self.settings.store.remote.is_some() {
            let (store, repositories) = (self.session.store()?, self.identity().repositories());
            return Ok(blocking(move || store.shared_builds(Some(&repositories), MAX_PACKED_SIZE)).await?);
        }
        let Some(place) = self.builds_repository() else { return Ok(Vec::new()) };
        let mut repository = self.registries().repository(&place).await?;
        for tag in self.registry_tags(None).await.of_builds() {
            if let Some(object) = repository.shared_builds(&tag).await? {
                return Ok(vec![object]);
            }
        }
        Ok(Vec::new())
    }
}
