//! Renders `larder cache stats` as text and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::table;
use super::table::Align::{Left, Right};
use crate::amounts::{count, size};
use crate::store::{Census, CensusEntry, EntryKind, Lane, StoreLimits};

/// Serializes to the command's JSON.
#[derive(Debug, Serialize)]
pub(crate) struct CacheUsage<'a> {
    schema: &'static str,
    place: &'a str,
    /// The number of entries besides prefixes.
    entries: usize,
    prefixes: usize,
    /// The limit on entries, which applies to prefixes separately.
    limit_entries: Option<usize>,
    /// Bytes of all chunks as stored.
    bytes_stored: u64,
    /// Bytes of the contents of all entries, without sharing and compression.
    bytes_logical: u64,
    /// Bytes of chunks that no entry needs.
    bytes_unused: u64,
    limit_bytes: Option<u64>,
    chunks: usize,
    lanes: Vec<LaneUsage<'a>>,
    /// Bytes of the engine's build cache, if known.
    pub(crate) engine_build_cache_bytes: Option<u64>,
    /// The key for signatures of new entries, in base64.
    pub(crate) public_key: Option<String>,
    pub(crate) registries: Vec<RegistryUsage>,
    /// The tags that larder may not delete, by repository.
    pub(crate) undeleted: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RegistryUsage {
    /// `HOST/PATH`.
    pub(crate) repository: String,
    pub(crate) images: usize,
    /// Total size of the images, without sharing of layers.
    pub(crate) bytes: u64,
    /// The day on which one of them was last pulled.
    pub(crate) last_pull: Option<Timestamp>,
}

/// The entries of one kind in one lane.
#[derive(Debug, Serialize)]
pub(super) struct LaneUsage<'a> {
    pub(super) kind: EntryKind,
    pub(super) lane: &'a Lane,
    pub(super) entries: usize,
    /// Bytes of the contents, without sharing and compression.
    pub(super) bytes: u64,
}

/// Counts the entries of each kind and lane.
pub(super) fn lane_usages(census: &Census) -> Vec<LaneUsage<'_>> {
    let mut lanes: BTreeMap<(EntryKind, &Lane), (usize, u64)> = BTreeMap::new();
    for listed in &census.entries {
        let manifest = &listed.entry.manifest;
        let sums = lanes.entry((manifest.address.kind, &manifest.address.lane)).or_default();
        *sums = (sums.0 + 1, sums.1 + manifest.subject.bytes);
    }
    let usage = |((kind, lane), (entries, bytes))| LaneUsage { kind, lane, entries, bytes };
    lanes.into_iter().map(usage).collect()
}

impl<'a> CacheUsage<'a> {
    /// Returns the usage of `place` alone; the usage of engines and registries remains to be set.
    pub(crate) fn new(census: &'a Census, place: &'a str, limits: StoreLimits) -> Self {
        let is_prefix = |listed: &&CensusEntry| listed.entry.manifest.address.kind == EntryKind::Prefix;
        let prefixes = census.entries.iter().filter(is_prefix).count();
        Self {
            schema: "larder.cache-stats.v1",
            place,
            entries: census.entries.len() - prefixes,
            prefixes,
            limit_entries: limits.max_entries,
            bytes_stored: census.bytes_stored,
            bytes_logical: census.bytes_logical,
            bytes_unused: census.bytes_unused,
            limit_bytes: limits.max_bytes,
            chunks: census.chunks,
            lanes: lane_usages(census),
            engine_build_cache_bytes: None,
            public_key: None,
            registries: Vec::new(),
            undeleted: BTreeMap::new(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let of = |value: String, limit: Option<String>| match limit {
            Some(limit) => format!("{value} / {limit}"),
            None => format!("{value}, no limit"),
        };
        let mut text = format!("Cache: {}\n", self.place);
        let mut line = |label: &str, value: &str| {
            let _ = writeln!(text, "{label}: {value}");
        };
        let limit = self.limit_entries.map(|limit| limit.to_string());
        line("Entries", &of(self.entries.to_string(), limit.clone()));
        if self.prefixes > 0 {
            line("Prefixes", &of(self.prefixes.to_string(), limit));
        }
        line("Stored", &of(size(self.bytes_stored), self.limit_bytes.map(size)));
        if let Some(limit) = self.limit_bytes {
            line("Usage", &format!("{:.1}%", fraction(self.bytes_stored, limit) * 100.0));
        }
        // An empty cache saves nothing.
        if self.bytes_logical > 0 {
            let saved = 1.0 - fraction(self.bytes_stored, self.bytes_logical.max(self.bytes_stored));
            let before = size(self.bytes_logical);
            line("Before sharing and compression", &format!("{before} ({:.1}% saved)", saved * 100.0));
        }
        if self.bytes_unused > 0 {
            line("Unused chunks", &format!("{}; the next eviction removes them", size(self.bytes_unused)));
        }
        line("Engine's build cache", &self.engine_build_cache_bytes.map_or("unknown".to_owned(), size));
        for RegistryUsage { repository, images, bytes, last_pull } in &self.registries {
            let pulled = last_pull.map_or("never pulled".to_owned(), |last| {
                format!("last pulled on {}", last.strftime("%Y-%m-%d"))
            });
            line(repository, &format!("{}, {}, {pulled}", count(*images, "image", "images"), size(*bytes)));
        }
        for (repository, tags) in &self.undeleted {
            line(&format!("Old prefixes that larder may not delete from {repository}"), &tags.join(", "));
        }
        if let Some(key) = &self.public_key {
            line("Entries are signed with", key);
        }
        if !self.lanes.is_empty() {
            let columns = [("kind", Left), ("lane", Left), ("entries", Right), ("size", Right)];
            let row = |usage: &LaneUsage<'_>| {
                [usage.kind.to_string(), usage.lane.to_string(), usage.entries.to_string(), size(usage.bytes)]
            };
            text.push_str(&table::render(columns, &self.lanes.iter().map(row).collect::<Vec<_>>()));
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown to one digit")]
fn fraction(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
