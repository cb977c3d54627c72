//! Copies an image from one repository to another.
//!
//! Within a registry, missing blobs are mounted and no data moves; otherwise they are streamed in parts. If a
//! connection breaks, the upload continues after what the registry has received; if the registry has lost the upload,
//! the blob is sent again from its beginning.

use std::mem;

use bytes::{Buf as _, Bytes, BytesMut};
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::connection::{Answer, Call, PAUSE, TRIES, jittered};
use super::manifest::Descriptor;
use super::{RegistryError, Repository, StoredManifest};
use crate::digest::Digest;

/// Size of one part in bytes. Registries backed by S3 reject parts under 5 MiB except the last one.
const PART: usize = 8 << 20;
const BLOB: HeaderValue = HeaderValue::from_static("application/octet-stream");
const LOST: &str = "a part of the image is not there";

/// Receives the number of bytes transferred and the total known so far.
pub(crate) type Moved<'a> = dyn FnMut(u64, u64) + Send + 'a;

impl Repository {
    /// Copies all missing parts of a manifest or index from the repository `from` and returns the number of bytes
    /// transferred. After an error, nothing is tagged.
    pub(crate) async fn take_over(
        &mut self,
        from: &mut Self,
        manifest: &StoredManifest,
        moved: &mut Moved<'_>,
    ) -> Result<u64, RegistryError> {
        let mut bytes = 0;
        let (inner, blobs) = self.parts(manifest)?;
        for entry in inner {
            let digest = entry.digest.to_string();
            let inner = from.manifest(&digest).await?.ok_or_else(|| from.connection.unusable(LOST))?;
            let mut further = |done, total| moved(bytes + done, bytes + total);
            bytes += Box::pin(self.take_over(from, &inner, &mut further)).await?;
            self.put(&digest, &inner).await?;
        }
        let total = bytes + blobs.iter().map(|blob| blob.size).sum::<u64>();
        for blob in blobs {
            moved(bytes, total);
            if !self.has(blob.digest).await? {
                let mut further = |done| moved(bytes + done, total);
                bytes += self.take_over_blob(from, &blob, &mut further).await?;
            }
        }
        Ok(bytes)
    }

    async fn has(&mut self, blob: Digest) -> Result<bool, RegistryError> {
        let answer = self.connection.call(&Call::new(Method::HEAD, format!("blobs/{blob}"))).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.connection.refused(&answer)),
        }
    }

    async fn take_over_blob(
        &mut self,
        from: &mut Self,
        blob: &Descriptor,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<u64, RegistryError> {
        let is_near = self.image_name().host() == from.image_name().host();
        let mount = format!("?mount={}&from={}", blob.digest, from.image_name().path());
        let begin = format!("blobs/uploads/{}", if is_near { &mount } else { "" });
        let mut pause = PAUSE;
        for last in (0..TRIES).map(|attempt| attempt + 1 == TRIES) {
            let answer = self.connection.call(&Call::new(Method::POST, begin.clone())).await?;
            let uploaded = match answer.status {
                StatusCode::CREATED => return Ok(0),
                StatusCode::ACCEPTED => Upload::of(self, &answer)?.fill(from, blob, moved).await,
                _ => return Err(self.connection.refused(&answer)),
            };
            match uploaded {
                Err(error) if is_lost(&error) && !last => tokio::time::sleep(jittered(pause)).await,
                done => return done.map(|()| blob.size),
            }
            pause *= 2;
        }
        unreachable!("the last try is answered")
    }
}

/// A blob that is being uploaded to a repository.
struct Upload<'a> {
    to: &'a mut Repository,
    /// The address for the next part.
    location: String,
    /// Bytes that the registry has received.
    sent: u64,
}

impl<'a> Upload<'a> {
    /// Creates an upload from the response that opened it.
    fn of(to: &'a mut Repository, answer: &Answer) -> Result<Self, RegistryError> {
        let location = location(answer).ok_or_else(|| to.connection.unusable("an upload has no address"))?;
        Ok(Self { to, location, sent: 0 })
    }

    /// Sends a blob of the repository `from`.
    async fn fill(
        mut self,
        from: &mut Repository,
        blob: &Descriptor,
        moved: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), RegistryError> {
        let mut source =
            Source { from, blob, taken: 0, skip: 0, response: None, rest: Bytes::new(), hash: Sha256::new() };
        let mut part = source.part().await?;
        if source.is_at_end() {
            // A blob that fits into one part is sent in a single request, which every registry supports.
            return self.close(blob, part).await;
        }
        loop {
            self.send(part).await?;
            moved(self.sent);
            if source.is_at_end() {
                return self.close(blob, Bytes::new()).await;
            }
            part = source.part().await?;
        }
    }

    /// Sends a part with retries, without what the registry has already received of it.
    async fn send(&mut self, part: Bytes) -> Result<(), RegistryError> {
        let start = self.sent;
        let end = start + part.len() as u64;
        let mut pause = PAUSE;
        for last in (0..TRIES).map(|attempt| attempt + 1 == TRIES) {
            let rest = part.slice(usize::try_from(self.sent - start).expect("within the part")..);
            let range = HeaderValue::try_from(format!("{}-{}", self.sent, end - 1)).expect("digits");
            let call = Call::new(Method::PATCH, self.location.clone()).header(CONTENT_TYPE, BLOB);
            let failed = match self.to.connection.once(&call.header(CONTENT_RANGE, range).body(rest)).await {
                Ok(answer) if answer.status.is_success() => {
                    self.location = location(&answer).unwrap_or(mem::take(&mut self.location));
                    self.sent = end;
                    return Ok(());
                }
                Ok(answer) => self.to.connection.refused(&answer),
                Err(error) => error,
            };
            if last || !failed.may_pass() {
                return Err(failed);
            }
            tokio::time::sleep(jittered(pause)).await;
            pause *= 2;
            match self.received().await? {
                Some(received) if received == end => {
                    self.sent = end;
                    return Ok(());
                }
                Some(received) if (start..end).contains(&received) => self.sent = received,
                // The registry has lost the upload or a part of it: start again from the beginning.
                _ => return Err(failed),
            }
        }
        unreachable!("the last try is answered")
    }

