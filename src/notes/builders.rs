//! Records what a builder has built and loaded, to guess what it still has. A wrong guess costs time, never
//! correctness.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{LAYOUT, Notes, NotesError};
use crate::digest::Digest;

const SCHEMA: &str = "larder.builder.v1";
/// The maximum number of layers, prefixes, mounts and images of one builder. The oldest are removed.
const MAX_ENTRIES: usize = 64;
const MAX_LOADED: usize = 4;
/// The time for which a used image is not removed, because a build may still use it.
const IN_USE: SignedDuration = SignedDuration::from_hours(1);
/// The maximum number of steps of one builder. The oldest are removed.
const MAX_STEPS: usize = 1024;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuilderEntry {
    schema: String,
    /// The id of the builder in the engine.
    builder: String,
    /// The dependency layers that it has built, see `key::DependencyLayers`.
    layers: BTreeMap<Digest, BuiltLayers>,
    /// When each cache mount was last seen with content, by the key of the mount.
    mounts: BTreeMap<Digest, Timestamp>,
    /// When each step was last run or cached, by the mark of the step.
    #[serde(default)]
    steps: BTreeMap<Digest, Timestamp>,
    /// By the key of the prefix.
    #[serde(default)]
    prefixes: BTreeMap<Digest, BuiltPrefix>,
    /// When each image that larder has loaded into the engine was last used, by its name.
    #[serde(default)]
    loaded: BTreeMap<String, Timestamp>,
    /// When each image was built, by its id.
    #[serde(default)]
    images: BTreeMap<Digest, Timestamp>,
    /// `true` if the user was informed of the builder's limits.
    #[serde(default)]
    is_told: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BuiltLayers {
    image: String,
    built: Timestamp,
}

/// The layers of a prefix that a builder has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuiltPrefix {
    used: Timestamp,
    /// When the builder was first known to have the layers.
    made: Option<Timestamp>,
    /// The image that builds continued from, or `None` if the builder has built the layers from the Dockerfile. The
    /// builder does not recognise layers of one kind as those of the other.
    pub(crate) base: Option<PrefixBase>,
    /// The names under which the prefix is known to be in registries.
    #[serde(default)]
    pub(crate) published: BTreeSet<String>,
}

/// An image that builds continue from, and the part of its config that such a build depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrefixBase {
    /// `REPOSITORY@DIGEST`, or the name of an image that larder has loaded into the engine.
    pub(crate) name: String,
    /// The names of the variables in its environment.
    pub(crate) variables: Vec<String>,
    pub(crate) command: Vec<String>,
    /// When the oldest of its RUN steps was run, if the image records it.
    pub(crate) oldest: Option<Timestamp>,
    /// The id of an image that larder has loaded from the store into the engine.
    #[serde(default)]
    pub(crate) id: Option<String>,
}

impl BuiltPrefix {
    /// Returns when the oldest of its RUN steps was run, if that is known.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        match &self.base {
            Some(base) => base.oldest,
            None => self.made,
        }
    }
}

impl BuilderEntry {
    /// Returns `true` if no build of this machine has used the builder.
    pub(crate) fn is_new(&self) -> bool {
        self.prefixes.is_empty() && self.steps.is_empty() && self.images.is_empty() && self.mounts.is_empty()
    }

    pub(crate) fn prefix(&self, key: Digest) -> Option<&BuiltPrefix> {
        self.prefixes.get(&key)
    }

    /// Records that the builder has the layers of a prefix, and the name under which it was published, if any.
    pub(crate) fn note_prefix(
        &mut self,
        key: Digest,
        base: Option<PrefixBase>,
        published: Option<String>,
        now: Timestamp,
    ) {
        let known = self.prefixes.remove(&key).filter(|known| known.base == base);
        let made = known.as_ref().and_then(|known| known.made).or(Some(now));
        let mut names = known.map(|known| known.published).unwrap_or_default();
        names.extend(published);
        self.prefixes.insert(key, BuiltPrefix { used: now, made, base, published: names });
        forget_oldest(&mut self.prefixes, MAX_ENTRIES, |prefix| prefix.used);
    }

    /// Records that the image with this name was loaded or used, and removes others that were not used for a while.
    /// Returns the names of the removed ones.
    pub(crate) fn note_loaded(&mut self, name: &str, now: Timestamp) -> Vec<String> {
        self.loaded.insert(name.to_owned(), now);
        let mut names: Vec<(Timestamp, String)> =
            self.loaded.iter().map(|(name, used)| (*used, name.clone())).collect();
        names.sort_unstable();
        let is_in_use = |used: Timestamp| now.duration_since(used) < IN_USE;
        let excess = names.len().saturating_sub(MAX_LOADED);
        let forgotten = names.into_iter().take(excess).filter(|(used, _)| !is_in_use(*used));
        let forgotten: Vec<String> = forgotten.map(|(_, name)| name).collect();
        self.loaded.retain(|name, _| !forgotten.contains(name));
        forgotten
    }

    pub(crate) fn forget_prefix(&mut self, key: Digest) {
        self.prefixes.remove(&key);
    }

    /// Returns the image that this builder has built on these layers.
    pub(crate) fn image_on(&self, layers: Digest) -> Option<&str> {
        self.layers.get(&layers).map(|layers| layers.image.as_str())
    }

