//! Asks the ledger which tiers lose time for the image.

use super::job::Job;
use crate::ledger::{Loss, loss};
use crate::tiers::{ArchiveRequest, ArchiveTier, ImageTier, PrefixTier, RegistryTier};

/// The number of builds of this machine from which it is judged by its own builds alone, if others do not use its store.
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

impl Job<'_> {
    /// Returns the tiers that lose time according to earlier builds. They are none if the settings name the tiers to use,
    /// or if the image has no name by which its builds are known. `--enable-cache` on the command line demands the archive.
    pub(super) fn losing_tiers(&self) -> LosingTiers {
        let repositories = self.identity().repositories();
        if self.build.tiers.are_named || repositories.is_empty() {
            return LosingTiers::default();
        }
        let builds = self.earlier_builds(|build| build.repositories == repositories);
        let own = || builds.iter().filter(|build| !build.from_other_agent);
        // The content of a store without a remote serves only this machine.
        let is_local = self.settings.store.remote.is_none() && own().count() >= MIN_OWN_BUILDS;
        let in_store =
            |tiers: &[&str]| if is_local { loss(own(), tiers) } else { loss(builds.iter(), tiers) };
        // The engines of a run exchange the image through the store.
        let is_archive_demanded =
            self.build.tiers.archive_request == ArchiveRequest::CommandLine || self.purpose.nodes.is_some();
        let of_archive = |tiers: &[&str]| in_store(tiers).filter(|_| !is_archive_demanded);
        let in_registry = |tiers: &[&str]| loss(builds.iter(), tiers);
        // The store has prefixes of archived images only, and a graft needs a prefix in a registry.
        let (archive, prefix) = if self.prefix_repository().is_some() {
            (of_archive(&[ArchiveTier::NAME]), in_registry(&[PrefixTier::NAME, super::graft::NAME]))
        } else {
            let both = of_archive(&[ArchiveTier::NAME, PrefixTier::NAME]);
            (both.clone(), both)
        };
        LosingTiers {
            // A push needs the registry's answer in any case.
            registry: if self.wants_push() { None } else { in_registry(&[RegistryTier::NAME]) },
            archive,
            prefix,
            layers: in_registry(&[super::steps::LAYERS]),
            mounts: in_store(&[super::mounts::TIER_NAME]),
        }
    }
}
