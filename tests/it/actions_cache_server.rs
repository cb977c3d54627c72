//! A fake of the GitHub Actions cache service for one repository, with the parts of the REST API that manage caches.
//!
//! ```text
//! POST /results/twirp/…CacheService/CreateCacheEntry          key, version → upload URL; 409 if the entry exists
//! PUT  /blobs/ID?…&sig=…                                       upload, as to Azure Blob Storage
//! POST /results/twirp/…CacheService/FinalizeCacheEntryUpload   makes the entry readable
//! POST /results/twirp/…CacheService/GetCacheEntryDownloadURL   key or prefix of a key, version → download URL
//! GET  /blobs/ID?…&sig=…                                       download, also of a range
//! GET  /api/repos/octo/larder                                  default branch
//! GET  /api/repos/octo/larder/actions/caches?…                 entries of all refs, in pages
//! DELETE /api/repos/octo/larder/actions/caches/ID
//! ```
//!
//! It answers every other request with status 501, and its `drop` then fails the test.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ghac::v1::{
    CreateCacheEntryRequest, CreateCacheEntryResponse, FinalizeCacheEntryUploadRequest,
    FinalizeCacheEntryUploadResponse, GetCacheEntryDownloadUrlRequest, GetCacheEntryDownloadUrlResponse,
};
use http::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderName, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use larder::store::backend::remote::ActionsJob;
use prost::Message;
use reqwest::Url;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const SERVICE: &str = "/results/twirp/github.actions.results.api.v1.CacheService/";
const REPOSITORY: &str = "/api/repos/octo/larder";
/// The repository's default branch.
pub(crate) const DEFAULT_BRANCH: &str = "main";
/// A part of every token and signature, which must not occur in any output.
pub(crate) const SECRET: &str = "s3cret+Value";

/// The permissions of a GitHub token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    None,
    ReadActions,
    WriteActions,
}

/// A running service. It stops when the value is dropped.
pub(crate) struct ActionsCacheServer {
    pub(crate) port: u16,
    state: Arc<State>,
    _runtime: Runtime,
}

struct State {
    port: u16,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    last_id: u64,
    /// The refs that a job may read, by its token. A job writes to the first.
    jobs: BTreeMap<String, Vec<String>>,
    /// `true` if the oldest entry is removed after each page of a listing.
    loses_entries: bool,
    /// The error response to the next request.
    limit: Option<HttpResponse>,
    seen: Vec<String>,
    /// The requests that were answered with status 501.
    unknown: Vec<String>,
}

struct Entry {
    id: u64,
    reference: String,
    key: String,
    version: String,
    content: Option<Bytes>,
    is_complete: bool,
}

type HttpResponse = Response<Full<Bytes>>;

