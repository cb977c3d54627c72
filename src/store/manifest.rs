//! Manifests: the description of an entry, the key it was saved for, and the chunks of its content.
//!
//! A manifest is one line of JSON, followed by a second line if it is signed. It is named `<key>.<created>.<id>.json`,
//! with the first half of the digits of key and id; the id is the digest of the first line. A manifest never changes.
//! Every schema in `v1/` lists the needed chunks as `chunks`, so that any version of larder can tell which chunks are
//! unused.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chunk::MAX_CHUNK_SIZE;
use super::{Address, EntryKind};
use crate::digest::{Digest, shorten};

pub(crate) const SCHEMA: &str = "larder.entry.v1";
/// The format of times in the names of manifests, which sort as text.
const TIME_IN_NAMES: &str = "%Y%m%dT%H%M%S.%3fZ";
/// The number of digits of a digest in the name of a manifest, because file systems and servers limit names.
const DIGITS_IN_NAMES: usize = 32;

/// The description of an entry. The content is the concatenation of the chunks; its meaning depends on the kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryManifest {
    /// Always [`SCHEMA`].
    pub(crate) schema: String,
    #[serde(flatten)]
    pub address: Address,
    pub(crate) created: Timestamp,
    #[serde(flatten)]
    pub subject: Subject,
    pub(crate) listing: ContentRange,
    /// Bytes that saving the entry added to the store.
    pub(crate) added_bytes: u64,
    pub(crate) chunks: Vec<ChunkRef>,
}

impl EntryManifest {
    fn path(&self, id: &Digest) -> String {
        let (key, time) = (name_digits(&self.address.key), self.created.strftime(TIME_IN_NAMES));
        format!("{}/{key}.{time}.{}.json", self.address.directory(), name_digits(id))
    }

    /// Returns the digests of the chunks, each once.
    pub(super) fn chunk_digests(&self) -> HashSet<Digest> {
        self.chunks.iter().map(|chunk| chunk.digest).collect()
    }
}

/// The source of an entry, for output and for comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// A title for output: a path or the name of an image.
    pub title: String,
    /// The names of an image, or labels given by the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// The number of machines of one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nodes: Option<NonZeroU32>,
    /// The time at which the oldest layer above the base image was created, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<Timestamp>,
    /// The flags with which an image is run, if it was built for `larder run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<RunFlags>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inputs: Vec<KeyInput>,
    pub(crate) files: u64,
    /// Bytes of these files.
    pub(crate) bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFlags {
    /// The flags. For environment variables, only the names are stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) flags: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyInput {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) digest: Digest,
}

/// A range of the content of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContentRange {
    /// The offset of the first byte.
    pub(crate) at: u64,
    /// The length in bytes.
    pub(crate) size: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(String, u32, u32)", try_from = "(String, u32, u32)")]
pub(crate) struct ChunkRef {
    /// The digest of the uncompressed bytes.
    pub(crate) digest: Digest,
    /// The number of uncompressed bytes.
    pub(crate) size: u32,
    /// Bytes of the object that holds the chunk.
    pub(crate) stored: u32,
}

impl From<ChunkRef> for (String, u32, u32) {
    fn from(chunk: ChunkRef) -> Self {
        (chunk.digest.hex(), chunk.size, chunk.stored)
    }
}

impl TryFrom<(String, u32, u32)> for ChunkRef {
    type Error = crate::digest::InvalidDigest;

    fn try_from((hex, size, stored): (String, u32, u32)) -> Result<Self, Self::Error> {
        Ok(Self { digest: format!("sha256:{hex}").parse()?, size, stored })
    }
}

impl ChunkRef {
    pub(crate) fn path(digest: &Digest) -> String {
        let hex = digest.hex();
        format!("chunks/{}/{hex}", &hex[..2])
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub(crate) id: Digest,
    pub(super) path: String,
    pub manifest: EntryManifest,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// The manifest has this unknown schema.
    #[error("was written by a newer version of larder ({0})")]
    Newer(String),
    #[error("is invalid: {0}")]
    Damaged(String),
}

impl Entry {
    /// Creates an entry and returns it with its manifest as a line.
    pub(super) fn new(manifest: EntryManifest) -> (Self, Vec<u8>) {
        let line = serde_json::to_vec(&manifest).expect("a manifest has text keys only");
        let id = Digest::of(&line);
        (Self { id, path: manifest.path(&id), manifest }, line)
    }

    /// Splits a manifest into its line and, if it is signed, its signature.
    pub(super) fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
        match text.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                let signature = text[end + 1..].trim_ascii();
                (&text[..end], (!signature.is_empty()).then_some(signature))
            }
            None => (text, None),
        }
    }

    /// Parses a manifest whose digest has been checked.
    pub(super) fn read(name: &EntryName, line: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |error: serde_json::Error| ManifestError::Damaged(error.to_string());
        let schema: SchemaHeader = serde_json::from_slice(line).map_err(damaged)?;
        if schema.schema != SCHEMA {
            return Err(ManifestError::Newer(schema.schema));
        }
        let manifest: EntryManifest = serde_json::from_slice(line).map_err(damaged)?;
        let holds = |span: ContentRange| {
            let bytes: u64 = manifest.chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
            span.at.checked_add(span.size).is_some_and(|end| end <= bytes)
        };
        let id = Digest::of(line);
        if manifest.path(&id) != name.path {
            return Err(ManifestError::Damaged("its path does not match its content".to_owned()));
        }
        let fits = |chunk: &ChunkRef| (1..=MAX_CHUNK_SIZE).contains(&(chunk.size as usize));
        if !manifest.chunks.iter().all(fits) || !holds(manifest.listing) {
            return Err(ManifestError::Damaged("its chunk sizes are inconsistent".to_owned()));
        }
        Ok(Self { id, path: name.path.clone(), manifest })
    }

    pub fn short_id(&self) -> String {
        shorten(&self.id.hex()).to_owned()
    }

    /// Returns the offset of each chunk in the content, followed by the length of the content.
    pub(crate) fn chunk_offsets(&self) -> Vec<u64> {
        let mut at = 0;
        let mut starts = vec![0];
        starts.extend(self.manifest.chunks.iter().map(|chunk| {
            at += u64::from(chunk.size);
            at
        }));
        starts
    }

    pub(super) fn name(&self) -> EntryName {
        EntryName::parse(&self.path).expect("an entry's path is that of its manifest")
    }

    /// Returns when the entry was last used, or saved if it is not in `uses`, the result of `last_uses`.
    pub(super) fn last_used(&self, uses: &HashMap<String, Timestamp>) -> Timestamp {
        let created = self.manifest.created;
        uses.get(&self.digits()).map_or(created, |used| created.max(*used))
    }

    pub(super) fn digits(&self) -> String {
        name_digits(&self.id)
    }
}

