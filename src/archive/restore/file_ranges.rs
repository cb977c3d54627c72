//! Maps the chunks of an entry to ranges of its files. Pure.

use crate::archive::listing::Listing;

/// A range of the content that belongs to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileRange {
    /// The offset in the content.
    pub(crate) at: u64,
    pub(crate) size: u64,
    /// The index of the file in the listing.
    pub(crate) node: usize,
    /// The offset in the file.
    pub(crate) offset: u64,
}

/// The ranges of the content that must be restored.
#[derive(Debug)]
pub(crate) struct FileRanges {
    /// Sorted by offset, without overlaps.
    ranges: Vec<FileRange>,
    /// The offset of each chunk, and the end of the last one.
    starts: Vec<u64>,
    /// The indices of the chunks that contain such ranges, ascending.
    pub(crate) chunks: Vec<usize>,
    pub(crate) bytes: u64,
}

impl FileRanges {
    /// Creates the ranges of the files for which `needed` is `true`. `starts` contains the offset of each chunk and the
    /// end of the last one.
    pub(crate) fn new(listing: &Listing, needed: &[bool], starts: &[u64]) -> Self {
        let mut pieces = Vec::new();
        for (place, (node, _)) in
            listing.nodes.iter().zip(needed).enumerate().filter(|(_, (_, needed))| **needed)
        {
            let Some(file) = node.file() else { continue };
            let mut at = file.at;
            for (offset, size) in file.segments() {
                pieces.push(FileRange { at, size, node: place, offset });
                at += size;
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
        Self { ranges: pieces, starts: starts.to_owned(), chunks, bytes }
    }

    /// Returns the ranges in a chunk, each with its offset in the chunk.
    pub(crate) fn in_chunk(&self, chunk: usize) -> impl Iterator<Item = (usize, FileRange)> + '_ {
        let (start, end) = (self.starts[chunk], self.starts[chunk + 1]);
        let first = self.ranges.partition_point(|piece| piece.at + piece.size <= start);
        self.ranges[first..].iter().take_while(move |piece| piece.at < end).map(move |piece| {
            let from = piece.at.max(start);
            let to = (piece.at + piece.size).min(end);
            let cut =
                FileRange { at: from, size: to - from, offset: piece.offset + (from - piece.at), ..*piece };
            (usize::try_from(from - start).expect("a chunk fits into memory"), cut)
        })
    }

    /// Returns the number of bytes in a chunk that must be restored.
    pub(crate) fn bytes_of(&self, chunk: usize) -> u64 {
        self.in_chunk(chunk).map(|(_, piece)| piece.size).sum()
    }
}
