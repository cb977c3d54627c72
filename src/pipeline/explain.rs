//! Compares the key of a build with the key of an earlier build, to explain a miss. Keys are not computed here.

use jiff::Timestamp;
use serde::Serialize;

use super::error::Result;
use super::keys::BuildKeys;
use super::session::Session;
use crate::digest::Digest;
use crate::key::{CacheKey, Input, InputChange, InputKind, Keys, PrefixKey, Seal, difference};
use crate::notes::{Notes, NotesError, PrefixNote, RecordHead};
use crate::plan::BuildSettings;
use crate::registry::ImageRef;
use crate::store::{Entry, EntryKind, EntryManifest, KeyInput, Lane, Store, Subject};

const MAX_ENTRIES: usize = 64;

#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) before: EarlierBuild,
    pub(crate) changes: Vec<InputChange>,
    /// The state of each prefix, the deepest first. Empty if the prefixes of the earlier build are unknown.
    pub(crate) prefixes: Vec<PrefixState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PrefixState {
    Unchanged,
    /// The changes of the inputs that the prefix depends on, or depended on in the earlier build.
    Changed(Vec<InputChange>),
}

/// Serializes to a part of the JSON of `larder why`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EarlierBuild {
    pub(crate) image_key: CacheKey,
    pub(crate) names: Vec<String>,
    pub(crate) lane: Option<Lane>,
    pub(crate) created: Timestamp,
    /// The time of the last build or cache hit.
    pub(crate) last_used: Timestamp,
}

impl From<&RecordHead> for EarlierBuild {
    fn from(head: &RecordHead) -> Self {
        Self {
            image_key: head.image_key,
            names: head.names.clone(),
            lane: head.lane.clone(),
            created: head.created,
            last_used: head.last_used(),
        }
    }
}

pub(crate) fn key_inputs(inputs: &[Input]) -> Vec<KeyInput> {
    let stored = |input: &Input| KeyInput {
        kind: input.kind.name().to_owned(),
        name: input.name.clone(),
        digest: input.digest,
    };
    inputs.iter().map(stored).collect()
}

/// Returns the inputs of an entry's key, without those of a kind that this version of larder does not know.
pub(crate) fn inputs_of(stored: &[KeyInput]) -> Vec<Input> {
    let input = |input: &KeyInput| {
        let kind = serde_json::from_value(input.kind.clone().into()).ok()?;
        Some(Input::with_digest(kind, &input.name, input.digest))
    };
    stored.iter().filter_map(input).collect()
}

pub(crate) struct ImageIdentity<'a> {
    pub(crate) names: &'a [ImageRef],
    pub(crate) lane: &'a Lane,
    pub(crate) seal: &'a Seal,
}