impl ActionsCacheServer {
    pub(crate) fn start() -> Self {
        assert!(
            std::env::var_os("ACTIONS_CACHE_SERVICE_V2").is_some(),
            "ACTIONS_CACHE_SERVICE_V2 is not set: run `make test`, or see scripts/object-stores.sh"
        );
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { port, inner: Mutex::default() });
        let serving = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                let service = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { state.handle(request).await }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // The client reports a broken connection.
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { port, state, _runtime: runtime }
    }

    /// Returns the environment of a job on `reference`. For a pull request, `base` is the branch that it targets.
    pub(crate) fn job(&self, reference: &str, base: Option<&str>) -> ActionsJob {
        self.job_at(self.port, reference, base, Permission::WriteActions)
    }

    /// Returns the same for a job that connects to a different port, with a token that has this permission.
    pub(crate) fn job_at(
        &self,
        port: u16,
        reference: &str,
        base: Option<&str>,
        permission: Permission,
    ) -> ActionsJob {
        let branches = base.into_iter().chain([DEFAULT_BRANCH]).map(|branch| format!("refs/heads/{branch}"));
        let reads = [reference.to_owned()].into_iter().chain(branches).collect();
        let token = format!("{SECRET}-runtime-{reference}-{base:?}");
        self.state.inner().jobs.insert(token.clone(), reads);
        ActionsJob {
            results_url: Some(format!("http://127.0.0.1:{port}/results/")),
            runtime_token: Some(token),
            token: Some(format!("{SECRET}-{permission:?}")),
            api_url: Some(format!("http://127.0.0.1:{port}/api")),
            repository: Some("octo/larder".to_owned()),
            reference: Some(reference.to_owned()),
            base: base.map(str::to_owned),
            event: None,
        }
    }

    /// Creates an entry as a different program could, or, without content, one whose upload never ended.
    pub(crate) fn insert_entry(
        &self,
        reference: &str,
        key: &str,
        version: &str,
        content: Option<&'static [u8]>,
    ) {
        let mut inner = self.state.inner();
        let id = inner.create(reference, key, version).unwrap();
        let entry = inner.entry(id).unwrap();
        entry.content = content.map(Bytes::from_static);
        entry.is_complete = content.is_some();
    }

    /// Answers the next request with this status and these headers.
    pub(crate) fn refuse_next_request(&self, status: u16, headers: &[(&str, &str)]) {
        let mut limited = respond(status, "");
        for (name, value) in headers {
            limited.headers_mut().insert(HeaderName::from_str(name).unwrap(), value.parse().unwrap());
        }
        self.state.inner().limit = Some(limited);
    }

    /// Removes the oldest entry after each page of a listing, as other jobs may.
    pub(crate) fn remove_one_after_each_page(&self) {
        self.state.inner().loses_entries = true;
    }

    /// Returns the key, version and ref of all complete entries.
    pub(crate) fn entries(&self) -> Vec<(String, String, String)> {
        let inner = self.state.inner();
        let complete = inner.entries.iter().filter(|entry| entry.is_complete);
        complete.map(|entry| (entry.key.clone(), entry.version.clone(), entry.reference.clone())).collect()
    }

    /// Returns the requests since the last call of this method, as `GET /path`.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.inner().seen)
    }
}

impl Drop for ActionsCacheServer {
    fn drop(&mut self) {
        let unknown = std::mem::take(&mut self.state.inner().unknown);
        if !std::thread::panicking() {
            assert_eq!(unknown, Vec::<String>::new(), "the server does not implement these requests");
        }
    }
}

impl Inner {
    fn create(&mut self, reference: &str, key: &str, version: &str) -> Option<u64> {
        let is_taken = |entry: &Entry| {
            entry.reference == reference && entry.version == version && entry.key.eq_ignore_ascii_case(key)
        };
        if self.entries.iter().any(is_taken) {
            return None;
        }
        self.last_id += 1;
        self.entries.push(Entry {
            id: self.last_id,
            reference: reference.to_owned(),
            key: key.to_owned(),
            version: version.to_owned(),
            content: None,
            is_complete: false,
        });
        Some(self.last_id)
    }

    fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// Returns the entry that a job restores. In the first ref that has a match, this is the entry with this key, or
    /// else the newest entry whose key starts with it.
    fn find_restorable(&self, reads: &[String], key: &str, version: &str) -> Option<&Entry> {
        let key = key.to_ascii_lowercase();
        reads.iter().find_map(|reference| {
            let of_ref = || {
                self.entries.iter().rev().filter(|entry| {
                    entry.is_complete && entry.reference == *reference && entry.version == version
                })
            };
            of_ref()
                .find(|entry| entry.key.eq_ignore_ascii_case(&key))
                .or_else(|| of_ref().find(|entry| entry.key.to_ascii_lowercase().starts_with(&key)))
        })
    }
}

