//! Renders `larder cache list` and `larder cache info` as text and JSON.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::Serialize;

use crate::amounts::size;
use crate::digest::{Digest, shorten};
use crate::screen_text::screen_text;
use crate::store::{Census, CensusEntry, EntryKind, KeyInput, Lane, RunFlags};

/// Serializes to the JSON of `larder cache list`.
#[derive(Debug, Serialize)]
pub(crate) struct EntryList<'a> {
    schema: &'static str,
    place: &'a str,
    #[serde(rename = "entries")]
    rows: Vec<EntryRow<'a>>,
}

#[derive(Debug, Serialize)]
struct EntryRow<'a> {
    id: String,
    kind: EntryKind,
    key: Digest,
    lane: &'a Lane,
    /// The path of a directory or the name of an image.
    #[serde(rename = "image")]
    title: &'a str,
    tags: &'a [String],
    created: Timestamp,
    last_used: Timestamp,
    /// See [`Address`](crate::store::Address).
    family: &'a str,
    /// Total size of the files in bytes.
    bytes: u64,
    files: u64,
    /// Bytes in the store, including shared chunks.
    bytes_stored: u64,
    /// Bytes that eviction would free.
    bytes_own: u64,
    nodes: NonZeroU32,
}

impl<'a> EntryRow<'a> {
    fn new(listed: &'a CensusEntry) -> Self {
        let manifest = &listed.entry.manifest;
        Self {
            id: listed.entry.short_id(),
            kind: manifest.address.kind,
            key: manifest.address.key,
            lane: &manifest.address.lane,
            title: &manifest.subject.title,
            tags: &manifest.subject.tags,
            created: manifest.created,
            last_used: listed.last_used,
            family: &manifest.address.family,
            bytes: manifest.subject.bytes,
            files: manifest.subject.files,
            bytes_stored: listed.stored_bytes,
            bytes_own: listed.own_bytes,
            nodes: manifest.subject.nodes.unwrap_or(NonZeroU32::MIN),
        }
    }

    fn text(&self, text: &mut String) {
        let _ = writeln!(text, "{}  {} {}", self.id, self.kind, screen_text(self.title));
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:<10} {value}");
        };
        if self.family != self.title {
            line("name", &screen_text(self.family));
        }
        if !self.tags.is_empty() {
            line("tags", &screen_text(&self.tags.join(", ")));
        }
        line("lane", &screen_text(&self.lane.to_string()));
        line("created", &format_time(self.created));
        line("last used", &format_time(self.last_used));
        let parts = match (self.kind, self.files) {
            (EntryKind::Image | EntryKind::Prefix, 1) => "layer",
            (EntryKind::Image | EntryKind::Prefix, _) => "layers",
            (_, 1) => "file",
            _ => "files",
        };
        line("size", &format!("{} in {} {parts}", size(self.bytes), self.files));
        line(
            "stored",
            &format!("{}, of which {} are not shared", size(self.bytes_stored), size(self.bytes_own)),
        );
        if self.nodes.get() > 1 {
            line("nodes", &self.nodes.to_string());
        }
    }
}

impl<'a> EntryList<'a> {
    pub(crate) fn new(census: &'a Census, place: &'a str) -> Self {
        let rows = census.entries.iter().map(EntryRow::new).collect();
        Self { schema: "larder.cache-list.v1", place, rows }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = match self.rows.len() {
            0 => format!("No cache entries in {}\n", self.place),
            1 => format!("1 cache entry in {}:\n", self.place),
            count => format!("{count} cache entries in {}:\n", self.place),
        };
        for row in &self.rows {
            text.push('\n');
            row.text(&mut text);
        }
        text
    }
}

/// Serializes to the JSON of `larder cache info`.
#[derive(Debug, Serialize)]
pub(crate) struct EntryInfo<'a> {
    schema: &'static str,
    #[serde(flatten)]
    entry: EntryRow<'a>,
    digest: Digest,
    chunks: usize,
    inputs: &'a [KeyInput],
    run: Option<&'a RunFlags>,
}

impl<'a> EntryInfo<'a> {
    pub(crate) fn new(listed: &'a CensusEntry) -> Self {
        let manifest = &listed.entry.manifest;
        Self {
            schema: "larder.cache-info.v1",
            entry: EntryRow::new(listed),
            digest: listed.entry.id,
            chunks: manifest.chunks.len(),
            inputs: &manifest.subject.inputs,
            run: manifest.subject.run.as_ref(),
        }
    }

    pub(crate) fn brief_text(&self) -> String {
        let mut text = String::new();
        self.entry.text(&mut text);
        if let Some(RunFlags { flags, command }) = self.run {
            let dashes = (!command.is_empty()).then(|| "--".to_owned());
            let words = flags.iter().chain(&dashes).chain(command);
            let run: Vec<String> = words.map(|word| quote_for_shell(word)).collect();
            let _ = writeln!(text, "  {:<10} {}", "run with", screen_text(&run.join(" ")));
        }
        text
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.brief_text();
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:<10} {value}");
        };
        line("chunks", &self.chunks.to_string());
        line("key", &self.entry.key.to_string());
        line("digest", &self.digest.to_string());
        if !self.inputs.is_empty() {
            text.push_str("  inputs of the key\n");
            for KeyInput { kind, name, digest } in self.inputs {
                let _ = writeln!(text, "    {} {kind} {}", shorten(&digest.hex()), screen_text(name));
            }
        }
        text
    }
}

fn quote_for_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

pub(crate) fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