    /// Queries how many bytes the registry has received; `None` if it does not say.
    async fn received(&mut self) -> Result<Option<u64>, RegistryError> {
        let answer = self.to.connection.call(&Call::new(Method::GET, self.location.clone())).await?;
        if !answer.status.is_success() {
            return Ok(None);
        }
        self.location = location(&answer).unwrap_or(mem::take(&mut self.location));
        let range = answer.headers.get(RANGE).and_then(|range| range.to_str().ok());
        let last = range.and_then(|range| range.trim_start_matches("bytes=").strip_prefix("0-"));
        // Some registries report 0-0 for an empty upload.
        Ok(last.and_then(|last| last.parse().ok()).map(|last: u64| if last == 0 { 0 } else { last + 1 }))
    }

    /// Completes the upload with the remaining bytes.
    async fn close(self, blob: &Descriptor, rest: Bytes) -> Result<(), RegistryError> {
        let mark = if self.location.contains('?') { '&' } else { '?' };
        let address = format!("{}{mark}digest={}", self.location, blob.digest);
        let call = Call::new(Method::PUT, address).header(CONTENT_TYPE, BLOB).body(rest);
        let answer = self.to.connection.once(&call).await?;
        if answer.status.is_success() { Ok(()) } else { Err(self.to.connection.refused(&answer)) }
    }
}

/// Returns `true` if sending the blob again from its beginning may succeed: the connection broke, or the registry does
/// not know the upload any more.
fn is_lost(error: &RegistryError) -> bool {
    let unknown = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
    error.may_pass() || matches!(error, RegistryError::Refused { status, .. } if unknown.contains(status))
}

/// Returns the address in the `Location` header.
fn location(answer: &Answer) -> Option<String> {
    answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A blob that is being downloaded from a repository.
struct Source<'a> {
    from: &'a mut Repository,
    blob: &'a Descriptor,
    /// Bytes received.
    taken: u64,
    /// Bytes to discard because they are sent a second time.
    skip: u64,
    response: Option<Response>,
    /// Bytes received that belong to the next part.
    rest: Bytes,
    hash: Sha256,
}

impl Source<'_> {
    fn is_at_end(&self) -> bool {
        self.taken == self.blob.size && self.rest.is_empty()
    }

    /// Returns the next part; the last one may be shorter.
    async fn part(&mut self) -> Result<Bytes, RegistryError> {
        let mut part = BytesMut::from(mem::take(&mut self.rest));
        let mut pause = PAUSE;
        let mut failures = 0;
        while part.len() < PART && self.taken < self.blob.size {
            match self.chunk().await {
                Ok(chunk) => part.extend_from_slice(&chunk),
                Err(error) if error.may_pass() && failures + 1 < TRIES => {
                    failures += 1;
                    self.response = None;
                    tokio::time::sleep(jittered(pause)).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        self.rest = part.split_off(part.len().min(PART)).freeze();
        if self.taken == self.blob.size && self.digest() != self.blob.digest {
            return Err(self.from.connection.unusable("what it sent has another digest than asked for"));
        }
        Ok(part.freeze())
    }

    fn digest(&self) -> Digest {
        Digest::from(<[u8; 32]>::from(self.hash.clone().finalize()))
    }

    /// Returns the next bytes, reconnecting if the last connection broke.
    async fn chunk(&mut self) -> Result<Bytes, RegistryError> {
        if self.response.is_none() {
            self.response = Some(self.open().await?);
        }
        let Some(response) = &mut self.response else { unreachable!("it is there") };
        let connection = &self.from.connection;
        let chunk = connection.chunk(response).await?;
        let mut chunk =
            chunk.ok_or_else(|| connection.unusable("a layer is shorter than its manifest says"))?;
        let known = usize::try_from(self.skip).map_or(chunk.len(), |skip| skip.min(chunk.len()));
        self.skip -= known as u64;
        chunk.advance(known);
        self.taken += chunk.len() as u64;
        if self.taken > self.blob.size {
            return Err(connection.unusable("a layer is longer than its manifest says"));
        }
        self.hash.update(&chunk);
        Ok(chunk)
    }

    /// Requests the bytes that are still missing.
    async fn open(&mut self) -> Result<Response, RegistryError> {
        let mut call = Call::new(Method::GET, format!("blobs/{}", self.blob.digest));
        if self.taken > 0 {
            call =
                call.header(RANGE, HeaderValue::try_from(format!("bytes={}-", self.taken)).expect("digits"));
        }
        let connection = &mut self.from.connection;
        let response = connection.open(&call).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Err(connection.unusable(LOST)),
            status if !status.is_success() => {
                let answer = connection.read(response).await?;
                return Err(connection.refused(&answer));
            }
            StatusCode::PARTIAL_CONTENT => {}
            // The registry ignored the range and sends the whole blob.
            _ => self.skip = self.taken,
        }
        Ok(response)
    }
}
