//! Cuts a stream into chunks by its content (`FastCDC`, Xia et al. 2020), so that an insertion moves only the cuts near
//! it.

use std::io::{self, Read};

use fastcdc::v2020::FastCDC;

use super::MAX_CHUNK_SIZE;

const MIN_CHUNK_SIZE: usize = 256 << 10;
const AVERAGE_CHUNK_SIZE: usize = 1 << 20;
const BUFFER_SIZE: usize = 2 * MAX_CHUNK_SIZE;

#[derive(Debug)]
pub(in crate::store) struct Cutter {
    /// Always has its full length, because readers may return a few bytes at a time.
    buffer: Vec<u8>,
    filled: usize,
    /// The offset of the buffer in the stream.
    buffer_offset: u64,
}

impl Cutter {
    pub(in crate::store) fn new() -> Self {
        Self { buffer: vec![0; BUFFER_SIZE], filled: 0, buffer_offset: 0 }
    }

    pub(in crate::store) fn position(&self) -> u64 {
        self.buffer_offset + self.filled as u64
    }

    /// Starts at a different offset. No bytes may have been taken yet.
    pub(in crate::store) fn start_at(&mut self, position: u64) {
        self.buffer_offset = position;
    }

    /// Takes up to `size` bytes from `reader` and passes complete chunks to `chunk`. Returns 0 at the end of the
    /// reader.
    pub(in crate::store) fn fill_from<E: From<io::Error>>(
        &mut self,
        reader: &mut dyn Read,
        size: u64,
        chunk: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<usize, E> {
        let room = BUFFER_SIZE - self.filled;
        let wanted = usize::try_from(size).map_or(room, |size| size.min(room));
        let read = loop {
            match reader.read(&mut self.buffer[self.filled..self.filled + wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.filled += read;
        if self.filled == BUFFER_SIZE {
            self.cut_off(MAX_CHUNK_SIZE, chunk)?;
        }
        Ok(read)
    }

    pub(in crate::store) fn flush<E>(
        &mut self,
        chunk: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.cut_off(1, chunk)
    }

    /// Cuts while the buffer has at least `least` bytes; a cut depends on up to [`MAX_CHUNK_SIZE`] bytes.
    fn cut_off<E>(&mut self, least: usize, chunk: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let cutter =
            FastCDC::new(&self.buffer[..self.filled], MIN_CHUNK_SIZE, AVERAGE_CHUNK_SIZE, MAX_CHUNK_SIZE);
        let mut done = 0;
        while self.filled - done >= least {
            let (_, end) = cutter.cut(done, self.filled - done);
            chunk(&self.buffer[done..end])?;
            done = end;
        }
        self.buffer.copy_within(done..self.filled, 0);
        self.filled -= done;
        self.buffer_offset += done as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Digest;

    fn chunks(content: &[u8], step: usize) -> Vec<Digest> {
        let (mut cutter, mut found) = (Cutter::new(), Vec::new());
        let mut chunk = |chunk: &[u8]| {
            assert!(!chunk.is_empty() && chunk.len() <= MAX_CHUNK_SIZE);
            found.push(Digest::of(chunk));
            Ok::<(), io::Error>(())
        };
        let mut rest = content;
        while cutter.fill_from(&mut rest, step as u64, &mut chunk).unwrap() > 0 {}
        assert_eq!(cutter.position(), content.len() as u64);
        cutter.flush(&mut chunk).unwrap();
        found
    }

    fn noise(size: usize) -> Vec<u8> {
        let mut state = 1_u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()
        })
        .flatten()
        .take(size)
        .collect()
    }

    #[test]
    fn cuts_depend_only_on_the_content() {
        let content = noise(20_000_000);
        let whole = chunks(&content, 100_000_000);
        assert!((10..60).contains(&whole.len()), "{}", whole.len());
        for step in [777_777, 4_000_000] {
            assert_eq!(chunks(&content, step), whole);
        }
        assert_eq!(chunks(&[], 1), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn an_insertion_changes_few_chunks(at in 0..10_000_000_usize, size in 1..1000_usize) {
            let content = noise(10_000_000);
            let mut changed = content.clone();
            changed.splice(at..at, std::iter::repeat_n(0, size));
            let before = chunks(&content, 10_000_000);
            let after = chunks(&changed, 10_000_000);
            let new = after.iter().filter(|chunk| !before.contains(chunk)).count();
            prop_assert!(new <= 3, "{} new chunks of {}", new, after.len());
        }
    }

    /// Entries of different versions of larder share chunks only if this holds.
    #[test]
    fn cuts_are_the_same_in_every_version() {
        let all: Vec<u8> = chunks(&noise(20_000_000), 1 << 20).iter().flat_map(|d| *d.as_bytes()).collect();
        insta::assert_snapshot!(Digest::of(&all));
    }
}
