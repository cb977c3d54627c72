//! Records the inputs of the keys of recent builds, to explain misses.
//!
//! A record is a file of JSON lines: a [`RecordHead`], then one input on each line. It is written together with the
//! image of its key. Records are only used to explain misses: no lookup depends on them, and only the most recent ones
//! are stored.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LAYOUT, Notes, NotesError, remove_oldest};
use crate::key::{CacheKey, Input};
use crate::regular_file;
use crate::store::Lane;

const SCHEMA: &str = "larder.inputs.v1";
const MAX_RECORDS: usize = 64;
/// The maximum number of lanes whose last hit is stored in one record.
const MAX_LANES: usize = 16;
/// The maximum size of all records in bytes. A record of 10 000 files has about two megabytes.
const MAX_BYTES: u64 = 64 << 20;

/// The first line of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordHead {
    pub(crate) schema: String,
    pub(crate) image_key: CacheKey,
    pub(crate) dependency_key: CacheKey,
    /// The repositories of the image's names, without tags.
    pub(crate) names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lane: Option<Lane>,
    pub(crate) created: Timestamp,
    /// When a build last hit the image, by the lane of the build.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) hits: BTreeMap<Lane, Timestamp>,
    /// The prefixes of the image, the deepest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) prefixes: Vec<PrefixNote>,
    /// The number of inputs that follow.
    pub(crate) inputs: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrefixNote {
    pub(crate) key: CacheKey,
    /// The positions of its inputs in the record. They are few ranges, because inputs are sorted.
    pub(crate) inputs: Vec<Range<usize>>,
}

impl PrefixNote {
    /// Creates the note of a prefix whose inputs are at these positions of the record, in ascending order.
    pub(crate) fn new(key: CacheKey, places: impl Iterator<Item = usize>) -> Self {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for place in places {
            match ranges.last_mut() {
                Some(last) if last.end == place => last.end += 1,
                _ => ranges.push(place..place + 1),
            }
        }
        Self { key, inputs: ranges }
    }

    pub(crate) fn inputs_of(&self, inputs: &[Input]) -> Vec<Input> {
        let ranges = self.inputs.iter().filter_map(|range| inputs.get(range.clone()));
        ranges.flatten().cloned().collect()
    }
}

impl RecordHead {
    pub(crate) fn new(
        keys: (CacheKey, CacheKey),
        names: Vec<String>,
        lane: Option<Lane>,
        created: Timestamp,
        inputs: usize,
    ) -> Self {
        let (image_key, dependency_key) = keys;
        let (schema, hits, prefixes) = (SCHEMA.to_owned(), BTreeMap::new(), Vec::new());
        Self { schema, image_key, dependency_key, names, lane, created, hits, prefixes, inputs }
    }

    /// Returns when the image was last built or hit.
    pub(crate) fn last_used(&self) -> Timestamp {
        self.hits.values().copied().fold(self.created, Timestamp::max)
    }

    /// Returns when the image was last built or hit in a lane.
    pub(crate) fn last_used_in(&self, lane: &Lane) -> Option<Timestamp> {
        let built = (self.lane.as_ref() == Some(lane)).then_some(self.created);
        built.max(self.hits.get(lane).copied())
    }

    /// Records a hit of the image under these names.
    pub(crate) fn note_hit(&mut self, names: &[String], lane: &Lane, now: Timestamp) {
        self.hits.insert(lane.clone(), now);
        while self.hits.len() > MAX_LANES
            && let Some(oldest) = self.hits.iter().min_by_key(|(_, at)| **at).map(|(lane, _)| lane.clone())
        {
            self.hits.remove(&oldest);
        }
        self.names.extend_from_slice(names);
        self.names.sort_unstable();
        self.names.dedup();
    }
}

