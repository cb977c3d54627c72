//! Copies an image from one repository to another.
//!
//! Within a registry, missing blobs are mounted and no data is transferred; otherwise they are streamed in parts. If a
//! connection breaks, the upload continues after the bytes that the registry has received; if the registry has lost the
//! upload, the blob is sent again from its beginning.

use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};
use reqwest::header::{HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::connection::RegistryRequest;
use super::upload::{PART_SIZE, UploadContent, UploadError};
use super::{RegistryError, Repository, StoredManifest};
use crate::digest::Digest;
use crate::http_retry::Attempts;

const MISSING_PART: &str = "a part of the image is missing";

/// A callback that receives the number of bytes transferred and the total known so far.
pub(crate) type TransferCallback<'a> = dyn FnMut(u64, u64) + Send + 'a;

impl Repository {
    /// Copies all missing parts of a manifest or index from the repository `from` and returns the number of bytes
    /// transferred. After an error, nothing is tagged.
    pub(crate) async fn copy_image(
        &mut self,
        from: &mut Self,
        manifest: &StoredManifest,
        moved: &mut TransferCallback<'_>,
    ) -> Result<u64, RegistryError> {
        let mut bytes = 0;
        let (inner, blobs) = self.parts(manifest)?;
        for entry in inner {
            let digest = entry.digest.to_string();
            let inner = from
                .manifest(&digest)
                .await?
                .ok_or_else(|| from.connection.invalid_response(MISSING_PART))?;
            let mut further = |done, total| moved(bytes + done, bytes + total);
            bytes += Box::pin(self.copy_image(from, &inner, &mut further)).await?;
            self.put_manifest(&digest, &inner).await?;
        }
        let total = bytes + blobs.iter().map(|blob| blob.size).sum::<u64>();
        for blob in blobs {
            moved(bytes, total);
            if !self.has_blob(blob.digest).await? {
                let mut further = |done| moved(bytes + done, total);
                bytes += self.copy_blob(from, (blob.digest, blob.size), &mut further).await?;
            }
        }
        Ok(bytes)
    }

    /// Mounts or copies a blob from the repository `from` and returns the number of bytes transferred. Calls `moved`
    /// with the number of bytes so far.
    pub(crate) async fn copy_blob(
        &mut self,
        from: &mut Self,
        blob: (Digest, u64),
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<u64, RegistryError> {
        let is_near = self.image_name().host() == from.image_name().host();
        let path = from.image_name().path().to_owned();
        let mount = is_near.then_some((blob.0, path.as_str()));
        let mut source = BlobSource::of(from, blob);
        match self.add_blob(mount, UploadContent::Copied(&mut source), moved).await {
            Ok(is_sent) => Ok(if is_sent { blob.1 } else { 0 }),
            Err(UploadError::Registry(error)) => Err(error),
            Err(UploadError::Abandoned(_)) => unreachable!("only a growing blob is abandoned"),
        }
    }
}

pub(super) struct BlobSource<'a> {
    from: &'a mut Repository,
    pub(super) digest: Digest,
    /// Size in bytes.
    size: u64,
    received: u64,
    /// The number of bytes to discard because they are received a second time.
    skip: u64,
    response: Option<Response>,
    /// Bytes received that belong to the next part.
    rest: Bytes,
    hash: Sha256,
}

impl<'a> BlobSource<'a> {
    fn of(from: &'a mut Repository, (digest, size): (Digest, u64)) -> Self {
        let (response, rest, hash) = (None, Bytes::new(), Sha256::new());
        Self { from, digest, size, received: 0, skip: 0, response, rest, hash }
    }

    pub(super) fn restart(&mut self) {
        (self.received, self.skip, self.response) = (0, 0, None);
        (self.rest, self.hash) = (Bytes::new(), Sha256::new());
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.received == self.size && self.rest.is_empty()
    }

    /// Returns the next part; the last one may be shorter.
    pub(super) async fn next_part(&mut self) -> Result<Bytes, RegistryError> {
        let mut part = BytesMut::from(mem::take(&mut self.rest));
        let mut attempts = Attempts::default();
        while part.len() < PART_SIZE && self.received < self.size {
            match self.next_chunk().await {
                Ok(chunk) => part.extend_from_slice(&chunk),
                Err(error) => {
                    let pause = attempts.next_pause(None).filter(|_| error.is_temporary());
                    let Some(pause) = pause else { return Err(error) };
                    self.response = None;
                    tokio::time::sleep(pause).await;
                }
            }
        }
        self.rest = part.split_off(part.len().min(PART_SIZE)).freeze();
        if self.received == self.size && self.received_digest() != self.digest {
            let reason = "the content does not have the requested digest";
            return Err(self.from.connection.invalid_response(reason));
        }
        Ok(part.freeze())
    }

    fn received_digest(&self) -> Digest {
        Digest::from(<[u8; 32]>::from(self.hash.clone().finalize()))
    }

    /// Returns the next bytes, reconnecting if the last connection broke.
    async fn next_chunk(&mut self) -> Result<Bytes, RegistryError> {
        if self.response.is_none() {
            self.response = Some(self.open().await?);
        }
        let Some(response) = &mut self.response else { unreachable!("it was opened above") };
        let connection = &self.from.connection;
        let chunk = connection.chunk(response).await?;
        let mut chunk = chunk
            .ok_or_else(|| connection.invalid_response("a layer is shorter than the manifest states"))?;
        let known = usize::try_from(self.skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
        self.skip -= known as u64;
        chunk.advance(known);
        self.received += chunk.len() as u64;
        if self.received > self.size {
            return Err(connection.invalid_response("a layer is longer than the manifest states"));
        }
        self.hash.update(&chunk);
        Ok(chunk)
    }

    async fn open(&mut self) -> Result<Response, RegistryError> {
        let mut call = RegistryRequest::new(Method::GET, format!("blobs/{}", self.digest));
        if self.received > 0 {
            call = call
                .header(RANGE, HeaderValue::try_from(format!("bytes={}-", self.received)).expect("digits"));
        }
        let connection = &mut self.from.connection;
        let response = connection.open(&call).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Err(connection.invalid_response(MISSING_PART)),
            status if !status.is_success() => {
                let answer = connection.read(response).await?;
                return Err(connection.status_error(&answer));
            }
            StatusCode::PARTIAL_CONTENT => {}
            // The registry ignored the range and sends the whole blob.
            _ => self.skip = self.received,
        }
        Ok(response)
    }
}
