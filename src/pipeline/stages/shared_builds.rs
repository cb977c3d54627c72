//! Exchanges the last builds of the image with other agents: through the remote store or, without one, through the
//! registry. A fresh agent then knows how long the steps take, and what earlier builds hit.
//!
//! This is best effort: no fault of it fails a build, even under `--strict`, because the result does not depend on it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::job::Job;
use crate::error_chain::chain;
use crate::ledger::{
    self, BuildOutcome, BuildRecord, MAX_PACKED_SIZE, SharedScope, pack, unknown_builds, unpack,
};
use crate::pipeline::blocking::blocking;
use crate::registry::ImageRef;
use crate::store::{Lane, Lanes};
use crate::tiers::Tags;

/// The time limit for reading or writing the builds.
const DEADLINE: Duration = Duration::from_secs(3);
/// The number of builds of the image among which a build of another agent is looked for.
const MAX_KNOWN: usize = 500;

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// What was found of other agents' builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum FoundBuilds {
    /// They could not be read, or are not exchanged.
    #[default]
    Unknown,
    None,
    Some,
}

impl Job<'_> {
    /// Adds to the ledger the builds of other agents that it lacks.
    pub(super) async fn import_builds(&self) -> FoundBuilds {
        if self.notes.is_read_only() || !self.exchanges_builds() {
            return FoundBuilds::Unknown;
        }
        let repositories = self.identity().repositories();
        let importing = async {
            let objects = self.read_shared(&repositories).await?;
            if objects.is_empty() {
                return Ok(FoundBuilds::None);
            }
            let path = self.notes.ledger_path();
            self.notes.prepare(&path)?;
            let repositories = repositories.clone();
            let import = move || {
                let mut builds = Vec::new();
                for (lanes, object) in &objects {
                    let scope = SharedScope { repositories: &repositories, lanes };
                    builds.extend(unpack(object, scope, Timestamp::now()).unwrap_or_default());
                }
                let is_of_image = |build: &BuildRecord| build.repositories == repositories;
                let known = ledger::read(&path, MAX_KNOWN, is_of_image)?.builds;
                unknown_builds(&known, builds).iter().try_for_each(|build| ledger::append(&path, build))
            };
            blocking(import).await?;
            Ok::<_, BoxedError>(FoundBuilds::Some)
        };
        // The tiers report a registry or a store that fails.
        let importing = self.run_until_interrupt(timeout(DEADLINE, Box::pin(importing))).await;
        match importing {
            Ok(Ok(Ok(found))) => found,
            _ => FoundBuilds::Unknown,
        }
    }

    /// Writes the last builds of the image and of the job's lane, including the one of `record`, for other agents.
    pub(super) async fn share_builds(&self, record: &BuildRecord, found: FoundBuilds) {
        let is_disabled = self.settings.reason_nothing_is_saved().is_some() || self.notes.is_read_only();
        // The summary names a remote store that failed.
        let has_failed = found == FoundBuilds::Unknown || self.session.remote_fault().is_some();
        if is_disabled || has_failed || record.outcome == BuildOutcome::Interrupted {
            return;
        }
        let lanes = vec![self.settings.lanes.lanes.own().to_string()];
        let sharing = async {
            let (path, repositories) = (self.notes.ledger_path(), record.repositories.clone());
            let packing = move || {
                let scope = SharedScope { repositories: &repositories, lanes: &lanes };
                let is_of_image = |build: &BuildRecord| build.repositories == repositories;
                let builds = ledger::read(&path, MAX_KNOWN, is_of_image)?.builds;
                Ok::<_, BoxedError>(pack(&builds, scope)?)
            };
            let packed = blocking(packing).await?;
            if let Some(shared) = self.session.shared_builds()? {
                let repositories = record.repositories.clone();
                blocking(move || shared.write(&repositories, &packed, Timestamp::now())).await?;
            } else if let Some(place) = self.builds_repository() {
                let tag = Tags::for_lanes(&self.settings.lanes.lanes).of_builds();
                let mut repository = self.registries().repository(&place).await?;
                repository.share_builds(&tag, &packed, found == FoundBuilds::None).await?;
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

    /// Returns `true` if builds are exchanged. They are not signed, and an image without a name is not known elsewhere.
    pub(super) fn exchanges_builds(&self) -> bool {
        self.settings.shares_builds
            && !self.settings.store.terms.trust.is_strict()
            && !self.build.tags.is_empty()
            && (self.settings.store.remote.is_some() || self.builds_repository().is_some())
    }

    /// Returns the repository for the builds of the image, or `None` if the build uses none.
    fn builds_repository(&self) -> Option<ImageRef> {
        self.cache_repository().filter(|_| self.build.tiers.registry)
    }

    /// Returns the objects of the lanes that this job reads, each with the names of its lane.
    async fn read_shared(&self, repositories: &[String]) -> Result<Vec<(Vec<String>, Vec<u8>)>, BoxedError> {
        if let Some(shared) = self.session.shared_builds()? {
            let repositories = repositories.to_owned();
            let found = blocking(move || shared.read(&repositories, MAX_PACKED_SIZE)).await;
            return Ok(found.into_iter().map(|(lane, object)| (vec![lane.to_string()], object)).collect());
        }
        let Some(place) = self.builds_repository() else { return Ok(Vec::new()) };
        let mut repository = self.registries().repository(&place).await?;
        let lanes = &self.settings.lanes.lanes;
        let mut objects = Vec::new();
        for lane in lanes.reads() {
            let trunk = lanes.trunk();
            let tag = Tags::for_lanes(&Lanes::new(lane.clone(), None, trunk.to_vec())).of_builds();
            let is_trunk = trunk.contains(lane);
            let names = if is_trunk { trunk } else { std::slice::from_ref(lane) };
            let names = names.iter().map(Lane::to_string).collect();
            objects.extend(repository.shared_builds(&tag).await?.map(|object| (names, object)));
            if is_trunk {
                // All names of the trunk have the same tag.
                break;
            }
        }
        Ok(objects)
    }
}