impl ImageIdentity<'_> {
    /// Returns the repositories of the image's names. Tags are ignored because a tag is often the number of the build.
    pub(crate) fn repositories(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.iter().map(ImageRef::repository).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Records the inputs of a build's keys, as returned by [`Keys::published`].
    pub(crate) fn record(
        &self,
        notes: &Notes,
        keys: &Keys,
        inputs: &[Input],
        now: Timestamp,
    ) -> Result<(), NotesError> {
        let lane = Some(self.lane.clone());
        let mut head =
            RecordHead::new((keys.image, keys.dependency), self.repositories(), lane, now, inputs.len());
        head.prefixes = prefix_notes(keys);
        notes.write_inputs(&head, inputs)
    }

    /// Records that a build was a hit, and the inputs of its keys if they are not recorded yet.
    pub(crate) fn record_hit(
        &self,
        notes: &Notes,
        keys: &Keys,
        built: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), NotesError> {
        let names = self.repositories();
        if notes.note_hit(keys.image, &names, self.lane, now)? {
            return Ok(());
        }
        let inputs = keys.published(self.seal);
        // The lane of the build is unknown.
        let ids = (keys.image, keys.dependency);
        let mut head = RecordHead::new(ids, names.clone(), None, built.unwrap_or(now), inputs.len());
        head.prefixes = prefix_notes(keys);
        head.note_hit(&names, self.lane, now);
        notes.write_inputs(&head, &inputs)
    }

    /// Compares `keys` with the newest archived image of the same name for `platform` that has a different key, if that
    /// image is newer than `than`. Also reads the remote.
    fn explain_by_store(
        &self,
        (store, notes): (&Store, &Notes),
        keys: &Keys,
        platform: &str,
        than: Option<Timestamp>,
    ) -> Option<Explanation> {
        let names = self.repositories();
        let repository = |name: &String| Some(name.parse::<ImageRef>().ok()?.repository());
        let repositories_of = |entry: &Entry| -> Vec<String> {
            let Subject { title, tags, .. } = &entry.manifest.subject;
            [title].into_iter().chain(tags).filter_map(repository).collect()
        };
        let is_wanted = |entry: &Entry| {
            let is_other = entry.manifest.address.key != keys.image.digest();
            is_other && repositories_of(entry).iter().any(|name| names.contains(name))
        };
        let entry = store.newest_of(EntryKind::Image, platform, MAX_ENTRIES, is_wanted)?;
        let EntryManifest { address, created, subject, .. } = &entry.manifest;
        // The notes contain more about such a build than the store's entry does.
        let is_noted = matches!(notes.inputs(CacheKey::from(address.key)), Ok(Some(_)));
        if is_noted || than.is_some_and(|than| *created <= than) {
            return None;
        }
        let before = inputs_of(&subject.inputs);
        let has_files = before.iter().any(|input| input.kind == InputKind::File);
        let mut after = self.published_for_comparison(keys, &before);
        // An entry omits the files if there are many, and never contains the pins of a dependency file.
        after.retain(|input| has_files || input.kind != InputKind::File);
        for input in &mut after {
            input.pins.clear();
        }
        let before_names = repositories_of(&entry);
        let past = EarlierBuild {
            image_key: CacheKey::from(address.key),
            names: before_names.into_iter().filter(|name| names.contains(name)).collect(),
            lane: Some(address.lane.clone()),
            created: *created,
            last_used: *created,
        };
        Some(Explanation { before: past, changes: difference(&before, &after), prefixes: Vec::new() })
    }

    pub(crate) fn explain(&self, notes: &Notes, keys: &Keys) -> Result<Option<Explanation>, NotesError> {
        let heads = notes.records()?;
        let Some(before) = nearest_record(&heads, &self.repositories(), self.lane, keys.image).cloned()
        else {
            return Ok(None);
        };
        let Some(inputs) = notes.inputs(before.image_key)? else { return Ok(None) };
        let after = self.published_for_comparison(keys, &inputs);
        let changes = difference(&inputs, &after);
        let prefixes = prefix_states(keys, (&before, &inputs), &after, &changes);
        Ok(Some(Explanation { before: EarlierBuild::from(&before), changes, prefixes }))
    }

    /// Returns the inputs of `keys`. Confidential inputs without a counterpart in `others` get an empty digest, because
    /// sealing takes time and there is nothing to compare them with.
    fn published_for_comparison(&self, keys: &Keys, others: &[Input]) -> Vec<Input> {
        let has_counterpart =
            |input: &Input| others.iter().any(|other| (other.kind, &other.name) == (input.kind, &input.name));
        let publish = |input: &Input| {
            if !input.kind.is_confidential() || has_counterpart(input) {
                return self.seal.publish(input);
            }
            Input { digest: Digest::of(b""), ..input.clone() }
        };
        keys.shown_inputs().map(publish).collect()
    }
}

fn prefix_notes(keys: &Keys) -> Vec<PrefixNote> {
    let note = |prefix: &PrefixKey| {
        let own = keys.shown_inputs().enumerate().filter(|(_, input)| prefix.depends_on(input));
        PrefixNote::new(prefix.key, own.map(|(place, _)| place))
    };
    keys.prefixes.iter().flatten().map(note).collect()
}

