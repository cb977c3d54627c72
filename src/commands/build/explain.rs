//! Why a key is not that of an earlier build.

use jiff::Timestamp;

use crate::digest::Digest;
use crate::key::{CacheKey, Change, Input, Keys, Seal, difference};
use crate::notes::{Notes, NotesError, RecordHead};
use crate::registry::ImageRef;
use crate::store::Lane;

/// An earlier build and what has changed since.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) before: RecordHead,
    pub(crate) changes: Vec<Change>,
}

/// What builds are compared by.
pub(crate) struct Identity<'a> {
    pub(crate) names: &'a [ImageRef],
    pub(crate) lane: &'a Lane,
    pub(crate) seal: &'a Seal,
}

impl Identity<'_> {
    /// The repositories of the image's names; a tag is often the number of the build.
    pub(super) fn repositories(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.iter().map(ImageRef::repository).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Keeps what the keys of a build were made of, as [`Keys::published`].
    pub(super) fn record(
        &self,
        notes: &Notes,
        keys: &Keys,
        inputs: &[Input],
        now: Timestamp,
    ) -> Result<(), NotesError> {
        let lane = Some(self.lane.clone());
        let head =
            RecordHead::new((keys.image, keys.dependency), self.repositories(), lane, now, inputs.len());
        notes.keep_inputs(&head, inputs)
    }

    /// Compares `keys` with the nearest earlier build that has another key; `None` where there is none.
    pub(crate) fn explain(&self, notes: &Notes, keys: &Keys) -> Result<Option<Explanation>, NotesError> {
        let heads = notes.records()?;
        let Some(before) = nearest(&heads, &self.repositories(), self.lane, keys.image).cloned() else {
            return Ok(None);
        };
        let Some(inputs) = notes.inputs(before.image_key)? else { return Ok(None) };
        let changes = difference(&inputs, &self.published_like(keys, &inputs));
        Ok(Some(Explanation { before, changes }))
    }

    /// The inputs of `keys`. Confidential ones that have nothing to be compared with are not sealed, which would take
    /// time, and go without a digest.
    fn published_like(&self, keys: &Keys, others: &[Input]) -> Vec<Input> {
        let is_there =
            |input: &Input| others.iter().any(|other| (other.kind, &other.name) == (input.kind, &input.name));
        let publish = |input: &Input| {
            if !input.kind.is_confidential() || is_there(input) {
                return self.seal.publish(input);
            }
            Input { digest: Digest::of(b""), ..input.clone() }
        };
        keys.told().map(publish).collect()
    }
}

/// The most recent record of the same image with another key: of this lane, else of any.
///
/// Builds without a name are compared with one another.
fn nearest<'a>(
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
    let own = candidates.iter().find(|head| head.lane.as_ref() == Some(lane));
    own.or(candidates.first()).copied()
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
            RecordHead::new((key(number), key(0)), names, Some(lane(in_lane)), Timestamp::UNIX_EPOCH, 0)
        };
        // The most recent first, as the notes give them.
        let heads =
            [head(1, "app", "pr-1"), head(2, "other", "main"), head(3, "app", "main"), head(4, "", "main")];
        let table = [
            ("app", "main", 9, Some(3)),
            ("app", "pr-1", 9, Some(1)),
            ("app", "pr-2", 9, Some(1)),
            ("app", "pr-1", 1, Some(3)),
            ("other", "main", 2, None),
            ("new", "main", 9, None),
            ("", "main", 9, Some(4)),
        ];
        for (name, in_lane, own, expected) in table {
            let names = if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
            let found = nearest(&heads, &names, &lane(in_lane), key(own)).map(|head| head.image_key);
            assert_eq!(found, expected.map(key), "{name} {in_lane} {own}");
        }
    }
}
