//! Uploads blobs to a repository.
//!
//! A blob that is still being made is sent in one streamed request, as `docker push` does, because not every registry
//! accepts uploads in parts. If the connection breaks and the registry reports how many bytes it has received, the rest
//! is sent in parts; otherwise the upload restarts from the beginning.

use std::mem;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Body, Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{RegistryRequest, RegistryResponse};
use super::growing_blob::{AbandonedBlob, GrowingBlob};
use super::transfer::BlobSource;
use super::{RegistryError, Repository};
use crate::digest::Digest;
use crate::http_retry::{Attempts, pause_after};

/// Size of one part in bytes. Registries backed by S3 reject parts under 5 MiB except the last one.
pub(super) const PART_SIZE: usize = 8 << 20;
/// Size of one chunk of a streamed blob in bytes.
const CHUNK_SIZE: usize = 256 << 10;
/// The maximum time for a registry to accept one chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_mins(1);
/// The maximum time for a registry to store a blob after its last chunk was sent.
const STORE_TIMEOUT: Duration = Duration::from_mins(5);
const BLOB_MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Abandoned(#[from] AbandonedBlob),
}

pub(super) enum UploadContent<'a> {
    Complete(&'a Bytes),
    Growing(&'a GrowingBlob),
    Copied(&'a mut BlobSource<'a>),
}

impl Repository {
    pub(crate) async fn has_blob(&mut self, blob: Digest) -> Result<bool, RegistryError> {
        let call = RegistryRequest::new(Method::HEAD, format!("blobs/{blob}"));
        Ok(self.get_if_exists(&call).await?.is_some())
    }

    /// Uploads a blob that fits into one request, unless the repository already contains it. Returns the digest.
    pub(crate) async fn upload_blob(&mut self, bytes: &Bytes) -> Result<Digest, UploadError> {
        let digest = Digest::of(bytes);
        if !self.has_blob(digest).await? {
            self.add_blob(None, UploadContent::Complete(bytes), &mut |_| {}).await?;
        }
        Ok(digest)
    }

    /// Uploads a blob while it is being made, and returns its digest and its size in bytes. Calls `moved` with the
    /// number of bytes sent so far.
    pub(crate) async fn upload_growing(
        &mut self,
        blob: &GrowingBlob,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(Digest, u64), UploadError> {
        self.add_blob(None, UploadContent::Growing(blob), moved).await?;
        Ok(blob.clone().complete().await?)
    }

    /// Uploads a blob, or mounts it from a different repository of the registry: `mount` is the digest of the blob and
    /// the path of that repository. Returns `true` if bytes were sent.
    pub(super) async fn add_blob(
        &mut self,
        mount: Option<(Digest, &str)>,
        mut content: UploadContent<'_>,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<bool, UploadError> {
        let begin = match mount {
            Some((digest, from)) => {
                self.connection.extend_scope(from);
                format!("blobs/uploads/?mount={digest}&from={from}")
            }
            None => "blobs/uploads/".to_owned(),
        };
        let mut attempts = Attempts::default();
        loop {
            let answer = self.connection.call(&RegistryRequest::new(Method::POST, begin.clone())).await?;
            let uploaded = match answer.status {
                StatusCode::CREATED => return Ok(false),
                StatusCode::ACCEPTED => {
                    BlobUpload::from_response(self, &answer)?.fill(&mut content, moved).await
                }
                _ => return Err(self.connection.status_error(&answer).into()),
            };
            let can_repeat = matches!(&uploaded, Err(UploadError::Registry(error)) if should_restart(error));
            match attempts.next_pause(None).filter(|_| can_repeat) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return uploaded.map(|()| true),
            }
        }
    }
}

struct BlobUpload<'a> {
    to: &'a mut Repository,
    location: String,
    /// The number of bytes that the registry has received.
    sent: u64,
}

impl<'a> BlobUpload<'a> {
    fn from_response(to: &'a mut Repository, answer: &RegistryResponse) -> Result<Self, RegistryError> {
        let location = location(answer)
            .ok_or_else(|| to.connection.invalid_response("the new upload has no `Location` header"))?;
        Ok(Self { to, location, sent: 0 })
    }

    async fn fill(
        mut self,
        content: &mut UploadContent<'_>,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), UploadError> {
        match content {
            UploadContent::Complete(bytes) => Ok(self.close(Digest::of(bytes), bytes.clone()).await?),
            UploadContent::Growing(blob) => {
                let mut blob = blob.clone();
                if let Err(error) = self.stream(&blob, moved).await {
                    self.resume(error, &mut blob, moved).await?;
                }
                let (digest, _) = blob.complete().await?;
                Ok(self.close(digest, Bytes::new()).await?)
            }
            UploadContent::Copied(source) => Ok(self.copy(source, moved).await?),
        }
    }

    async fn copy(
        mut self,
        source: &mut BlobSource<'_>,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), RegistryError> {
        source.restart();
        let digest = source.digest;
        let mut part = source.next_part().await?;
        if source.is_at_end() {
            // A blob that fits into one part is sent in a single request, which every registry supports.
            return self.close(digest, part).await;
        }
        loop {
            self.send(part).await?;
            moved(self.sent);
            if source.is_at_end() {
                return self.close(digest, Bytes::new()).await;
            }
            part = source.next_part().await?;
        }
    }