fn respond(status: u16, body: impl Into<Bytes>) -> HttpResponse {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

/// Returns an error response of the cache service.
fn twirp(status: u16, code: &str) -> HttpResponse {
    respond(
        status,
        json!({ "code": code, "msg": "cache entry with the same key, version, and scope" }).to_string(),
    )
}

/// Returns an error response of the REST API.
fn message(status: u16, text: &str) -> HttpResponse {
    respond(
        status,
        json!({ "message": text, "documentation_url": "https://docs.github.com/rest" }).to_string(),
    )
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }

    /// Returns a signed URL that allows `what` (`r` or `w`) on the entry's content.
    fn signed(&self, id: u64, what: &str) -> String {
        let signature = SECRET.replace('+', "%2B");
        format!("http://127.0.0.1:{}/blobs/{id}?sv=2025-01-05&sp={what}&sig={signature}", self.port)
    }

    async fn handle(&self, request: Request<Incoming>) -> hyper::Result<HttpResponse> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let url = Url::parse(&format!("http://127.0.0.1{}", head.uri)).unwrap();
        let call = format!("{} {}", head.method, url.path());
        let limit = {
            let mut inner = self.inner();
            inner.seen.push(call.clone());
            inner.limit.take()
        };
        if let Some(limited) = limit {
            return Ok(limited);
        }
        let bearer =
            head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let response = if let Some(method) = url.path().strip_prefix(SERVICE) {
            self.serve_cache(method, &head.method, &head.headers, bearer, body)
        } else if let Some(id) = url.path().strip_prefix("/blobs/") {
            let is_signed = url.query_pairs().any(|(name, value)| name == "sig" && value == SECRET);
            if is_signed && bearer.is_none() {
                self.serve_blob(id.parse().unwrap(), &head.method, &head.headers, &url, body)
            } else {
                Some(respond(403, "<Error><Code>AuthenticationFailed</Code></Error>"))
            }
        } else if let Some(rest) = url.path().strip_prefix(REPOSITORY) {
            self.serve_api(rest, &head.method, &url, bearer)
        } else {
            None
        };
        Ok(response.unwrap_or_else(|| {
            let mut unknown = call;
            write!(unknown, "?{} {:?}", url.query().unwrap_or_default(), head.headers).unwrap();
            self.inner().unknown.push(unknown);
            respond(501, "unknown")
        }))
    }

    fn serve_cache(
        &self,
        method: &str,
        verb: &Method,
        headers: &HeaderMap,
        bearer: Option<&str>,
        body: Bytes,
    ) -> Option<HttpResponse> {
        if *verb != Method::POST || headers.get(CONTENT_TYPE)? != "application/protobuf" {
            return None;
        }
        let mut inner = self.inner();
        let Some(reads) = bearer.and_then(|token| inner.jobs.get(token)).cloned() else {
            return Some(twirp(401, "unauthenticated"));
        };
        let is_invalid = |key: &str, version: &str| {
            key.is_empty() || key.len() > 512 || key.contains(',') || version.len() != 64
        };
        let encoded = match method {
            "CreateCacheEntry" => {
                let request = CreateCacheEntryRequest::decode(body).ok()?;
                if is_invalid(&request.key, &request.version) {
                    return Some(twirp(400, "invalid_argument"));
                }
                let Some(id) = inner.create(&reads[0], &request.key, &request.version) else {
                    return Some(twirp(409, "already_exists"));
                };
                CreateCacheEntryResponse { ok: true, signed_upload_url: self.signed(id, "w") }.encode_to_vec()
            }
            "FinalizeCacheEntryUpload" => {
                let request = FinalizeCacheEntryUploadRequest::decode(body).ok()?;
                let size = usize::try_from(request.size_bytes).ok();
                let begun = inner.entries.iter_mut().find(|entry| {
                    !entry.is_complete
                        && entry.reference == reads[0]
                        && entry.key == request.key
                        && entry.version == request.version
                });
                let Some(entry) = begun.filter(|entry| entry.content.as_ref().map(Bytes::len) == size) else {
                    return Some(twirp(404, "not_found"));
                };
                entry.is_complete = true;
                FinalizeCacheEntryUploadResponse { ok: true, entry_id: i64::try_from(entry.id).ok()? }
                    .encode_to_vec()
            }
            "GetCacheEntryDownloadURL" => {
                let request = GetCacheEntryDownloadUrlRequest::decode(body).ok()?;
                if is_invalid(&request.key, &request.version) {
                    return Some(twirp(400, "invalid_argument"));
                }
                let mut keys = [request.key].into_iter().chain(request.restore_keys);
                let found = keys.find_map(|key| inner.find_restorable(&reads, &key, &request.version));
                found
                    .map_or_else(GetCacheEntryDownloadUrlResponse::default, |entry| {
                        let matched_key = entry.key.clone();
                        let signed_download_url = self.signed(entry.id, "r");
                        GetCacheEntryDownloadUrlResponse { ok: true, signed_download_url, matched_key }
                    })
                    .encode_to_vec()
            }
            _ => return None,
        };
        Some(respond(200, encoded))
    }

    fn serve_blob(
        &self,
        id: u64,
        verb: &Method,
        headers: &HeaderMap,
        url: &Url,
        body: Bytes,
    ) -> Option<HttpResponse> {
        let may = |what: &str| url.query_pairs().any(|(name, value)| name == "sp" && value == what);
        let is_plain = !url.query_pairs().any(|(name, _)| name == "comp");
        let mut inner = self.inner();
        let Some(entry) = inner.entry(id) else {
            return Some(respond(404, "<Error><Code>BlobNotFound</Code></Error>"));
        };
        if *verb == Method::PUT && may("w") && is_plain && headers.get("x-ms-blob-type")? == "BlockBlob" {
            entry.content = Some(body);
            return Some(respond(201, ""));
        }
        if *verb != Method::GET || !may("r") || !is_plain {
            return None;
        }
        let content = entry.content.clone().filter(|_| entry.is_complete)?;
        let Some(range) = headers.get(RANGE) else {
            return Some(respond(200, content));
        };
        if range != "bytes=0-0" {
            return None;
        }
        let (status, range, body) = if content.is_empty() {
            (416, "bytes */0".to_owned(), Bytes::from_static(b"<Error><Code>InvalidRange</Code></Error>"))
        } else {
            (206, format!("bytes 0-0/{}", content.len()), content.slice(..1))
        };
        let ranged = Response::builder().status(status).header(CONTENT_RANGE, range);
        Some(ranged.body(Full::new(body)).unwrap())
    }

    fn serve_api(&self, rest: &str, verb: &Method, url: &Url, bearer: Option<&str>) -> Option<HttpResponse> {
        let permissions = [Permission::None, Permission::ReadActions, Permission::WriteActions];
        let may = permissions.into_iter().find(|may| bearer == Some(&format!("{SECRET}-{may:?}")));
        let Some(may) = may else {
            return Some(message(401, "Bad credentials"));
        };
        let mut inner = self.inner();
        let forbidden = || Some(message(403, "Resource not accessible by integration"));
        match (verb, rest) {
            (&Method::GET, "") => {
                Some(respond(200, json!({ "id": 1, "default_branch": DEFAULT_BRANCH }).to_string()))
            }
            (&Method::GET, "/actions/caches") if may == Permission::None => forbidden(),
            (&Method::GET, "/actions/caches") => inner.page(url),
            (&Method::DELETE, _) => {
                let id: u64 = rest.strip_prefix("/actions/caches/")?.parse().ok()?;
                if may != Permission::WriteActions {
                    return forbidden();
                }
                let at = inner.entries.iter().position(|entry| entry.id == id && entry.is_complete);
                Some(at.map_or_else(
                    || message(404, "Not Found"),
                    |at| {
                        inner.entries.remove(at);
                        respond(204, "")
                    },
                ))
            }
            _ => None,
        }
    }
}

