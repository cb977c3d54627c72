//! Decides which chunks of an earlier entry a new one reuses.
//!
//! Pure. A chunk is reused if at least half of its bytes are still needed. Files in other chunks are read again, which
//! may reduce the needed bytes of further chunks.

/// The chunks of an earlier entry that a new one reuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReusePlan {
    /// The indices of the chunks, ascending.
    pub(crate) chunks: Vec<usize>,
    /// For each span, `true` if it is completely in the reused chunks.
    pub(crate) kept: Vec<bool>,
    /// The offset of each chunk of the earlier entry, and the end of the last one.
    starts: Vec<u64>,
    /// The offset of each reused chunk in their concatenation.
    places: Vec<u64>,
}

impl ReusePlan {
    /// Creates a plan for chunks of these sizes and for spans (offset, size) of needed content.
    ///
    /// Spans must be within the chunks and must not overlap.
    pub(crate) fn new(sizes: &[u32], spans: &[(u64, u64)]) -> Self {
        let mut starts = vec![0_u64];
        starts.extend(sizes.iter().scan(0_u64, |end, size| {
            *end += u64::from(*size);
            Some(*end)
        }));
        let touched = |at: u64, size: u64| -> std::ops::Range<usize> {
            if size == 0 {
                return 0..0;
            }
            let first = starts.partition_point(|start| *start <= at) - 1;
            let last = starts.partition_point(|start| *start < at + size) - 1;
            first..last + 1
        };
        let share = |chunk: usize, at: u64, size: u64| {
            (at + size).min(starts[chunk + 1]).saturating_sub(at.max(starts[chunk]))
        };
        let mut wanted = vec![0_u64; sizes.len()];
        let mut holds: Vec<Vec<usize>> = vec![Vec::new(); sizes.len()];
        for (span, (at, size)) in spans.iter().enumerate() {
            for chunk in touched(*at, *size) {
                wanted[chunk] += share(chunk, *at, *size);
                holds[chunk].push(span);
            }
        }
        let mut kept = vec![true; spans.len()];
        let mut dropped = vec![false; sizes.len()];
        let unwanted =
            |chunk: usize, wanted: &[u64]| wanted[chunk] * 2 < u64::from(sizes[chunk]) || wanted[chunk] == 0;
        let mut open: Vec<usize> = (0..sizes.len()).filter(|chunk| unwanted(*chunk, &wanted)).collect();
        while let Some(chunk) = open.pop() {
            if std::mem::replace(&mut dropped[chunk], true) {
                continue;
            }
            for span in std::mem::take(&mut holds[chunk]) {
                if !std::mem::replace(&mut kept[span], false) {
                    continue;
                }
                let (at, size) = spans[span];
                for other in touched(at, size) {
                    wanted[other] -= share(other, at, size);
                    if unwanted(other, &wanted) {
                        open.push(other);
                    }
                }
            }
        }
        let chunks: Vec<usize> = (0..sizes.len()).filter(|chunk| !dropped[*chunk]).collect();
        let places = chunks.iter().scan(0_u64, |end, chunk| {
            let place = *end;
            *end += u64::from(sizes[*chunk]);
            Some(place)
        });
        Self { places: places.collect(), chunks, kept, starts }
    }

    /// Returns the new offset of a byte of a kept span, relative to the first reused chunk.
    pub(crate) fn new_offset(&self, at: u64) -> Option<u64> {
        let chunk = self.starts.partition_point(|start| *start <= at).checked_sub(1)?;
        let place = self.chunks.binary_search(&chunk).ok()?;
        Some(self.places[place] + (at - self.starts[chunk]))
    }
}
