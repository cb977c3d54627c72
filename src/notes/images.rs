//! Records which images were built for a key.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LAYOUT, Notes, NotesError};
use crate::key::CacheKey;

const SCHEMA: &str = "larder.image.v1";
/// The maximum number of images for one key. Each engine that shares the cache has its own image.
const MAX_IMAGES: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageEntry {
    pub(crate) schema: String,
    pub(crate) image_key: CacheKey,
    pub(crate) dependency_key: CacheKey,
    /// The images, last used first; at most eight.
    pub(crate) images: Vec<EngineImage>,
    /// When a build of the key last ran every step. Images that were built before that and are not listed were
    /// replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rebuilt: Option<Timestamp>,
    /// `true` while the image is being archived, and after that was interrupted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) archiving: bool,
}

impl ImageEntry {
    /// Returns `true` if a rebuild has replaced the image `id`, which was built at `built`.
    pub(crate) fn has_replaced(&self, id: Option<&str>, built: Timestamp) -> bool {
        let is_listed = self.images.iter().any(|image| Some(&*image.id) == id);
        self.rebuilt.is_some_and(|rebuilt| built < rebuilt) && !is_listed
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImageAge {
    pub(crate) built: Timestamp,
    /// When the oldest of its RUN steps was run; earlier than `built` if the build reused layers of an earlier one.
    pub(crate) oldest: Timestamp,
}

impl ImageAge {
    pub(crate) fn new(built: Timestamp, oldest: Option<Timestamp>) -> Self {
        Self { built, oldest: oldest.map_or(built, |oldest| oldest.min(built)) }
    }
}

impl EngineImage {
    pub(crate) fn age(&self) -> ImageAge {
        ImageAge::new(self.created, self.oldest)
    }
}

/// An image that an engine built for a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EngineImage {
    /// The id in that engine, `sha256:…`.
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    /// When the oldest of its RUN steps was run, if that was earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oldest: Option<Timestamp>,
    /// When it was last built or hit.
    pub(crate) last_used: Timestamp,
}

impl Notes {
    /// Returns the notes about `key`. Fails if the entry cannot be read. A damaged entry is moved aside first, so that
    /// it does not exist afterwards.
    pub(crate) fn image(&self, key: CacheKey) -> Result<Option<ImageEntry>, NotesError> {
        self.entry(&self.image_path(key), |entry: &ImageEntry| {
            let is_right = entry.schema == SCHEMA && entry.image_key == key;
            (!is_right).then(|| format!("it contains {} {}", entry.schema, entry.image_key))
        })
    }

    /// Returns the key for which the image `id` was built; of several keys, the one that was used last. Fails if the
    /// directory cannot be read. Entries that cannot be read are skipped.
    pub(crate) fn key_of(&self, id: &str) -> Result<Option<CacheKey>, NotesError> {
        let keys = self.paths_in("image")?.filter_map(|path| {
            let key: CacheKey = path.file_stem()?.to_str()?.parse().ok()?;
            let image = self.image(key).ok()??.images.into_iter().find(|image| image.id == id)?;
            Some((image.last_used, key))
        });
        Ok(keys.max_by_key(|(used, _)| *used).map(|(_, key)| key))
    }

    /// Records that `id` is an image of `key` that was used at `now`, and its age if that is known. Fails if
    /// the entry cannot be written. A damaged earlier entry is replaced.
    pub(crate) fn note_image(
        &self,
        key: CacheKey,
        dependency_key: CacheKey,
        id: &str,
        age: Option<ImageAge>,
        now: Timestamp,
    ) -> Result<(), NotesError> {
        let known = match self.image(key) {
            Err(NotesError::Damaged { .. }) => None,
            known => known?,
        };
        let rebuilt = known.as_ref().and_then(|entry| entry.rebuilt);
        let archiving = known.as_ref().is_some_and(|entry| entry.archiving);
        let mut images = known.map(|entry| entry.images).unwrap_or_default();
        let known = images.iter().find(|image| image.id == id).map(EngineImage::age);
        let ImageAge { built: created, oldest } = age.or(known).unwrap_or(ImageAge::new(now, None));
        let oldest = Some(oldest).filter(|oldest| *oldest < created);
        images.retain(|image| image.id != id);
        images.insert(0, EngineImage { id: id.to_owned(), created, oldest, last_used: now });
        images.truncate(MAX_IMAGES);
        let schema = SCHEMA.to_owned();
        let entry = ImageEntry { schema, image_key: key, dependency_key, images, rebuilt, archiving };
        self.write_entry(&self.image_path(key), &entry)
    }

    /// Records that a build of `key` that started at `started` ran every step, so that earlier images are no longer
    /// images of the key.
    pub(crate) fn note_rebuild(
        &self,
        key: CacheKey,
        dependency_key: CacheKey,
        started: Timestamp,
    ) -> Result<(), NotesError> {
        let (schema, images, rebuilt) = (SCHEMA.to_owned(), Vec::new(), Some(started));
        let entry = ImageEntry { schema, image_key: key, dependency_key, images, rebuilt, archiving: false };
        self.write_entry(&self.image_path(key), &entry)
    }