impl Inner {
    /// Returns a page of the complete entries, the oldest first.
    fn page(&mut self, url: &Url) -> Option<HttpResponse> {
        let query: BTreeMap<_, _> = url.query_pairs().collect();
        let per_page: usize = query.get("per_page")?.parse().ok().filter(|size| *size <= 100)?;
        let page: usize = query.get("page")?.parse().ok()?;
        let order = (query.get("sort")?.as_ref(), query.get("direction")?.as_ref());
        if query.len() != 5 || order != ("created_at", "asc") {
            return None;
        }
        let start = query.get("key")?.to_ascii_lowercase();
        let found = || {
            self.entries
                .iter()
                .filter(|entry| entry.is_complete && entry.key.to_ascii_lowercase().starts_with(&start))
        };
        let entries: Vec<_> = found()
            .skip(per_page * (page - 1))
            .take(per_page)
            .map(|entry| {
                json!({
                    "id": entry.id,
                    "ref": entry.reference,
                    "key": entry.key,
                    "version": entry.version,
                    "last_accessed_at": "2026-01-31T12:00:00.000000000Z",
                    "created_at": "2026-01-31T12:00:00.000000000Z",
                    "size_in_bytes": entry.content.as_ref().map_or(0, Bytes::len),
                })
            })
            .collect();
        let page = json!({ "total_count": found().count(), "actions_caches": entries });
        if self.loses_entries {
            self.entries.remove(0);
        }
        Some(respond(200, page.to_string()))
    }
}

/// Returns the time in this many seconds, as seconds since 1970.
pub(crate) fn seconds_from_now(seconds: u64) -> String {
    (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds).to_string()
}
