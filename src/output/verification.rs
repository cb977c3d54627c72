//! Renders `larder cache verify` as text and JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::amounts::{count, size};
use crate::store::{Entry, FaultRecord, VerifyResult};

/// Serializes to the command's JSON.
#[derive(Debug, Serialize)]
pub(crate) struct VerificationReport {
    schema: &'static str,
    repaired: bool,
    entries_whole: usize,
    entries_broken: Vec<String>,
    chunks: usize,
    bytes: u64,
    chunks_healed: usize,
    faults: Vec<FaultRecord>,
}

impl VerificationReport {
    /// Creates the report; `repaired` is `true` if faults were to be repaired.
    pub(crate) fn new(verified: &VerifyResult, repaired: bool) -> Self {
        let title = |entry: &Entry| {
            format!("{} {} {}", entry.short_id(), entry.manifest.address.kind, entry.manifest.subject.title)
        };
        Self {
            schema: "larder.cache-verify.v1",
            repaired,
            entries_whole: verified.complete_entries,
            entries_broken: verified.broken_entries.iter().map(title).collect(),
            chunks: verified.chunks,
            bytes: verified.bytes,
            chunks_healed: verified.repaired_chunks,
            faults: verified.faults.iter().map(FaultRecord::from).collect(),
        }
    }

    /// Returns `true` if all entries are complete, and there were no faults or they were repaired.
    pub(crate) fn is_undamaged(&self) -> bool {
        self.entries_broken.is_empty() && (self.repaired || self.faults.is_empty())
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for FaultRecord { message, .. } in &self.faults {
            let _ = writeln!(text, "  {message}");
        }
        for entry in &self.entries_broken {
            let what = if self.repaired { "is incomplete and was set aside" } else { "is incomplete" };
            let _ = writeln!(text, "  {entry} {what}");
        }
        if self.chunks_healed > 0 {
            let healed = count(self.chunks_healed, "chunk was", "chunks were");
            let _ = writeln!(text, "  {healed} restored");
        }
        let _ = writeln!(
            text,
            "{} complete, {} not; {} with {} read",
            count(self.entries_whole, "entry is", "entries are"),
            count(self.entries_broken.len(), "is", "are"),
            count(self.chunks, "chunk", "chunks"),
            size(self.bytes)
        );
        text
    }
}
