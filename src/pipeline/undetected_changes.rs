//! Detects changes of a context that BuildKit's incremental transfer misses.
//!
//! BuildKit stores a received context under the session's shared key, and compares the next transfer with it (`fsutil`,
//! `diff_containerd.go`). It treats a file with the same size and time as unchanged, which is wrong after tools that
//! set all times to the same value. It does not compare extended attributes. And it applies a directory's new mode
//! without counting it as a change. A step would then be taken from the cache, and the old image would be recorded
//! under a new key. Therefore the shared key covers all such state, so that a context with different state is sent
//! completely.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use crate::context::{ContextEntry, FileDigest, FileKind};
use crate::digest::Digest;

/// The state of a context that BuildKit does not compare.
#[derive(Debug, Default)]
pub(crate) struct UndetectedState(Vec<u8>);

impl UndetectedState {
    /// Adds the state of a directory. Both slices describe the same entries.
    pub(crate) fn add(&mut self, entries: &[ContextEntry], digests: &[FileDigest]) {
        let directories = digests.iter().filter(|file| file.kind == FileKind::Directory);
        let mut modes: BTreeMap<u32, usize> = BTreeMap::new();
        for directory in directories {
            *modes.entry(directory.mode).or_default() += 1;
        }
        // The most frequent mode is added only once, so that a new directory with this mode does not change the digest.
        let usual = modes.into_iter().max_by_key(|(_, count)| *count).map_or(USUAL_MODE, |(mode, _)| mode);
        if usual != USUAL_MODE {
            self.0.extend(usual.to_le_bytes());
        }
        for (entry, file) in entries.iter().zip(digests) {
            let unusual = file.kind == FileKind::Directory && file.mode != usual;
            if !(unusual || has_artificial_time(entry) || file.xattrs.is_some()) {
                continue;
            }
            self.0.extend(file.path.as_bytes());
            self.0.extend(file.mode.to_le_bytes());
            self.0.extend(file.digest.as_bytes());
            self.0.extend(file.xattrs.iter().flat_map(Digest::as_bytes));
        }
    }

    /// Returns the digest of the state and the Dockerfile's text, or `None` if there is no such state.
    pub(crate) fn digest(&self, text: &str) -> Option<Digest> {
        (!self.0.is_empty()).then(|| Digest::of(&[&self.0, text.as_bytes()].concat()))
    }
}

const USUAL_MODE: u32 = 0o755;

/// Returns `true` if a tool has set the file's time: it is in whole seconds and differs from the change time.
fn has_artificial_time(entry: &ContextEntry) -> bool {
    let metadata = &entry.metadata;
    metadata.is_file() && metadata.mtime_nsec() == 0 && metadata.mtime() != metadata.ctime()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use filetime::FileTime;

    use super::*;
    use crate::context::{Filter, StatIndex, digest_entries, walk};

    #[test]
    fn only_state_that_buildkit_does_not_compare_changes_the_digest() {
        let root = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let at = |name: &str| root.path().join(name);
        let mode = |name: &str, mode| fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(at(name)).unwrap();
            mode(name, 0o755);
        }
        fs::write(at("a/file"), "1").unwrap();
        let digest = || {
            let mut entries: Vec<ContextEntry> =
                walk(root.path(), &Filter::default()).unwrap().map(Result::unwrap).collect();
            let digests = digest_entries(&mut entries, &StatIndex::default()).unwrap();
            let mut unnoticed = UndetectedState::default();
            unnoticed.add(&entries, &digests);
            unnoticed.digest("FROM scratch")
        };
        assert_eq!(digest(), None);
        fs::write(at("a/file"), "2").unwrap();
        fs::create_dir(at("d")).unwrap();
        mode("d", 0o755);
        assert_eq!(digest(), None, "BuildKit notices content and new directories");
        mode("a", 0o700);
        let private = digest();
        assert!(private.is_some());
        mode("a", 0o711);
        assert_ne!(digest(), private);
        mode("a", 0o755);
        assert_eq!(digest(), None);

        for name in ["a", "b", "c", "d"] {
            mode(name, 0o775);
        }
        let shared = digest();
        assert!(shared.is_some());
        fs::create_dir(at("e")).unwrap();
        mode("e", 0o775);
        assert_eq!(digest(), shared, "the directory has the usual mode");

        filetime::set_file_mtime(at("a/file"), FileTime::from_unix_time(1, 0)).unwrap();
        let set_back = digest();
        assert_ne!(set_back, shared);
        xattr::set(at("a/file"), "user.a", b"1").unwrap();
        assert_ne!(digest(), set_back);
    }
}
