//! Chunks: where content is cut, and how a chunk is stored.

pub(super) mod cutter;
pub(super) mod frame;

/// Bytes of the largest chunk.
pub(super) const LARGEST: usize = 4 << 20;
