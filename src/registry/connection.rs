//! Calls to one repository: protocol, authentication and retries.
//!
//! Temporary failures and broken connections are retried, see `http_retry`. A registry to which no connection can be
//! opened counts as down and is not retried.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Body, Client, Method, RequestBuilder, Response, StatusCode, Url};

use super::error::codes_and_message;
use super::{Challenge, CredentialSource, ImageRef, RegistryAccess, RegistryError};
use crate::http_retry::{Attempts, is_temporary, requested_pause};

/// Maximum size of a response body in bytes: that of a manifest or a config.
pub(super) const MAX_BODY_SIZE: usize = 8 << 20;
/// If a registry requests a longer pause, the call fails: builds do not wait for a cache.
const MAX_REQUESTED_PAUSE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(super) struct Connection {
    pub(super) name: ImageRef,
    identity: CredentialSource,
    client: Client,
    /// The protocol and authentication that earlier calls have established; shared by all clones.
    state: Arc<Mutex<ConnectionState>>,
    reach: RegistryAccess,
    /// The client for requests with a streamed body, which may take longer than the read timeout; created on first use.
    streaming: Arc<OnceLock<Client>>,
}

#[derive(Debug, Clone, Default)]
struct ConnectionState {
    /// The protocols to try, preferred first; only one once it is known.
    schemes: Vec<&'static str>,
    authorization: Option<HeaderValue>,
    /// The paths of other repositories that tokens must also allow reading.
    other_repositories: Vec<String>,
}

pub(super) struct RegistryRequest {
    method: Method,
    /// A path relative to the repository, or an address from the registry, which starts with a slash or a protocol.
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

pub(super) struct RegistryResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl RegistryRequest {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }
}

impl Connection {
    pub(super) fn new(
        name: &ImageRef,
        identity: CredentialSource,
        reach: &RegistryAccess,
    ) -> Result<Self, RegistryError> {
        let schemes = if reach.is_insecure(name.host()) { vec!["https", "http"] } else { vec!["https"] };
        Self::with_schemes(name, schemes, identity, reach)
    }

    pub(super) fn with_schemes(
        name: &ImageRef,
        schemes: Vec<&'static str>,
        identity: CredentialSource,
        reach: &RegistryAccess,
    ) -> Result<Self, RegistryError> {
        let client = reach.client(name.host())?;
        let (reach, streaming) = (reach.clone(), Arc::default());
        let negotiated = Arc::new(Mutex::new(ConnectionState { schemes, ..ConnectionState::default() }));
        Ok(Self { name: name.clone(), identity, client, state: negotiated, reach, streaming })
    }

    pub(super) fn with_name(&self, name: &ImageRef) -> Self {
        Self { name: name.clone(), ..self.clone() }
    }

