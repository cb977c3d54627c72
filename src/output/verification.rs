//! Renders `larder cache verify` as text and JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::amounts::{count, size};
use crate::store::VerifyResult;
use crate::store::backend::FaultReason;

/// The result of a verification; serializes to the command's JSON.
#[derive(Debug, Serialize)]
pub(crate) struct VerificationReport {
    schema: &'static str,
    repaired: bool,
    entries_whole: usize,
    entries_broken: Vec<String>,
    chunks: usize,
    bytes: u64,
    chunks_healed: usize,
    faults: Vec<VerificationFault>,
}

#[derive(Debug, Serialize)]
struct VerificationFault {
    reason: FaultReason,
    message: String,
}

impl VerificationReport {
    /// Returns the result with the given messages of faults; `repaired` is `true` if faults were to be repaired.
    pub(crate) fn new(verified: &VerifyResult, faults: Vec<(FaultReason, String)>, repaired: bool) -> Self {
        let title = |entry: &crate::store::Entry| {
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
            faults: faults
                .into_iter()
                .map(|(reason, message)| VerificationFault { reason, message })
                .collect(),
        }
    }

    /// Returns `true` if there were no faults.
    pub(crate) fn has_no_faults(&self) -> bool {
        self.entries_broken.is_empty() && self.faults.is_empty()
    }

    /// Returns `true` if every entry is complete now.
    pub(crate) fn has_only_complete_entries(&self) -> bool {
        self.entries_broken.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for VerificationFault { message, .. } in &self.faults {
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
