//! An entry's manifest: what it is, what it was made for, and the chunks that it is made of.
//!
//! A manifest is one line of JSON (and a second one where it is signed), named
//! `<key>.<created>.<id>.json`; its id is the digest of the line. It never
//! changes. Whatever schema a manifest in `v1/` has, its `chunks` are what it
//! needs, so that any larder can tell what may go.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Address;
use crate::digest::Digest;

/// The schema that this larder writes and understands.
pub const SCHEMA: &str = "larder.entry.v1";
/// Digits of an id that are shown.
const SHORT_ID: usize = 12;

/// What is kept of an entry beside its chunks.
///
/// An entry's content is one stream of bytes: that of its chunks, one after
/// the other. What it means is up to the entry's kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `larder.entry.v1`.
    pub schema: String,
    /// Where it stands.
    #[serde(flatten)]
    pub address: Address,
    /// When it was saved.
    pub created: Timestamp,
    /// What was saved.
    #[serde(flatten)]
    pub subject: Subject,
    /// Where in the content the list of what it holds stands.
    pub listing: Span,
    /// Bytes that saving it added to the store.
    pub added_bytes: u64,
    /// What the content is made of, in order.
    pub chunks: Vec<ChunkRef>,
}

/// What an entry was saved from, for people and for comparing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// What it is, for people: a path, the name of an image.
    pub title: String,
    /// The image's names or the user's own words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Machines that one run took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NonZeroU32>,
    /// What its key was made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<KeyInput>,
    /// Files in it.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
}

/// One input of an entry's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInput {
    /// What kind of input it is.
    pub kind: String,
    /// Its name among its kind.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
}

/// A range of an entry's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its first byte.
    pub at: u64,
    /// Its bytes.
    pub size: u64,
}

/// A chunk of an entry's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(String, u32, u32)", try_from = "(String, u32, u32)")]
pub struct ChunkRef {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub size: u32,
    /// The bytes of the object that holds it.
    pub stored: u32,
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
    /// The path of the object that holds `digest`.
    pub fn path(digest: &Digest) -> String {
        let hex = digest.hex();
        format!("chunks/{}/{hex}", &hex[..2])
    }
}

/// An entry: its manifest and where that stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The digest of the manifest.
    pub id: Digest,
    /// The manifest's path in the backend.
    pub(super) path: String,
    /// The manifest.
    pub manifest: Manifest,
}

impl Entry {
    /// The digits of its id that are shown.
    pub fn short_id(&self) -> String {
        self.id.hex()[..SHORT_ID].to_owned()
    }
}