    fn lock_state(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes later tokens also valid for reading the repository at `path` in the same registry.
    pub(super) fn extend_scope(&mut self, path: &str) {
        let mut negotiated = self.lock_state();
        if !negotiated.other_repositories.iter().any(|further| further == path) {
            negotiated.other_repositories.push(path.to_owned());
            // Without a header, the next call is challenged and requests a token for all repositories.
            negotiated.authorization = None;
        }
    }

    /// Makes a call with a streamed body, which can be sent only once. The registry must have been called before.
    pub(super) async fn stream(
        &mut self,
        call: &RegistryRequest,
        body: Body,
    ) -> Result<RegistryResponse, RegistryError> {
        if self.streaming.get().is_none() {
            let client = self.reach.streaming_client(self.name.host())?;
            // A concurrent upload may have created one meanwhile.
            let _ = self.streaming.set(client);
        }
        let client = self.streaming.get().expect("it was set above");
        let scheme = self.lock_state().schemes[0];
        let response = self.request(client, scheme, call).body(body).send().await;
        let response = response.map_err(|source| self.http_error(source))?;
        self.read(response).await
    }

    /// Makes a call and retries transient failures; returns a response of any status.
    pub(super) async fn call(&mut self, call: &RegistryRequest) -> Result<RegistryResponse, RegistryError> {
        let mut attempts = Attempts::default();
        loop {
            let answer = self.call_once(call).await;
            let requested = match &answer {
                Ok(RegistryResponse { status, headers, .. }) if is_temporary(*status) => {
                    requested_pause(headers, Timestamp::now())
                }
                Err(error) if error.is_temporary() => None,
                _ => return answer,
            };
            let pause = attempts.next_pause(requested).filter(|pause| *pause <= MAX_REQUESTED_PAUSE);
            let Some(pause) = pause else { return answer };
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) async fn call_once(
        &mut self,
        call: &RegistryRequest,
    ) -> Result<RegistryResponse, RegistryError> {
        let response = self.open(call).await?;
        self.read(response).await
    }

    /// Makes a call and returns the response unread, because its body may be long.
    pub(super) async fn open(&mut self, call: &RegistryRequest) -> Result<Response, RegistryError> {
        // A different host never receives credentials.
        let is_challenged = |response: &Response| response.status() == StatusCode::UNAUTHORIZED;
        let mut sent = self.lock_state().authorization.clone();
        let mut response = self.send(call).await?;
        if !is_challenged(&response) || !self.is_own_address(&call.path) {
            return Ok(response);
        }
        let now = self.lock_state().authorization.clone();
        if now.is_some() && now != sent {
            // A clone has answered the same challenge meanwhile.
            sent = now;
            response = self.send(call).await?;
        }
        // The header from a different call may not be valid for this one, or may have expired.
        if is_challenged(&response) && self.authorize(&response, sent.as_ref()).await? {
            response = self.send(call).await?;
        }
        Ok(response)
    }

    pub(super) async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, RegistryError> {
        response.chunk().await.map_err(|source| self.http_error(source))
    }

    pub(super) fn status_error(&self, answer: &RegistryResponse) -> RegistryError {
        let (repository, status) = (self.name.repository(), answer.status);
        let (codes, message) = codes_and_message(&answer.body);
        RegistryError::Refused { repository, status, codes, message }
    }

    pub(super) fn invalid_response(&self, reason: &'static str) -> RegistryError {
        RegistryError::InvalidResponse { repository: self.name.repository(), reason }
    }

    pub(super) async fn read(&self, mut response: Response) -> Result<RegistryResponse, RegistryError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&mut response).await? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_BODY_SIZE {
                return Err(self.invalid_response("it is too large for a manifest or config"));
            }
        }
        Ok(RegistryResponse { status, headers, body })
    }

    async fn send(&mut self, call: &RegistryRequest) -> Result<Response, RegistryError> {
        let mut failed = None;
        let schemes = self.lock_state().schemes.clone();
        for scheme in schemes {
            match self.request(&self.client, scheme, call).body(call.body.clone()).send().await {
                Ok(response) => {
                    self.lock_state().schemes = vec![scheme];
                    return Ok(response);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(self.http_error(failed.expect("at least one protocol is allowed")))
    }

    fn request(&self, client: &Client, scheme: &str, call: &RegistryRequest) -> RequestBuilder {
        let mut request = client.request(call.method.clone(), self.address(scheme, &call.path));
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        let authorization = self.lock_state().authorization.clone();
        if let Some(authorization) = authorization.filter(|_| self.is_own_address(&call.path)) {
            request = request.header(AUTHORIZATION, authorization);
        }
        request
    }

    fn authority(&self) -> &str {
        match self.name.host() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        }
    }

    /// Returns the address of a call, with this protocol unless the path is an address at a different host.
    fn address(&self, scheme: &str, path: &str) -> String {
        let host = self.authority();
        match path.split_once("://").filter(|_| !path.starts_with('/')) {
            // A registry behind a proxy that terminates TLS may not know the outer protocol.
            Some((_, rest)) if authority_of(path) == host => format!("{scheme}://{rest}"),
            Some(_) => path.to_owned(),
            None if path.starts_with('/') => format!("{scheme}://{host}{path}"),
            None => format!("{scheme}://{host}/v2/{}/{path}", self.name.path()),
        }
    }

    fn is_own_address(&self, path: &str) -> bool {
        path.starts_with('/')
            || !path.contains("://")
            || authority_of(path) == self.authority()
            || self.lock_state().schemes.iter().any(|scheme| {
                is_same_origin(path, &format!("{scheme}://{}", self.authority())).unwrap_or(false)
            })
    }

    /// Answers the registry's challenge to a call with the `Authorization` header `sent`. Returns `true` if the call
    /// should be tried again.
    async fn authorize(
        &mut self,
        response: &Response,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, RegistryError> {
        let challenges = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges = challenges.filter_map(|value| Challenge::parse(value.to_str().ok()?));
        let Some(challenge) = challenges.max() else { return Ok(false) };
        let token = |source| RegistryError::Token { repository: self.name.repository(), source };
        let credentials = self.identity.credentials(self.name.host()).await?;
        let further = self.lock_state().other_repositories.clone();
        let answer =
            challenge.answer((&self.name, &further), &credentials, &self.client).await.map_err(token)?;
        let is_new = answer.is_some() && answer.as_ref() != sent;
        self.lock_state().authorization = answer;
        Ok(is_new)
    }

    fn http_error(&self, source: reqwest::Error) -> RegistryError {
        RegistryError::Http { host: self.name.host().to_owned(), source: source.without_url() }
    }
}

/// Returns the host and port of an address, with or without a protocol, as they are written.
pub(super) fn authority_of(address: &str) -> &str {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    address.split(['/', '?']).next().unwrap_or(address)
}

/// Returns `true` if both addresses have the same protocol, host and port, which may be implied by the protocol; `None`
/// if one is malformed.
fn is_same_origin(one: &str, other: &str) -> Option<bool> {
    let (one, other) = (Url::parse(one).ok()?, Url::parse(other).ok()?);
    // An address with a user name contains its own credentials.
    let has_login = !one.username().is_empty() || one.password().is_some();
    Some(!has_login && one.origin() == other.origin())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_by_protocol_host_and_port() {
        const HTTP: &str = "http";
        const HTTPS: &str = "https";
        for (host, spoken, path, goes_to, is_own) in [
            ("r.example", HTTPS, "https://r.example/u/1", "https://r.example/u/1", true),
            ("r.example", HTTPS, "https://r.example:443/u/1", "https://r.example:443/u/1", true),
            ("r.example", HTTPS, "https://R.example:443?u=1", "https://R.example:443?u=1", true),
            ("r.example:443", HTTPS, "https://r.example/u/1", "https://r.example/u/1", true),
            ("r.example:80", HTTP, "http://r.example/u/1", "http://r.example/u/1", true),
            ("r.example:5000", HTTPS, "https://r.example:5000/u/1", "https://r.example:5000/u/1", true),
            // A registry with TLS is never used without it.
            ("r.example", HTTPS, "http://r.example/u/1", "https://r.example/u/1", true),
            ("r.example", HTTPS, "http://r.example:80/u/1", "http://r.example:80/u/1", false),
            ("r.example", HTTPS, "http://r.example:443/u/1", "http://r.example:443/u/1", false),
            ("r.example", HTTPS, "https://r.example:444/u/1", "https://r.example:444/u/1", false),
            ("r.example:5000", HTTPS, "https://r.example/u/1", "https://r.example/u/1", false),
            ("r.example", HTTPS, "https://s3.example/u/1", "https://s3.example/u/1", false),
            (
                "r.example",
                HTTPS,
                "https://r.example:443@s3.example/",
                "https://r.example:443@s3.example/",
                false,
            ),
            ("r.example", HTTPS, "https://user@r.example:443/", "https://user@r.example:443/", false),
            ("r.example", HTTPS, "/u/1", "https://r.example/u/1", true),
            ("r.example", HTTPS, "/u?to=http://s3.example", "https://r.example/u?to=http://s3.example", true),
            ("r.example", HTTPS, "manifests/latest", "https://r.example/v2/app/manifests/latest", true),
        ] {
            let name = format!("{host}/app").parse().unwrap();
            let anonymous = CredentialSource::Known(crate::registry::Credentials::default());
            let connection =
                Connection::with_schemes(&name, vec![spoken], anonymous, &RegistryAccess::default()).unwrap();
            assert_eq!(connection.address(spoken, path), goes_to, "{host} {path}");
            assert_eq!(connection.is_own_address(path), is_own, "{host} {path}");
        }
    }
}