impl Notes {
    /// Writes the record of the key in `head`. `inputs` must come from `Seal::publish`, without values.
    pub(crate) fn write_inputs(&self, head: &RecordHead, inputs: &[Input]) -> Result<(), NotesError> {
        let path = self.inputs_path(head.image_key);
        let failed =
            |error: serde_json::Error| NotesError::Write { path: path.clone(), source: error.into() };
        let mut text = serde_json::to_vec(head).map_err(failed)?;
        for input in inputs {
            text.push(b'\n');
            serde_json::to_writer(&mut text, input).map_err(failed)?;
        }
        text.push(b'\n');
        self.write(&path, &text)?;
        remove_oldest(path.parent().unwrap_or(&self.root), MAX_RECORDS, MAX_BYTES);
        Ok(())
    }

    /// Records a hit in the record of `key`. Returns `false` if there is no record.
    pub(crate) fn note_hit(
        &self,
        key: CacheKey,
        names: &[String],
        lane: &Lane,
        now: Timestamp,
    ) -> Result<bool, NotesError> {
        let path = self.inputs_path(key);
        let Some(mut head) = head(&path).filter(|head| head.image_key == key) else { return Ok(false) };
        let text = Self::read(&path).map_err(|source| NotesError::Read { path: path.clone(), source })?;
        let Some(end) = text.iter().position(|byte| *byte == b'\n') else { return Ok(false) };
        head.note_hit(names, lane, now);
        let mut changed = serde_json::to_vec(&head)
            .map_err(|error| NotesError::Write { path: path.clone(), source: error.into() })?;
        changed.extend_from_slice(&text[end..]);
        self.write(&path, &changed)?;
        Ok(true)
    }

    /// Returns the heads of all records, most recently used first. Damaged records are omitted. Fails if the directory
    /// exists but cannot be read.
    pub(crate) fn records(&self) -> Result<Vec<RecordHead>, NotesError> {
        let mut heads: Vec<_> = self.paths_in("inputs")?.filter_map(|path| head(&path)).collect();
        heads.sort_unstable_by_key(|head| std::cmp::Reverse((head.last_used(), head.image_key)));
        Ok(heads)
    }

