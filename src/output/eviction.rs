//! Renders `larder cache evict` and `larder cache clear` as text and JSON.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::entries::format_time;
use crate::amounts::{count, size};
use crate::screen_text::screen_text;
use crate::store::{EntryKind, EvictedEntry, EvictionCause, Lane, SweepReport};

/// Serializes to the commands' JSON.
#[derive(Debug, Serialize)]
pub(crate) struct EvictionReport<'a> {
    schema: &'static str,
    dry_run: bool,
    evicted: Vec<EvictedRow<'a>>,
    #[serde(flatten)]
    swept: &'a SweepReport,
}

#[derive(Debug, Serialize)]
struct EvictedRow<'a> {
    id: String,
    kind: EntryKind,
    lane: &'a Lane,
    image: &'a str,
    last_used: Timestamp,
    cause: EvictionCause,
}

impl<'a> EvictionReport<'a> {
    pub(crate) fn new(swept: &'a SweepReport, dry_run: bool) -> Self {
        let row = |evicted: &'a EvictedEntry| {
            let manifest = &evicted.entry.manifest;
            EvictedRow {
                id: evicted.entry.short_id(),
                kind: manifest.address.kind,
                lane: &manifest.address.lane,
                image: &manifest.subject.title,
                last_used: evicted.last_used,
                cause: evicted.cause,
            }
        };
        Self {
            schema: "larder.cache-evict.v1",
            dry_run,
            evicted: swept.evicted.iter().map(row).collect(),
            swept,
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.evicted {
            let cause = match row.cause {
                EvictionCause::Asked => "requested",
                EvictionCause::Superseded => "replaced by a newer entry",
                EvictionCause::Unused => "not used for too long",
                EvictionCause::TooMany => "exceeds the limit on entries",
                EvictionCause::TooLarge => "exceeds the limit on size",
            };
            let used = format_time(row.last_used);
            let _ = writeln!(
                text,
                "  {}  {} {} ({}), last used {used}: {cause}",
                row.id,
                row.kind,
                screen_text(row.image),
                screen_text(&row.lane.to_string())
            );
        }
        let (verb, what) =
            if self.dry_run { ("would free", "would be removed") } else { ("freed", "removed") };
        let entries = |number: usize| count(number, "entry", "entries");
        let (gone, kept) = (entries(self.evicted.len()), entries(self.swept.kept_entries));
        let _ = writeln!(
            text,
            "{gone} {what}, {verb} {}; {kept} left, {}",
            size(self.swept.freed_bytes),
            size(self.swept.kept_bytes)
        );
        text
    }
}