/// Compares each prefix with the prefixes of an earlier build. A prefix with a new key is compared with the prefix of
/// the same depth, unless a different target explains all changes. `after` are the published inputs of `keys`, and
/// `changes` are those of the whole image.
fn prefix_states(
    keys: &Keys,
    (head, before): (&RecordHead, &[Input]),
    after: &[Input],
    changes: &[InputChange],
) -> Vec<PrefixState> {
    let state = |(depth, prefix): (usize, &PrefixKey)| {
        if head.prefixes.iter().any(|known| known.key == prefix.key) {
            return Some(PrefixState::Unchanged);
        }
        if let Some(target) = changes.iter().find(|change| change.is_target_change()) {
            return Some(PrefixState::Changed(vec![target.clone()]));
        }
        let known = head.prefixes.get(depth).or(head.prefixes.last())?;
        let own = keys.shown_inputs().zip(after).filter(|(input, _)| prefix.depends_on(input));
        let own: Vec<Input> = own.map(|(_, published)| published.clone()).collect();
        Some(PrefixState::Changed(difference(&known.inputs_of(before), &own)))
    };
    keys.prefixes.iter().flatten().enumerate().map_while(state).collect()
}

/// Returns the record of the same image with a different key that was last built or hit in this lane, or else in any
/// lane. Builds without a name are compared with each other.
fn nearest_record<'a>(
    heads: &'a [RecordHead],
    names: &[String],
    lane: &Lane,
    key: CacheKey,
) -> Option<&'a RecordHead> {
    let shares_a_name = |head: &&RecordHead| {
        head.names.iter().any(|name| names.contains(name)) || (names.is_empty() && head.names.is_empty())
    };
    let candidates: Vec<&RecordHead> =
        heads.iter().filter(|head| head.image_key != key).filter(shares_a_name).collect();
    let used_here = candidates.iter().filter_map(|head| Some((head.last_used_in(lane)?, *head)));
    let own = used_here.max_by_key(|(used, _)| *used).map(|(_, head)| head);
    own.or_else(|| candidates.into_iter().max_by_key(|head| head.last_used()))
}

/// Returns a comparison of a build with an image in the store that was built after `since`, to run on a thread for blocking
/// work. Returns `None` if the build does not use images in the store.
pub(crate) fn compare_with_store(
    build: &BuildSettings,
    session: &Session<'_>,
    keys: &BuildKeys,
    since: Option<Timestamp>,
) -> Result<Option<impl FnOnce() -> Option<Explanation> + Send + use<>>> {
    let Some(platform) = keys.sole_platform().filter(|_| build.tiers.archive).map(str::to_owned) else {
        return Ok(None);
    };
    let settings = session.settings;
    let (store, notes, keys) = (session.store()?, settings.notes(), keys.keys.clone());
    let (names, lane, seal) = (build.tags.clone(), settings.lanes.lanes.own().clone(), settings.seal.clone());
    Ok(Some(move || {
        let identity = ImageIdentity { names: &names, lane: &lane, seal: &seal };
        identity.explain_by_store((&store, &notes), &keys, &platform, since)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_build_has_the_same_name_and_if_possible_the_same_lane() {
        let key = |number: u8| CacheKey::from(Digest::of(&[number]));
        let lane = |name: &str| Lane::try_from(name.to_owned()).unwrap();
        let head = |number: u8, name: &str, in_lane: &str| {
            let names = if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
            let built = Timestamp::from_second(100 - i64::from(number)).unwrap();
            RecordHead::new((key(number), key(0)), names, Some(lane(in_lane)), built, 0)
        };
        let mut heads = [
            head(1, "app", "pr-1"),
            head(2, "other", "main"),
            head(3, "app", "main"),
            head(4, "", "main"),
            head(5, "hit", "main"),
            head(6, "hit", "main"),
        ];
        heads[5].note_hit(&["hit".to_owned()], &lane("main"), Timestamp::from_second(200).unwrap());
        heads[4].note_hit(&["hit".to_owned()], &lane("pr-1"), Timestamp::from_second(300).unwrap());
        let table = [
            ("app", "main", 9, Some(3)),
            ("app", "pr-1", 9, Some(1)),
            ("app", "pr-2", 9, Some(1)),
            ("app", "pr-1", 1, Some(3)),
            ("other", "main", 2, None),
            ("new", "main", 9, None),
            ("", "main", 9, Some(4)),
            ("hit", "main", 9, Some(6)),
            ("hit", "pr-1", 9, Some(5)),
            ("hit", "pr-2", 9, Some(5)),
        ];
        for (name, in_lane, own, expected) in table {
            let names = if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
            let found = nearest_record(&heads, &names, &lane(in_lane), key(own)).map(|head| head.image_key);
            assert_eq!(found, expected.map(key), "{name} {in_lane} {own}");
        }
    }
}
