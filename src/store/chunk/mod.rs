//! Chunks: how content is cut, and how a chunk is stored.

pub(super) mod cutter;
pub(super) mod frame;

/// The largest chunk in bytes.
pub(super) const LARGEST: usize = 4 << 20;