    pub(crate) fn note_layers(&mut self, layers: Digest, image: &str, now: Timestamp) {
        self.layers.insert(layers, BuiltLayers { image: image.to_owned(), built: now });
        forget_oldest(&mut self.layers, MAX_ENTRIES, |layers| layers.built);
    }

    pub(crate) fn forget_layers(&mut self, layers: Digest) {
        self.layers.remove(&layers);
    }

    /// Returns when a mount was last seen with content.
    pub(crate) fn mount_seen(&self, key: Digest) -> Option<Timestamp> {
        self.mounts.get(&key).copied()
    }

    pub(crate) fn note_mount(&mut self, key: Digest, now: Timestamp) {
        self.mounts.insert(key, now);
        forget_oldest(&mut self.mounts, MAX_ENTRIES, |seen| *seen);
    }

    pub(crate) fn has_built(&self, image: Digest) -> bool {
        self.images.contains_key(&image)
    }

    pub(crate) fn has_built_several_images(&self) -> bool {
        self.images.len() > 1
    }

    pub(crate) fn note_image(&mut self, image: Digest, now: Timestamp) {
        self.images.insert(image, now);
        forget_oldest(&mut self.images, MAX_ENTRIES, |made| *made);
    }

    /// Records that the limits of the builder were reported. Returns `true` the first time.
    pub(crate) fn note_limits_reported(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true)
    }

    pub(crate) fn has_step(&self, mark: Digest) -> bool {
        self.steps.contains_key(&mark)
    }

    pub(crate) fn note_steps(&mut self, marks: impl IntoIterator<Item = Digest>, now: Timestamp) {
        self.steps.extend(marks.into_iter().map(|mark| (mark, now)));
        forget_oldest(&mut self.steps, MAX_STEPS, |seen| *seen);
    }
}

fn forget_oldest<K: Ord + Copy, V>(known: &mut BTreeMap<K, V>, most: usize, at: impl Fn(&V) -> Timestamp) {
    while known.len() > most
        && let Some(oldest) = known.iter().min_by_key(|(_, value)| at(value)).map(|(key, _)| *key)
    {
        known.remove(&oldest);
    }
}

impl Notes {
    /// Returns the notes about `builder`, which are empty if it is not known. Fails if the file cannot be read. A
    /// damaged file is moved aside first.
    pub(crate) fn builder(&self, builder: &str) -> Result<BuilderEntry, NotesError> {
        let entry = self.entry(&self.builder_path(builder), |entry: &BuilderEntry| {
            let is_right = entry.schema == SCHEMA && entry.builder == builder;
            (!is_right).then(|| format!("it contains {} {}", entry.schema, entry.builder))
        })?;
        Ok(entry.unwrap_or_else(|| BuilderEntry {
            schema: SCHEMA.to_owned(),
            builder: builder.to_owned(),
            ..BuilderEntry::default()
        }))
    }

    /// Writes the notes about a builder. If two jobs do this at the same time, the last one wins; the notes are only
    /// guesses.
    pub(crate) fn note_builder(&self, entry: &BuilderEntry) -> Result<(), NotesError> {
        self.write_entry(&self.builder_path(&entry.builder), entry)
    }

    fn builder_path(&self, builder: &str) -> PathBuf {
        let name = format!("{}.json", Digest::of(builder.as_bytes()).hex());
        self.root.join(LAYOUT).join("builder").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_separate_for_each_builder_and_limited() {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path());
        let key = |number: i64| Digest::of(&number.to_le_bytes());
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut entry = notes.builder("one").unwrap();
        for number in 0..=64 {
            entry.note_layers(key(number), "image", at(number));
            entry.note_mount(key(number), at(number));
            entry.note_steps([key(number)], at(number));
        }
        notes.note_builder(&entry).unwrap();
        let mut known = notes.builder("one").unwrap();
        assert_eq!(known, entry);
        assert_eq!((known.image_on(key(0)), known.image_on(key(1))), (None, Some("image")));
        assert_eq!(known.mount_seen(key(64)), Some(at(64)));
        assert!(known.has_step(key(0)) && !known.has_step(key(65)));
        known.forget_layers(key(1));
        assert_eq!(known.image_on(key(1)), None);
        assert_eq!(notes.builder("two").unwrap().image_on(key(1)), None);
        std::fs::write(notes.builder_path("one"), "{}").unwrap();
        assert!(matches!(notes.builder("one"), Err(NotesError::Damaged { .. })));
        assert_eq!(notes.builder("one").unwrap().image_on(key(1)), None);
    }

    #[test]
    fn loaded_prefixes_are_not_removed_while_they_may_be_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let mut entry = Notes::new(directory.path()).builder("one").unwrap();
        let at = |minute: i64| Timestamp::from_second(minute * 60).unwrap();
        for (number, minute) in [0, 1, 2, 3, 40].into_iter().enumerate() {
            assert_eq!(entry.note_loaded(&number.to_string(), at(minute)), [""; 0]);
        }
        assert_eq!(entry.note_loaded("1", at(62)), ["0"], "the one that was used least recently");
        assert_eq!(entry.note_loaded("5", at(63)), ["2"]);
        assert_eq!(entry.note_loaded("6", at(64)), ["3"]);
        assert_eq!(entry.note_loaded("7", at(65)), [""; 0], "four were used within the hour");
    }
}
