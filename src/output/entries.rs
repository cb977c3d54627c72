//! `larder cache list` and `larder cache info`, for people and for programs.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::Serialize;

use crate::amounts::size;
use crate::digest::Digest;
use crate::screen_text::screen_text;
use crate::store::{Census, EntryKind, KeyInput, Lane, Listed, RunFlags};

/// Digits of a digest that are shown.
const SHORT: usize = 12;

/// What `larder cache list` shows; serializes to its JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Entries<'a> {
    schema: &'static str,
    place: &'a str,
    #[serde(rename = "entries")]
    rows: Vec<Row<'a>>,
}

/// An entry in a list.
#[derive(Debug, Serialize)]
struct Row<'a> {
    id: String,
    kind: EntryKind,
    key: Digest,
    lane: &'a Lane,
    /// What it is: a directory's path, an image's name.
    #[serde(rename = "image")]
    title: &'a str,
    tags: &'a [String],
    created: Timestamp,
    last_used: Timestamp,
    /// Those of one family can stand in for each other: a directory's name.
    family: &'a str,
    /// Bytes of its files.
    bytes: u64,
    files: u64,
    /// Bytes that it takes in the store, what it shares among them.
    bytes_stored: u64,
    /// Bytes that evicting it would free.
    bytes_own: u64,
    nodes: NonZeroU32,
}

impl<'a> Row<'a> {
    fn new(listed: &'a Listed) -> Self {
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
        line("created", &moment(self.created));
        line("last used", &moment(self.last_used));
        let parts = match (self.kind, self.files) {
            (EntryKind::Image, 1) => "layer",
            (EntryKind::Image, _) => "layers",
            (_, 1) => "file",
            _ => "files",
        };
        line("size", &format!("{} in {} {parts}", size(self.bytes), self.files));
        line(
            "stored",
            &format!("{}, of which {} are its alone", size(self.bytes_stored), size(self.bytes_own)),
        );
        if self.nodes.get() > 1 {
            line("nodes", &self.nodes.to_string());
        }
    }
}

impl<'a> Entries<'a> {
    /// The entries of a census of `place`.
    pub(crate) fn new(census: &'a Census, place: &'a str) -> Self {
        let rows = census.entries.iter().map(Row::new).collect();
        Self { schema: "larder.cache-list.v1", place, rows }
    }

    /// The list for people.
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

/// What `larder cache info` shows; serializes to its JSON.
#[derive(Debug, Serialize)]
pub(crate) struct EntryInfo<'a> {
    schema: &'static str,
    #[serde(flatten)]
    entry: Row<'a>,
    /// The whole id.
    digest: Digest,
    chunks: usize,
    inputs: &'a [KeyInput],
    /// How it was to be run, if it was made for that.
    run: Option<&'a RunFlags>,
}

impl<'a> EntryInfo<'a> {
    /// All that is known of an entry.
    pub(crate) fn new(listed: &'a Listed) -> Self {
        let manifest = &listed.entry.manifest;
        Self {
            schema: "larder.cache-info.v1",
            entry: Row::new(listed),
            digest: listed.entry.id,
            chunks: manifest.chunks.len(),
            inputs: &manifest.subject.inputs,
            run: manifest.subject.run.as_ref(),
        }
    }

    /// What the entry is, for people.
    pub(crate) fn brief(&self) -> String {
        let mut text = String::new();
        self.entry.text(&mut text);
        if let Some(RunFlags { flags, command }) = self.run {
            let command =
                if command.is_empty() { Vec::new() } else { [&["--".to_owned()], &command[..]].concat() };
            let run: Vec<String> = flags.iter().chain(&command).map(|word| quoted(word)).collect();
            let _ = writeln!(text, "  {:<10} {}", "run with", screen_text(&run.join(" ")));
        }
        text
    }

    /// The entry for people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.brief();
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "  {label:<10} {value}");
        };
        line("chunks", &self.chunks.to_string());
        line("key", &self.entry.key.to_string());
        line("digest", &self.digest.to_string());
        if !self.inputs.is_empty() {
            text.push_str("  the key is made of\n");
            for KeyInput { kind, name, digest } in self.inputs {
                let _ = writeln!(text, "    {} {kind} {}", &digest.hex()[..SHORT], screen_text(name));
            }
        }
        text
    }
}

/// A word as it is typed into a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A moment to the second.
fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
