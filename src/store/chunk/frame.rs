//! The format of a chunk as an object: one zstd frame with the size of its content, which `zstd -d` can read.
//!
//! Content that zstd cannot compress (wheels, compressed layers) is stored as raw blocks. See RFC 8878, sections
//! 3.1.1.1 (frame header) and 3.1.1.2 (blocks).

use std::io;

use super::MAX_CHUNK_SIZE;

const COMPRESSION_LEVEL: i32 = 1;
/// Bytes that are compressed first. If they do not shrink, the rest is not tried.
const SAMPLE_SIZE: usize = 64 << 10;
/// A frame is compressed if its size is at most this percentage of the content.
const MAX_COMPRESSED_PERCENT: usize = 97;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A single segment with a content size of four bytes, and without a checksum because the chunk's address is one.
const DESCRIPTOR: u8 = 0b1010_0000;
const MAX_BLOCK_SIZE: usize = 128 << 10;

pub(in crate::store) const MAX_FRAME_SIZE: usize =
    MAX_CHUNK_SIZE + 9 + 3 * (MAX_CHUNK_SIZE / MAX_BLOCK_SIZE + 1);

/// Creates frames. Each thread has its own, with the state of the compressor.
pub(in crate::store) struct Encoder(zstd::bulk::Compressor<'static>);

impl Encoder {
    pub(in crate::store) fn new() -> io::Result<Self> {
        zstd::bulk::Compressor::new(COMPRESSION_LEVEL).map(Self)
    }

    /// Returns the frame of a chunk of at least one byte.
    pub(in crate::store) fn encode(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        if chunk.len() > 2 * SAMPLE_SIZE {
            let middle = (chunk.len() - SAMPLE_SIZE) / 2;
            if !is_smaller(&self.0.compress(&chunk[middle..middle + SAMPLE_SIZE])?, SAMPLE_SIZE) {
                return Ok(raw_frame(chunk));
            }
        }
        let frame = self.0.compress(chunk)?;
        Ok(if is_smaller(&frame, chunk.len()) { frame } else { raw_frame(chunk) })
    }
}

fn is_smaller(frame: &[u8], size: usize) -> bool {
    frame.len() * 100 <= size * MAX_COMPRESSED_PERCENT
}

fn raw_frame(chunk: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(chunk.len() + 9 + 3 * (chunk.len() / MAX_BLOCK_SIZE + 1));
    let size = u32::try_from(chunk.len()).expect("a chunk is at most four megabytes");
    frame.extend(MAGIC);
    frame.push(DESCRIPTOR);
    frame.extend(size.to_le_bytes());
    let blocks = chunk.len().div_ceil(MAX_BLOCK_SIZE);
    for (number, block) in chunk.chunks(MAX_BLOCK_SIZE).enumerate() {
        let length = u32::try_from(block.len()).expect("a block is at most 128 kilobytes");
        let header = u32::from(number + 1 == blocks) | (length << 3);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

/// Returns the chunk of a frame. A frame that declares a size above [`MAX_CHUNK_SIZE`] is not unpacked.
pub(in crate::store) fn decode(frame: &[u8]) -> io::Result<Vec<u8>> {
    let damaged = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let size = match zstd::zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
        _ => return Err(damaged("it is not a zstd frame with a content size")),
    };
    if size > MAX_CHUNK_SIZE {
        return Err(damaged("it declares more content than the limit of a chunk"));
    }
    let chunk = zstd::bulk::decompress(frame, size).map_err(|error| damaged(&error.to_string()))?;
    if chunk.len() == size { Ok(chunk) } else { Err(damaged("it has less content than it declares")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::noise;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_decoded_frame_equals_the_chunk(size in 1..600_000_usize, random in any::<bool>()) {
            let chunk = if random { noise(1, size) } else { vec![7; size] };
            let frame = Encoder::new().unwrap().encode(&chunk).unwrap();
            prop_assert_eq!(decode(&frame).unwrap(), chunk);
        }
    }

    #[test]
    fn incompressible_content_has_almost_no_overhead() {
        for size in [1, 100, MAX_BLOCK_SIZE, MAX_BLOCK_SIZE + 1, MAX_CHUNK_SIZE] {
            let frame = Encoder::new().unwrap().encode(&noise(1, size)).unwrap();
            assert!(frame.len() <= size + 12 + 3 * (size / MAX_BLOCK_SIZE), "{size}: {}", frame.len());
            assert!(frame.len() <= MAX_FRAME_SIZE);
            assert_eq!(decode(&frame).unwrap().len(), size);
        }
        let text = b"numpy==1.26.4\n".repeat(10_000);
        assert!(Encoder::new().unwrap().encode(&text).unwrap().len() < 1000);
    }

    #[test]
    fn a_decompression_bomb_is_refused_before_it_is_unpacked() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).unwrap();
        assert!(bomb.len() < 100_000);
        assert!(decode(&bomb).unwrap_err().to_string().contains("more content than the limit"));
        let mut liar = bomb.clone();
        // The content size follows the magic number and the descriptor.
        liar[5..9].copy_from_slice(&1000_u32.to_le_bytes());
        assert!(decode(&liar).is_err());
        for frame in [&b""[..], b"text", &MAGIC] {
            assert!(decode(frame).is_err());
        }
    }

    #[test]
    fn a_flipped_bit_or_a_truncated_frame_is_detected() {
        let chunk = b"some words that zstd makes smaller, ".repeat(50);
        let frame = Encoder::new().unwrap().encode(&chunk).unwrap();
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&damaged).map_or(true, |decoded| decoded != chunk || bit < 72), "bit {bit}");
        }
        for end in 0..frame.len() {
            assert!(decode(&frame[..end]).is_err(), "cut at {end}");
        }
    }
}
