//! A blob that is uploaded while it is being made.
//!
//! Its bytes are written to a temporary file without a name, which any number of readers can read while it grows. A
//! broken upload can therefore be resumed without making the bytes again, and the writer never waits for the network.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::digest::Digest;

/// The writing end. A blob whose writer is dropped before [`BlobWriter::finish`] is abandoned.
pub(crate) struct BlobWriter {
    file: Arc<File>,
    hash: Sha256,
    written: u64,
    state: watch::Sender<BlobState>,
}

#[derive(Debug, Clone)]
pub(crate) struct GrowingBlob {
    file: Arc<File>,
    state: watch::Receiver<BlobState>,
}

#[derive(Debug, Clone, Copy, Default)]
struct BlobState {
    written: u64,
    /// The digest of the complete blob, once the writer has finished.
    digest: Option<Digest>,
}

/// The error of a reader whose writer was dropped before the blob was complete.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the blob was not completed")]
pub(crate) struct AbandonedBlob;

pub(crate) fn growing_blob() -> io::Result<(BlobWriter, GrowingBlob)> {
    let file = Arc::new(tempfile::tempfile()?);
    let (sender, state) = watch::channel(BlobState::default());
    let writer = BlobWriter { file: Arc::clone(&file), hash: Sha256::new(), written: 0, state: sender };
    Ok((writer, GrowingBlob { file, state }))
}

impl BlobWriter {
    pub(crate) fn finish(self) -> (Digest, u64) {
        let digest = Digest::from(<[u8; 32]>::from(self.hash.finalize()));
        self.state.send_modify(|state| state.digest = Some(digest));
        (digest, self.written)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.state.is_closed() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "every reader of the blob was dropped"));
        }
        let written = self.file.write_at(bytes, self.written)?;
        self.hash.update(&bytes[..written]);
        self.written += written as u64;
        self.state.send_modify(|state| state.written = self.written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl GrowingBlob {
    /// Waits until there are bytes at the offset `at` and returns up to `most` of them; returns none at the end of the
    /// blob.
    pub(super) async fn read(&mut self, at: u64, most: usize) -> Result<Bytes, AbandonedBlob> {
        let is_readable = |state: &BlobState| state.written > at || state.digest.is_some();
        let written = self.state.wait_for(is_readable).await.map_err(|_| AbandonedBlob)?.written;
        let size = usize::try_from(written.saturating_sub(at)).map_or(most, |size| size.min(most));
        let file = Arc::clone(&self.file);
        let reading = spawn_blocking(move || {
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, at).map(|()| bytes)
        });
        // A temporary file that cannot be read is treated like a dropped writer.
        Ok(reading.await.map_err(|_| AbandonedBlob)?.map_err(|_| AbandonedBlob)?.into())
    }

    /// Returns `most` bytes from the offset `at`, or fewer at the end of the blob.
    pub(super) async fn read_full(&mut self, at: u64, most: usize) -> Result<Bytes, AbandonedBlob> {
        let is_there = |state: &BlobState| state.written >= at + most as u64 || state.digest.is_some();
        self.state.wait_for(is_there).await.map_err(|_| AbandonedBlob)?;
        self.read(at, most).await
    }

    /// Waits for the end of the blob and returns all of its bytes.
    pub(crate) async fn read_all(&mut self) -> Result<Bytes, AbandonedBlob> {
        let (_, size) = self.complete().await?;
        self.read(0, usize::try_from(size).map_err(|_| AbandonedBlob)?).await
    }

    /// Waits for the end of the blob and returns its digest and its size in bytes.
    pub(crate) async fn complete(&mut self) -> Result<(Digest, u64), AbandonedBlob> {
        let state = *self.state.wait_for(|state| state.digest.is_some()).await.map_err(|_| AbandonedBlob)?;
        state.digest.map(|digest| (digest, state.written)).ok_or(AbandonedBlob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_follows_the_writer_and_can_go_back() {
        let (mut writer, mut blob) = growing_blob().unwrap();
        writer.write_all(b"hello ").unwrap();
        assert_eq!(&blob.read(0, 100).await.unwrap()[..], b"hello ");
        let mut other = blob.clone();
        let waiting = tokio::spawn(async move { other.read_full(6, 5).await });
        writer.write_all(b"wor").unwrap();
        writer.write_all(b"ld").unwrap();
        assert_eq!(&waiting.await.unwrap().unwrap()[..], b"world");
        assert_eq!(writer.finish(), (Digest::of(b"hello world"), 11));
        assert_eq!(&blob.read(3, 4).await.unwrap()[..], b"lo w");
        assert_eq!(blob.read(11, 4).await.unwrap().len(), 0);
        assert_eq!(blob.complete().await.unwrap(), (Digest::of(b"hello world"), 11));
    }

    #[tokio::test]
    async fn either_end_notices_that_the_other_was_dropped() {
        let (mut writer, mut blob) = growing_blob().unwrap();
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert!(blob.read(4, 4).await.is_err() && blob.complete().await.is_err());
        let (mut writer, blob) = growing_blob().unwrap();
        drop(blob);
        assert_eq!(writer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
