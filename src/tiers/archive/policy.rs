//! Decides which whole images are archived. Archiving an image takes seconds, so it is only done on request.

use super::super::judge::is_worth_archiving;
use crate::ledger::BuildRecord;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ArchiveRequest {
    #[default]
    None,
    /// By `enabled`, `LARDER_ENABLED`, or a list of tiers that contains the archive.
    Configured,
    /// By `--enable-cache` on the command line.
    CommandLine,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ArchivePolicy {
    pub(crate) request: ArchiveRequest,
    /// `true` if the store has a remote, from which other machines can load the image.
    pub(crate) has_remote: bool,
    /// `true` if other engines of this run load the image from the store.
    pub(crate) is_for_several_engines: bool,
    /// `true` if only images with a signed entry can be hits.
    pub(crate) needs_signature: bool,
    /// `true` if a registry has the image under its key, or will have it after the push.
    pub(crate) is_in_registry: bool,
    /// `true` if the build ran every step, and the store may have an image of the key that this image replaces.
    pub(crate) replaces_archived: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArchiveDecision {
    Archive,
    /// Archiving is not requested, or a registry serves the same purpose.
    Skip,
    /// Archiving is requested, but none of the recently archived images on this machine was used again.
    SkipUnused,
}

impl ArchivePolicy {
    /// Returns `true` if archiving is requested in general, whatever is decided for this image.
    pub(crate) fn is_requested(self) -> bool {
        self.request != ArchiveRequest::None
            || self.has_remote
            || self.is_for_several_engines
            || self.needs_signature
    }

    /// Decides for one image. `builds` reads the ledger, and is called only if the decision depends on it.
    ///
    /// With a remote, the decision does not: this machine's ledger does not show what other machines load.
    pub(crate) fn decide(self, builds: impl FnOnce() -> Vec<BuildRecord>) -> ArchiveDecision {
        if self.request == ArchiveRequest::CommandLine
            || self.is_for_several_engines
            || self.replaces_archived
        {
            ArchiveDecision::Archive
        } else if !self.is_requested() || self.is_in_registry && !self.needs_signature {
            ArchiveDecision::Skip
        } else if self.has_remote || is_worth_archiving(&builds()) {
            ArchiveDecision::Archive
        } else {
            ArchiveDecision::SkipUnused
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::{ArchivedImageRecord, BuildOutcome};

    /// Returns nine builds whose archived images were never used.
    fn unused() -> Vec<BuildRecord> {
        let mut build = BuildRecord::started(Timestamp::UNIX_EPOCH);
        build.outcome = BuildOutcome::Built;
        build.kept = Some(ArchivedImageRecord { entry: String::new(), bytes: 1, added_bytes: 1, millis: 1 });
        vec![build; 9]
    }

    #[test]
    fn images_are_archived_on_request_unless_a_registry_has_them() {
        use ArchiveDecision::{Archive, Skip, SkipUnused};
        let none = ArchivePolicy::default();
        let configured = ArchivePolicy { request: ArchiveRequest::Configured, ..none };
        let typed = ArchivePolicy { request: ArchiveRequest::CommandLine, ..none };
        let remote = ArchivePolicy { has_remote: true, ..none };
        let several = ArchivePolicy { is_for_several_engines: true, ..none };
        let signed = ArchivePolicy { needs_signature: true, ..none };
        let replacing = ArchivePolicy { replaces_archived: true, ..none };
        for (policy, first, in_registry, never_used) in [
            (none, Skip, Skip, Skip),
            (configured, Archive, Skip, SkipUnused),
            (typed, Archive, Archive, Archive),
            (remote, Archive, Skip, Archive),
            (several, Archive, Archive, Archive),
            (signed, Archive, Archive, SkipUnused),
            (replacing, Archive, Archive, Archive),
        ] {
            assert_eq!(policy.decide(Vec::new), first, "{policy:?}");
            let pushed = ArchivePolicy { is_in_registry: true, ..policy };
            assert_eq!(pushed.decide(Vec::new), in_registry, "{pushed:?}");
            assert_eq!(policy.decide(unused), never_used, "{policy:?}");
        }
    }
}