    /// Records that archiving the image of `key` begins (`true`) or has ended. A key without an entry is ignored.
    pub(crate) fn note_archiving(&self, key: CacheKey, archiving: bool) -> Result<(), NotesError> {
        match self.image(key)? {
            Some(entry) if entry.archiving != archiving => {
                self.write_entry(&self.image_path(key), &ImageEntry { archiving, ..entry })
            }
            _ => Ok(()),
        }
    }

    fn image_path(&self, key: CacheKey) -> PathBuf {
        self.root.join(LAYOUT).join("image").join(format!("{key}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn notes() -> (tempfile::TempDir, Notes) {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(&directory.path().join("cache"));
        (directory, notes)
    }

    fn key(text: &str) -> CacheKey {
        CacheKey::from(crate::digest::Digest::of(text.as_bytes()))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_last_used_image_comes_first_and_keeps_its_creation_time() {
        let (_directory, notes) = notes();
        assert_eq!(notes.image(key("a")).unwrap(), None);
        for (second, id) in [(1, "one"), (2, "two"), (3, "one")] {
            notes.note_image(key("a"), key("d"), id, None, at(second)).unwrap();
        }
        let images = notes.image(key("a")).unwrap().unwrap().images;
        let one = EngineImage { id: "one".to_owned(), created: at(1), oldest: None, last_used: at(3) };
        let two = EngineImage { id: "two".to_owned(), created: at(2), oldest: None, last_used: at(2) };
        assert_eq!(images, [one, two]);
        notes.note_image(key("a"), key("d"), "two", Some(ImageAge::new(at(4), Some(at(3)))), at(5)).unwrap();
        let two = EngineImage { id: "two".to_owned(), created: at(4), oldest: Some(at(3)), last_used: at(5) };
        assert_eq!(notes.image(key("a")).unwrap().unwrap().images[0], two, "it was built again");
        notes.note_image(key("b"), key("d"), "two", None, at(5)).unwrap();
        notes.note_image(key("b"), key("d"), "two", None, at(6)).unwrap();
        assert_eq!(notes.key_of("two").unwrap(), Some(key("b")), "the key used last");
        assert_eq!(notes.key_of("one").unwrap(), Some(key("a")));
        assert_eq!(notes.key_of("three").unwrap(), None);
        for second in 6..40 {
            notes.note_image(key("a"), key("d"), &second.to_string(), None, at(second)).unwrap();
        }
        assert_eq!(notes.image(key("a")).unwrap().unwrap().images.len(), MAX_IMAGES);
    }

    #[test]
    fn a_rebuild_replaces_earlier_images() {
        let (_directory, notes) = notes();
        notes.note_image(key("a"), key("d"), "one", None, at(1)).unwrap();
        notes.note_rebuild(key("a"), key("d"), at(5)).unwrap();
        notes.note_image(key("a"), key("d"), "two", None, at(6)).unwrap();
        let entry = notes.image(key("a")).unwrap().unwrap();
        assert_eq!(entry.images.iter().map(|image| &*image.id).collect::<Vec<_>>(), ["two"]);
        assert!(entry.has_replaced(Some("one"), at(1)));
        assert!(!entry.has_replaced(Some("two"), at(1)), "its time may come from a different clock");
        assert!(!entry.has_replaced(Some("three"), at(7)), "it was built elsewhere afterwards");
    }

    #[test]
    fn archiving_is_recorded_until_it_ends() {
        let (_directory, notes) = notes();
        let archiving = || notes.image(key("a")).unwrap().is_some_and(|entry| entry.archiving);
        notes.note_archiving(key("a"), true).unwrap();
        assert!(!archiving(), "there is no image");
        notes.note_image(key("a"), key("d"), "one", None, at(1)).unwrap();
        notes.note_archiving(key("a"), true).unwrap();
        notes.note_image(key("a"), key("d"), "one", None, at(2)).unwrap();
        assert!(archiving(), "a hit does not end it");
        notes.note_archiving(key("a"), false).unwrap();
        assert!(!archiving());
    }

    #[test]
    fn a_damaged_or_misplaced_entry_is_moved_aside() {
        let (_directory, notes) = notes();
        for damage in ["", "{\"schema\":", "[]", "\u{0}\u{1}"] {
            notes.note_image(key("a"), key("d"), "one", None, at(1)).unwrap();
            let path = notes.image_path(key("a"));
            std::fs::write(&path, damage).unwrap();
            let error = notes.image(key("a")).unwrap_err();
            assert!(matches!(error, NotesError::Damaged { .. }), "{error}");
            assert_eq!(notes.image(key("a")).unwrap(), None);
        }
        notes.note_image(key("a"), key("d"), "one", None, at(1)).unwrap();
        std::fs::remove_file(notes.image_path(key("a"))).unwrap();
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, notes.image_path(key("a")), pipe, 0o600.into(), 0).unwrap();
        assert!(matches!(notes.image(key("a")), Err(NotesError::Damaged { .. })), "a pipe is not an entry");
        notes.note_image(key("a"), key("d"), "one", None, at(1)).unwrap();
        std::fs::rename(notes.image_path(key("a")), notes.image_path(key("b"))).unwrap();
        assert!(matches!(notes.image(key("b")), Err(NotesError::Damaged { .. })));
    }

    #[test]
    fn other_users_cannot_read_the_cache() {
        let (_directory, notes) = notes();
        notes.note_image(key("a"), key("d"), "one", None, at(1)).unwrap();
        let mode = std::fs::metadata(notes.directory()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
