//! Decides which whole images are archived. Archiving an image takes seconds, so it is only done on request.

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
    /// `true` if archiving lost time in earlier builds.
    pub(crate) loses_time: bool,
}

impl ArchivePolicy {
    /// Returns `true` if archiving is requested in general, whatever is decided for this image.
    pub(crate) fn is_requested(self) -> bool {
        self.request != ArchiveRequest::None
            || self.has_remote
            || self.is_for_several_engines
            || self.needs_signature
    }

    /// Decides for one image.
    pub(crate) fn should_archive(self) -> bool {
        if self.request == ArchiveRequest::CommandLine
            || self.is_for_several_engines
            || self.replaces_archived
        {
            return true;
        }
        let has_other_source = self.is_in_registry && !self.needs_signature;
        self.is_requested() && !has_other_source && !self.loses_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_archived_on_request_unless_a_registry_has_them() {
        let none = ArchivePolicy::default();
        let configured = ArchivePolicy { request: ArchiveRequest::Configured, ..none };
        let typed = ArchivePolicy { request: ArchiveRequest::CommandLine, ..none };
        let remote = ArchivePolicy { has_remote: true, ..none };
        let several = ArchivePolicy { is_for_several_engines: true, ..none };
        let signed = ArchivePolicy { needs_signature: true, ..none };
        let replacing = ArchivePolicy { replaces_archived: true, ..none };
        for (policy, is_archived, in_registry, losing) in [
            (none, false, false, false),
            (configured, true, false, false),
            (typed, true, true, true),
            (remote, true, false, false),
            (several, true, true, true),
            (signed, true, true, false),
            (replacing, true, true, true),
        ] {
            assert_eq!(policy.should_archive(), is_archived, "{policy:?}");
            let pushed = ArchivePolicy { is_in_registry: true, ..policy };
            assert_eq!(pushed.should_archive(), in_registry, "{pushed:?}");
            let losing_policy = ArchivePolicy { loses_time: true, ..policy };
            assert_eq!(losing_policy.should_archive(), losing, "{losing_policy:?}");
        }
    }
}
