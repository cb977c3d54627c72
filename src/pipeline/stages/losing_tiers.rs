//! Asks the ledger which tiers lose time for the image.
//!
//! | what a tier saves to | is judged by |
//! |---|---|
//! | the store on this machine | the builds of this machine, or all known ones if it has too few |
//! | a registry, or a store with a remote | all known builds, if no one else reads it |
//!
//! In the second case the trunk is not judged: jobs of all other lanes read what it saves, and their builds are not known
//! here.

use tokio::time::timeout;

use super::job::{Job, MAX_EARLIER_BUILDS};
use super::lookup::LAYERS_TIMEOUT;
use super::{graft, mounts, steps};
use crate::ledger::{self, BuildRecord, Loss, loss};
use crate::pipeline::blocking::blocking;
use crate::tiers::{ArchiveRequest, ArchiveTier, ImageTier, PrefixTier, RegistryTier};

/// The number of builds of this machine from which on its own store is judged by them alone.
const MIN_OWN_BUILDS: usize = 3;

/// The tiers that the build does not use because they lose time. The engine is not judged: its lookup takes a few
/// milliseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct LosingTiers {
    pub(super) registry: Option<Loss>,
    pub(super) archive: Option<Loss>,
    pub(super) prefix: Option<Loss>,
    pub(super) layers: Option<Loss>,
    pub(super) mounts: Option<Loss>,
}

impl LosingTiers {
    fn has_any(&self) -> bool {
        let Self { registry, archive, prefix, layers, mounts } = self;
        [registry, archive, prefix, layers, mounts].into_iter().any(Option::is_some)
    }
}

impl Job<'_> {
    /// Returns the tiers that lose time according to earlier builds. Empty if the settings name the tiers to use, or if
    /// the image has no name by which its builds are known.
    pub(super) async fn losing_tiers(&self) -> LosingTiers {
        let repositories = self.identity().repositories();
        if self.build.tiers.are_named || repositories.is_empty() {
            return LosingTiers::default();
        }
        let path = self.notes.ledger_path();
        let read = move || {
            let is_of_image = |build: &BuildRecord| build.repositories == repositories;
            ledger::read(&path, MAX_EARLIER_BUILDS, is_of_image)
        };
        // A fault of the ledger is reported when the build is written to it.
        let mut builds = blocking(read).await.map(|ledger| ledger.builds).unwrap_or_default();
        let losing = self.losing_among(&builds);
        // A builder that has layers is no evidence for one that has none, in which every tier has more to do.
        if losing.has_any() && timeout(LAYERS_TIMEOUT, self.builder_has_layers()).await == Ok(Some(false)) {
            builds.retain(|build| build.was_builder_empty == Some(true));
            return self.losing_among(&builds);
        }
        losing
    }

    fn losing_among(&self, builds: &[BuildRecord]) -> LosingTiers {
        let own = || builds.iter().filter(|build| !build.from_other_agent);
        let in_shared_place = |tiers: &[&str]| loss(builds.iter(), tiers).filter(|_| self.is_only_reader());
        let in_store = |tiers: &[&str]| match self.settings.store.remote {
            Some(_) => in_shared_place(tiers),
            None if own().count() >= MIN_OWN_BUILDS => loss(own(), tiers),
            None => loss(builds.iter(), tiers),
        };
        // The engines of a run exchange the image through the store.
        let is_archive_demanded =
            self.build.tiers.archive_request == ArchiveRequest::CommandLine || self.purpose.nodes.is_some();
        let of_archive = |tiers: &[&str]| in_store(tiers).filter(|_| !is_archive_demanded);
        // The store has prefixes of archived images only, and a graft needs a prefix in a registry.
        let (archive, prefix) = if self.prefix_repository().is_some() {
            (of_archive(&[ArchiveTier::NAME]), in_shared_place(&[PrefixTier::NAME, graft::NAME]))
        } else {
            let both = of_archive(&[ArchiveTier::NAME, PrefixTier::NAME]);
            (both.clone(), both)
        };
        LosingTiers {
            // The lookup saves nothing for others, and a push needs the registry's answer in any case.
            registry: if self.wants_push() { None } else { loss(builds.iter(), &[RegistryTier::NAME]) },
            archive,
            prefix,
            layers: in_shared_place(&[steps::LAYERS]).filter(|_| self.layer_cache_repository().is_some()),
            mounts: in_store(&[mounts::TIER_NAME]),
        }
    }

    /// Returns `true` if all builds that read what this one saves are known here.
    fn is_only_reader(&self) -> bool {
        let lanes = &self.settings.lanes.lanes;
        self.exchanges_builds() && !lanes.trunk().contains(lanes.own())
    }
}
