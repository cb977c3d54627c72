//! Which bytes of an entry's chunks go where: pure.

use crate::archive::listing::{Listing, NodeKind};

/// A range of the content that is a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its first byte in the content.
    pub(crate) at: u64,
    /// Its bytes.
    pub(crate) size: u64,
    /// The file, as its place in the list.
    pub(crate) node: usize,
    /// Its first byte in the file.
    pub(crate) offset: u64,
}

/// What of the content is needed.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// In the order of the content; no two overlap.
    cuts: Vec<Piece>,
    /// Where each chunk begins, and where the last one ends.
    starts: Vec<u64>,
    /// The chunks that hold one of them, ascending.
    pub(crate) chunks: Vec<usize>,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
}

impl Pieces {
    /// The pieces of the files that are needed, in chunks that begin at `starts`.
    pub(crate) fn new(listing: &Listing, needed: &[bool], starts: &[u64]) -> Self {
        let mut pieces = Vec::new();
        for (node, _) in listing.nodes.iter().enumerate().zip(needed).filter(|(_, needed)| **needed) {
            let (place, node) = node;
            if let NodeKind::File(file) = &node.kind {
                let mut at = file.at;
                for (offset, size) in file.segments() {
                    pieces.push(Piece { at, size, node: place, offset });
                    at += size;
                }
            }
        }
        pieces.sort_unstable_by_key(|piece| piece.at);
        let mut chunks = Vec::new();
        for piece in &pieces {
            let first = starts.partition_point(|start| *start <= piece.at) - 1;
            let behind = starts.partition_point(|start| *start < piece.at + piece.size);
            let known = chunks.last().map_or(0, |last| last + 1);
            chunks.extend(first.max(known)..behind);
        }
        let bytes = pieces.iter().map(|piece| piece.size).sum();
        Self { cuts: pieces, starts: starts.to_owned(), chunks, bytes }
    }

    /// The parts of pieces in a chunk, each with where it begins in the chunk.
    ///
    /// # Panics
    ///
    /// Where a chunk is larger than memory can be.
    pub(crate) fn within(&self, chunk: usize) -> impl Iterator<Item = (usize, Piece)> + '_ {
        let (start, end) = (self.starts[chunk], self.starts[chunk + 1]);
        let first = self.cuts.partition_point(|piece| piece.at + piece.size <= start);
        self.cuts[first..].iter().take_while(move |piece| piece.at < end).map(move |piece| {
            let from = piece.at.max(start);
            let to = (piece.at + piece.size).min(end);
            let cut = Piece { at: from, size: to - from, offset: piece.offset + (from - piece.at), ..*piece };
            (usize::try_from(from - start).expect("a chunk fits into memory"), cut)
        })
    }

    /// The bytes that a chunk has of pieces.
    pub(crate) fn bytes_of(&self, chunk: usize) -> u64 {
        self.within(chunk).map(|(_, piece)| piece.size).sum()
    }
}