    async fn stream(
        &mut self,
        blob: &GrowingBlob,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), UploadError> {
        let (chunks, body) = mpsc::channel(1);
        let body = Body::wrap(StreamBody::new(ReceiverStream::new(body)));
        let host = self.to.image_name().host().to_owned();
        let late = |patience| RegistryError::TimedOut { host: host.clone(), patience };
        // This future ends only with an error. On success, the registry's response ends the `select!` below.
        let feeding = async {
            let (mut blob, mut at) = (blob.clone(), 0);
            loop {
                let chunk = match blob.read(at, CHUNK_SIZE).await {
                    Ok(chunk) if chunk.is_empty() => break,
                    Ok(chunk) => chunk,
                    Err(error) => return UploadError::from(error),
                };
                at += chunk.len() as u64;
                match timeout(CHUNK_TIMEOUT, chunks.send(Ok::<_, AbandonedBlob>(Frame::data(chunk)))).await {
                    Ok(Ok(())) => moved(at),
                    // The request has failed; the `select!` below returns its error.
                    Ok(Err(_)) => std::future::pending().await,
                    Err(_) => return late(CHUNK_TIMEOUT).into(),
                }
            }
            drop(chunks);
            tokio::time::sleep(STORE_TIMEOUT).await;
            late(STORE_TIMEOUT).into()
        };
        let call =
            RegistryRequest::new(Method::PATCH, self.location.clone()).header(CONTENT_TYPE, BLOB_MEDIA_TYPE);
        let answer = tokio::select! {
            answer = self.to.connection.stream(&call, body) => answer?,
            error = feeding => return Err(error),
        };
        if !answer.status.is_success() {
            return Err(self.to.connection.status_error(&answer).into());
        }
        self.location = location(&answer).unwrap_or(mem::take(&mut self.location));
        Ok(())
    }

    /// Sends the rest of a blob in parts after `error` ended the request that streamed it. Fails with `error` if the
    /// registry does not report how many bytes it has received.
    async fn resume(
        &mut self,
        error: UploadError,
        blob: &mut GrowingBlob,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), UploadError> {
        let is_temporary = matches!(&error, UploadError::Registry(error) if error.is_temporary());
        if !is_temporary {
            return Err(error);
        }
        tokio::time::sleep(pause_after(1)).await;
        match self.received_bytes().await {
            Ok(Some(received)) if received > 0 => self.sent = received,
            _ => return Err(error),
        }
        loop {
            let part = blob.read_full(self.sent, PART_SIZE).await?;
            if part.is_empty() {
                return Ok(());
            }
            self.send(part).await?;
            moved(self.sent);
        }
    }

    /// Sends a part, with retries that omit the bytes that the registry has already received.
    async fn send(&mut self, part: Bytes) -> Result<(), RegistryError> {
        let start = self.sent;
        let end = start + part.len() as u64;
        let mut attempts = Attempts::default();
        loop {
            let rest = part.slice(usize::try_from(self.sent - start).expect("within the part")..);
            let range = HeaderValue::try_from(format!("{}-{}", self.sent, end - 1)).expect("digits");
            let call = RegistryRequest::new(Method::PATCH, self.location.clone())
                .header(CONTENT_TYPE, BLOB_MEDIA_TYPE);
            let failed =
                match self.to.connection.call_once(&call.header(CONTENT_RANGE, range).body(rest)).await {
                    Ok(answer) if answer.status.is_success() => {
                        self.location = location(&answer).unwrap_or(mem::take(&mut self.location));
                        self.sent = end;
                        return Ok(());
                    }
                    Ok(answer) => self.to.connection.status_error(&answer),
                    Err(error) => error,
                };
            let pause = attempts.next_pause(None).filter(|_| failed.is_temporary());
            let Some(pause) = pause else { return Err(failed) };
            tokio::time::sleep(pause).await;
            match self.received_bytes().await? {
                Some(received) if received == end => {
                    self.sent = end;
                    return Ok(());
                }
                Some(received) if (start..end).contains(&received) => self.sent = received,
                // The registry has lost the upload or a part of it: start again from the beginning.
                _ => return Err(failed),
            }
        }
    }

    /// Returns the number of bytes that the registry has received, or `None` if it does not report it.
    async fn received_bytes(&mut self) -> Result<Option<u64>, RegistryError> {
        let answer =
            self.to.connection.call(&RegistryRequest::new(Method::GET, self.location.clone())).await?;
        if !answer.status.is_success() {
            return Ok(None);
        }
        self.location = location(&answer).unwrap_or(mem::take(&mut self.location));
        let range = answer.headers.get(RANGE).and_then(|range| range.to_str().ok());
        let last = range.and_then(|range| range.trim_start_matches("bytes=").strip_prefix("0-"));
        // Some registries report 0-0 for an empty upload.
        Ok(last.and_then(|last| last.parse().ok()).map(|last: u64| if last == 0 { 0 } else { last + 1 }))
    }

    async fn close(self, digest: Digest, rest: Bytes) -> Result<(), RegistryError> {
        let mark = if self.location.contains('?') { '&' } else { '?' };
        let address = format!("{}{mark}digest={digest}", self.location);
        let call =
            RegistryRequest::new(Method::PUT, address).header(CONTENT_TYPE, BLOB_MEDIA_TYPE).body(rest);
        let answer = self.to.connection.call_once(&call).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.to.connection.status_error(&answer)) }
    }
}

/// Returns `true` if sending the blob again from its beginning may succeed: the connection broke, or the registry no
/// longer knows the upload.
fn should_restart(error: &RegistryError) -> bool {
    let unknown = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
    error.is_temporary() || matches!(error, RegistryError::Refused { status, .. } if unknown.contains(status))
}

fn location(answer: &RegistryResponse) -> Option<String> {
    answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