    /// Returns the inputs of the record of `key`, if there is one. Fails if the record cannot be read. A damaged record
    /// is moved aside first.
    pub(crate) fn inputs(&self, key: CacheKey) -> Result<Option<Vec<Input>>, NotesError> {
        let path = self.inputs_path(key);
        let Some(text) = self.existing(&path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines();
        let head: Option<RecordHead> = lines.next().and_then(|line| serde_json::from_str(line).ok());
        let inputs: Result<Vec<Input>, _> = lines.map(serde_json::from_str).collect();
        match (head, inputs) {
            (Some(head), Ok(inputs)) if head.image_key == key && head.inputs == inputs.len() => {
                Ok(Some(inputs))
            }
            (_, Err(error)) => Err(self.set_aside(&path, error.to_string())),
            _ => Err(self.set_aside(&path, "it is incomplete, or the record of a different key".to_owned())),
        }
    }

    fn inputs_path(&self, key: CacheKey) -> PathBuf {
        self.root.join(LAYOUT).join("inputs").join(format!("{key}.jsonl"))
    }
}

fn head(path: &Path) -> Option<RecordHead> {
    let mut line = String::new();
    BufReader::new(regular_file::open(path).ok()?).read_line(&mut line).ok()?;
    serde_json::from_str::<RecordHead>(&line).ok().filter(|head| head.schema == SCHEMA)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::digest::Digest;
    use crate::key::InputKind;

    fn notes() -> (tempfile::TempDir, Notes) {
        let directory = tempfile::tempdir().unwrap();
        let notes = Notes::new(directory.path());
        (directory, notes)
    }

    fn record(number: i64) -> (RecordHead, Vec<Input>) {
        let key = CacheKey::from(Digest::of(&number.to_le_bytes()));
        let inputs = vec![
            Input::of_values(InputKind::File, "a\nb", &[&number.to_le_bytes()]),
            Input::of_values(InputKind::Label, "l", &[b"x"]),
        ];
        let lane = Lane::try_from("main".to_owned()).ok();
        let created = Timestamp::from_second(number).unwrap();
        (RecordHead::new((key, key), vec!["app".to_owned()], lane, created, inputs.len()), inputs)
    }

    #[test]
    fn records_are_read_unchanged_and_most_recent_first() {
        let (_directory, notes) = notes();
        assert_eq!(notes.records().unwrap(), []);
        for number in [2, 3, 1] {
            let (head, inputs) = record(number);
            notes.write_inputs(&head, &inputs).unwrap();
        }
        let heads = notes.records().unwrap();
        assert_eq!(heads, [3, 2, 1].map(|number| record(number).0));
        assert_eq!(notes.inputs(heads[1].image_key).unwrap().unwrap(), record(2).1);
        assert_eq!(notes.inputs(CacheKey::from(Digest::of(b"other"))).unwrap(), None);
    }

    #[test]
    fn the_inputs_of_a_prefix_are_ranges_of_the_record() {
        let inputs: Vec<Input> =
            ["a", "b", "c", "d"].map(|name| Input::of_values(InputKind::File, name, &[])).into();
        for (wanted, ranges) in [("", 0), ("abcd", 1), ("bc", 1), ("ad", 2), ("bd", 2)] {
            let key = CacheKey::from(Digest::of(b"prefix"));
            let places = (0..inputs.len()).filter(|place| wanted.contains(&inputs[*place].name));
            let note = PrefixNote::new(key, places);
            let found: String = note.inputs_of(&inputs).iter().map(|input| input.name.as_str()).collect();
            assert_eq!((found.as_str(), note.inputs.len()), (wanted, ranges));
            assert!(note.inputs_of(&inputs[..1]).len() <= 1, "a record of a different length");
        }
    }

    #[test]
    fn a_hit_makes_a_record_the_most_recent_and_leaves_its_inputs() {
        let (_directory, notes) = notes();
        let lane = Lane::try_from("pr-1".to_owned()).unwrap();
        let key = record(1).0.image_key;
        let hit = |second| {
            let now = Timestamp::from_second(second).unwrap();
            notes.note_hit(key, &["other".to_owned()], &lane, now).unwrap()
        };
        assert!(!hit(9), "there is no record yet");
        for number in [1, 2] {
            let (head, inputs) = record(number);
            notes.write_inputs(&head, &inputs).unwrap();
        }
        assert!(hit(3));
        let heads = notes.records().unwrap();
        assert_eq!(heads[0].image_key, key);
        assert_eq!(heads[0].last_used_in(&lane), Timestamp::from_second(3).ok());
        assert_eq!(heads[0].last_used_in(heads[0].lane.as_ref().unwrap()), Some(heads[0].created));
        assert_eq!(heads[0].names, ["app", "other"]);
        assert_eq!(notes.inputs(key).unwrap().unwrap(), record(1).1);
    }

    #[test]
    fn the_oldest_records_are_removed() {
        let (_directory, notes) = notes();
        for number in 0..i64::try_from(MAX_RECORDS).unwrap() + 3 {
            let (head, inputs) = record(number);
            notes.write_inputs(&head, &inputs).unwrap();
            let time = filetime::FileTime::from_unix_time(1000 + number, 0);
            filetime::set_file_mtime(notes.inputs_path(head.image_key), time).unwrap();
        }
        let heads = notes.records().unwrap();
        assert_eq!(heads.len(), MAX_RECORDS);
        assert_eq!(heads.last(), Some(&record(3).0));
    }

    #[test]
    fn a_damaged_record_is_moved_aside() {
        let (_directory, notes) = notes();
        let (head, inputs) = record(1);
        for keep in [0, 1, 40, 300] {
            notes.write_inputs(&head, &inputs).unwrap();
            let path = notes.inputs_path(head.image_key);
            let text = fs::read(&path).unwrap();
            fs::write(&path, &text[..keep]).unwrap();
            assert!(matches!(notes.inputs(head.image_key), Err(NotesError::Damaged { .. })), "{keep}");
            assert_eq!(notes.inputs(head.image_key).unwrap(), None);
        }
    }
}