fn name_digits(digest: &Digest) -> String {
    digest.hex()[..DIGITS_IN_NAMES].to_owned()
}

#[derive(Deserialize)]
struct SchemaHeader {
    schema: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryName {
    path: String,
    /// The first digits of the manifest's digest.
    pub(super) id: String,
    key: String,
    /// The time of saving; sorts as text.
    created: String,
}

impl EntryName {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn is_of_kind(&self, kind: EntryKind) -> bool {
        self.path.split('/').nth(2) == Some(kind.name())
    }

    /// Returns `true` if `line` is the manifest of this name.
    pub(super) fn is_name_of(&self, line: &[u8]) -> bool {
        name_digits(&Digest::of(line)) == self.id
    }

    pub(super) fn is_for_key(&self, key: &Digest) -> bool {
        name_digits(key) == self.key
    }

    pub(super) fn is_saved_since(&self, time: Timestamp) -> bool {
        self.created >= time.strftime(TIME_IN_NAMES).to_string()
    }

    /// Compares by age, older entries first. Entries of the same age have the same order everywhere.
    pub(super) fn cmp_age(&self, other: &Self) -> std::cmp::Ordering {
        (&self.created, &self.id).cmp(&(&other.created, &other.id))
    }

    /// Returns `None` if `path` is not that of a manifest.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?.strip_suffix(".json")?;
        let (key, rest) = name.split_once('.')?;
        let (created, id) = rest.rsplit_once('.')?;
        let is_digits = |text: &str| {
            text.len() == DIGITS_IN_NAMES
                && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let [key, created, id] = [key, created, id].map(str::to_owned);
        (is_digits(&key) && is_digits(&id)).then(|| Self { path: path.to_owned(), id, key, created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{EntryKind, Lane};

    fn manifest() -> EntryManifest {
        let lane = Lane::try_from("feature/x".to_owned()).unwrap();
        let key = Digest::of(b"key");
        EntryManifest {
            schema: SCHEMA.to_owned(),
            address: Address { lane, kind: EntryKind::Dir, family: ".pip-cache".to_owned(), key },
            created: Timestamp::from_millisecond(1_000).unwrap(),
            subject: Subject { title: ".pip-cache".to_owned(), files: 1, bytes: 3, ..Subject::default() },
            listing: ContentRange { at: 3, size: 2 },
            added_bytes: 9,
            chunks: vec![ChunkRef { digest: Digest::of(b"chunk"), size: 5, stored: 9 }],
        }
    }

    #[test]
    fn the_format_of_manifests_is_stable() {
        let (entry, line) = Entry::new(manifest());
        let text: serde_json::Value = serde_json::from_slice(&line).unwrap();
        insta::assert_json_snapshot!(text);
        insta::assert_snapshot!(entry.path);
        assert_eq!(Entry::read(&entry.name(), &line).unwrap(), entry);
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_schemas_are_refused() {
        let (entry, line) = Entry::new(manifest());
        let text = String::from_utf8(line).unwrap();
        let more = text.replacen('{', "{\"mood\":[1,{\"x\":null}],", 1);
        let path = entry.path.replace(&entry.digits(), &name_digits(&Digest::of(more.as_bytes())));
        let name = EntryName::parse(&path).unwrap();
        assert_eq!(Entry::read(&name, more.as_bytes()).unwrap().manifest, entry.manifest);
        let newer = text.replace(SCHEMA, "larder.entry.v2");
        assert!(matches!(
            Entry::read(&entry.name(), newer.as_bytes()),
            Err(ManifestError::Newer(schema)) if schema == "larder.entry.v2"
        ));
    }

    #[test]
    fn an_inconsistent_manifest_is_damaged() {
        let too_long = EntryManifest { listing: ContentRange { at: 3, size: 3 }, ..manifest() };
        let overflow = EntryManifest { listing: ContentRange { at: u64::MAX, size: 2 }, ..manifest() };
        let chunk = manifest().chunks[0];
        let huge = EntryManifest { chunks: vec![ChunkRef { size: u32::MAX, ..chunk }], ..manifest() };
        let empty = EntryManifest { chunks: vec![ChunkRef { size: 0, ..chunk }, chunk], ..manifest() };
        for manifest in [too_long, overflow, huge, empty] {
            let (entry, line) = Entry::new(manifest);
            assert!(matches!(Entry::read(&entry.name(), &line), Err(ManifestError::Damaged(_))));
        }
    }

    #[test]
    fn foreign_names_are_not_parsed() {
        for path in ["", "x.json", "a/b.c.d.json", ".json", "entries/main/dir/x/README"] {
            assert!(EntryName::parse(path).is_none(), "{path}");
        }
    }
}
