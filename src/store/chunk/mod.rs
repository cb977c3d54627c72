//! Chunks: how content is cut, and how a chunk is stored.

pub(super) mod cutter;
pub(super) mod frame;

pub(super) const MAX_CHUNK_SIZE: usize = 4 << 20;
