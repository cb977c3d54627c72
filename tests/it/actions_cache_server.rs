//! GitHub's cache of Actions for one repository, with as much of the REST API as belongs to it.
//!
//! ```text
//! POST /results/twirp/…CacheService/CreateCacheEntry          key, version → where to upload to; 409 where there is one
//! PUT  /blobs/ID?…&sig=…                                       the upload, as Azure takes it
//! POST /results/twirp/…CacheService/FinalizeCacheEntryUpload   from now on it is read
//! POST /results/twirp/…CacheService/GetCacheEntryDownloadURL   key, version → where it is; a prefix of a key will do
//! GET  /blobs/ID?…&sig=…                                       the download, or a range of it
//! GET  /api/repos/octo/larder                                  the default branch
//! GET  /api/repos/octo/larder/actions/caches?…                 of all refs, in pages
//! DELETE /api/repos/octo/larder/actions/caches/ID
//! ```
//!
//! What it is not made for it answers with 501, and fails the test when it is dropped.

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
/// In every token and signature.
pub(crate) const SECRET: &str = "s3cret+Value";

/// What a token of GitHub's is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permission {
    None,
    ReadActions,
    WriteActions,
}

/// A running service; it ends with the value.
pub(crate) struct ActionsCacheServer {
    pub(crate) port: u16,
    state: Arc<State>,
    _runtime: Runtime,
}

struct State {
    port: u16,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: Vec<Entry>,
    entries_ever: u64,
    /// The refs that the job with this token reads; it writes to the first.
    jobs: BTreeMap<String, Vec<String>>,
    /// Whether its oldest entry goes after each page of a listing.
    loses: bool,
    /// How the next request is refused.
    limit: Option<Answer>,
    seen: Vec<String>,
    /// Calls that it does not know.
    unknown: Vec<String>,
}

struct Entry {
    id: u64,
    reference: String,
    key: String,
    version: String,
    content: Option<Bytes>,
    is_whole: bool,
}

type Answer = Response<Full<Bytes>>;

impl ActionsCacheServer {
    pub(crate) fn start() -> Self {
        assert!(
            std::env::var_os("ACTIONS_CACHE_SERVICE_V2").is_some(),
            "ACTIONS_CACHE_SERVICE_V2 is not set: run `make test`, or see scripts/object-stores.sh"
        );
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { port, kept: Mutex::default() });
        let serving = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&serving);
                let answer = service_fn(move |request| {
                    let state = Arc::clone(&state);
                    async move { state.take(request).await }
                });
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                // A connection that breaks is the client's business.
                tokio::spawn(async move { drop(serving.await) });
            }
        });
        Self { port, state, _runtime: runtime }
    }

    /// A job of `reference`, that is to be merged into `base`.
    pub(crate) fn job(&self, reference: &str, base: Option<&str>) -> ActionsJob {
        self.job_at(self.port, reference, base, Permission::WriteActions)
    }

    /// The same for who asks at another port, with a token that may do this.
    pub(crate) fn job_at(
        &self,
        port: u16,
        reference: &str,
        base: Option<&str>,
        may: Permission,
    ) -> ActionsJob {
        let branches = base.into_iter().chain([DEFAULT_BRANCH]).map(|branch| format!("refs/heads/{branch}"));
        let reads = [reference.to_owned()].into_iter().chain(branches).collect();
        let token = format!("{SECRET}-runtime-{reference}-{base:?}");
        self.state.kept().jobs.insert(token.clone(), reads);
        ActionsJob {
            results_url: Some(format!("http://127.0.0.1:{port}/results/")),
            runtime_token: Some(token),
            token: Some(format!("{SECRET}-{may:?}")),
            api_url: Some(format!("http://127.0.0.1:{port}/api")),
            repository: Some("octo/larder".to_owned()),
            reference: Some(reference.to_owned()),
            base: base.map(str::to_owned),
            event: None,
        }
    }

    /// Creates an entry that another program has written, or one whose upload never ended.
    pub(crate) fn plant(&self, reference: &str, key: &str, version: &str, content: Option<&'static [u8]>) {
        let mut kept = self.state.kept();
        let id = kept.create(reference, key, version).unwrap();
        let entry = kept.entry(id).unwrap();
        entry.content = content.map(Bytes::from_static);
        entry.is_whole = content.is_some();
    }

    /// Answers the next request with this status and these headers.
    pub(crate) fn limit(&self, status: u16, headers: &[(&str, &str)]) {
        let mut limited = answer(status, "");
        for (name, value) in headers {
            limited.headers_mut().insert(HeaderName::from_str(name).unwrap(), value.parse().unwrap());
        }
        self.state.kept().limit = Some(limited);
    }

    /// Removes the oldest entry after each page of a listing, as other jobs may.
    pub(crate) fn lose_one_after_each_page(&self) {
        self.state.kept().loses = true;
    }

    /// Key, version and ref of all entries that can be read.
    pub(crate) fn entries(&self) -> Vec<(String, String, String)> {
        let kept = self.state.kept();
        let whole = kept.entries.iter().filter(|entry| entry.is_whole);
        whole.map(|entry| (entry.key.clone(), entry.version.clone(), entry.reference.clone())).collect()
    }

    /// The requests since this was last asked, as `GET /path`.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state.kept().seen)
    }
}

impl Drop for ActionsCacheServer {
    fn drop(&mut self) {
        let unknown = std::mem::take(&mut self.state.kept().unknown);
        if !std::thread::panicking() {
            assert_eq!(unknown, Vec::<String>::new(), "these calls are not GitHub's");
        }
    }
}

impl Kept {
    fn create(&mut self, reference: &str, key: &str, version: &str) -> Option<u64> {
        let is_taken = |entry: &Entry| {
            entry.reference == reference && entry.version == version && entry.key.eq_ignore_ascii_case(key)
        };
        if self.entries.iter().any(is_taken) {
            return None;
        }
        self.entries_ever += 1;
        self.entries.push(Entry {
            id: self.entries_ever,
            reference: reference.to_owned(),
            key: key.to_owned(),
            version: version.to_owned(),
            content: None,
            is_whole: false,
        });
        Some(self.entries_ever)
    }

    fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// What a job restores: of the first ref that has any, the entry of this key, or else the newest that begins with it.
    fn restored(&self, reads: &[String], key: &str, version: &str) -> Option<&Entry> {
        let key = key.to_ascii_lowercase();
        reads.iter().find_map(|reference| {
            let of_ref = || {
                self.entries.iter().rev().filter(|entry| {
                    entry.is_whole && entry.reference == *reference && entry.version == version
                })
            };
            of_ref()
                .find(|entry| entry.key.eq_ignore_ascii_case(&key))
                .or_else(|| of_ref().find(|entry| entry.key.to_ascii_lowercase().starts_with(&key)))
        })
    }
}

fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}

/// An error as the cache service tells it.
fn twirp(status: u16, code: &str) -> Answer {
    answer(
        status,
        json!({ "code": code, "msg": "cache entry with the same key, version, and scope" }).to_string(),
    )
}

/// An error as the REST API tells it.
fn message(status: u16, text: &str) -> Answer {
    answer(
        status,
        json!({ "message": text, "documentation_url": "https://docs.github.com/rest" }).to_string(),
    )
}

impl State {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no panic")
    }

    /// An address that lets its holder do `what` with the entry's content.
    fn signed(&self, id: u64, what: &str) -> String {
        let signature = SECRET.replace('+', "%2B");
        format!("http://127.0.0.1:{}/blobs/{id}?sv=2025-01-05&sp={what}&sig={signature}", self.port)
    }

    async fn take(&self, request: Request<Incoming>) -> hyper::Result<Answer> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let url = Url::parse(&format!("http://127.0.0.1{}", head.uri)).unwrap();
        let call = format!("{} {}", head.method, url.path());
        let limit = {
            let mut kept = self.kept();
            kept.seen.push(call.clone());
            kept.limit.take()
        };
        if let Some(limited) = limit {
            return Ok(limited);
        }
        let bearer =
            head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let answered = if let Some(method) = url.path().strip_prefix(SERVICE) {
            self.serve_cache(method, &head.method, &head.headers, bearer, body)
        } else if let Some(id) = url.path().strip_prefix("/blobs/") {
            let is_signed = url.query_pairs().any(|(name, value)| name == "sig" && value == SECRET);
            if is_signed && bearer.is_none() {
                self.serve_blob(id.parse().unwrap(), &head.method, &head.headers, &url, body)
            } else {
                Some(answer(403, "<Error><Code>AuthenticationFailed</Code></Error>"))
            }
        } else if let Some(rest) = url.path().strip_prefix(REPOSITORY) {
            self.serve_api(rest, &head.method, &url, bearer)
        } else {
            None
        };
        Ok(answered.unwrap_or_else(|| {
            let mut told = call;
            write!(told, "?{} {:?}", url.query().unwrap_or_default(), head.headers).unwrap();
            self.kept().unknown.push(told);
            answer(501, "unknown")
        }))
    }

    fn serve_cache(
        &self,
        method: &str,
        verb: &Method,
        headers: &HeaderMap,
        bearer: Option<&str>,
        body: Bytes,
    ) -> Option<Answer> {
        if *verb != Method::POST || headers.get(CONTENT_TYPE)? != "application/protobuf" {
            return None;
        }
        let mut kept = self.kept();
        let Some(reads) = bearer.and_then(|token| kept.jobs.get(token)).cloned() else {
            return Some(twirp(401, "unauthenticated"));
        };
        let is_odd = |key: &str, version: &str| {
            key.is_empty() || key.len() > 512 || key.contains(',') || version.len() != 64
        };
        let encoded = match method {
            "CreateCacheEntry" => {
                let asked = CreateCacheEntryRequest::decode(body).ok()?;
                if is_odd(&asked.key, &asked.version) {
                    return Some(twirp(400, "invalid_argument"));
                }
                let Some(id) = kept.create(&reads[0], &asked.key, &asked.version) else {
                    return Some(twirp(409, "already_exists"));
                };
                CreateCacheEntryResponse { ok: true, signed_upload_url: self.signed(id, "w") }.encode_to_vec()
            }
            "FinalizeCacheEntryUpload" => {
                let asked = FinalizeCacheEntryUploadRequest::decode(body).ok()?;
                let size = usize::try_from(asked.size_bytes).ok();
                let begun = kept.entries.iter_mut().find(|entry| {
                    !entry.is_whole
                        && entry.reference == reads[0]
                        && entry.key == asked.key
                        && entry.version == asked.version
                });
                let Some(entry) = begun.filter(|entry| entry.content.as_ref().map(Bytes::len) == size) else {
                    return Some(twirp(404, "not_found"));
                };
                entry.is_whole = true;
                FinalizeCacheEntryUploadResponse { ok: true, entry_id: i64::try_from(entry.id).ok()? }
                    .encode_to_vec()
            }
            "GetCacheEntryDownloadURL" => {
                let asked = GetCacheEntryDownloadUrlRequest::decode(body).ok()?;
                if is_odd(&asked.key, &asked.version) {
                    return Some(twirp(400, "invalid_argument"));
                }
                let mut keys = [asked.key].into_iter().chain(asked.restore_keys);
                let found = keys.find_map(|key| kept.restored(&reads, &key, &asked.version));
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
        Some(answer(200, encoded))
    }

    fn serve_blob(
        &self,
        id: u64,
        verb: &Method,
        headers: &HeaderMap,
        url: &Url,
        body: Bytes,
    ) -> Option<Answer> {
        let may = |what: &str| url.query_pairs().any(|(name, value)| name == "sp" && value == what);
        let is_plain = !url.query_pairs().any(|(name, _)| name == "comp");
        let mut kept = self.kept();
        let Some(entry) = kept.entry(id) else {
            return Some(answer(404, "<Error><Code>BlobNotFound</Code></Error>"));
        };
        if *verb == Method::PUT && may("w") && is_plain && headers.get("x-ms-blob-type")? == "BlockBlob" {
            entry.content = Some(body);
            return Some(answer(201, ""));
        }
        if *verb != Method::GET || !may("r") || !is_plain {
            return None;
        }
        let content = entry.content.clone().filter(|_| entry.is_whole)?;
        let Some(range) = headers.get(RANGE) else {
            return Some(answer(200, content));
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

    fn serve_api(&self, rest: &str, verb: &Method, url: &Url, bearer: Option<&str>) -> Option<Answer> {
        let permissions = [Permission::None, Permission::ReadActions, Permission::WriteActions];
        let may = permissions.into_iter().find(|may| bearer == Some(&format!("{SECRET}-{may:?}")));
        let Some(may) = may else {
            return Some(message(401, "Bad credentials"));
        };
        let mut kept = self.kept();
        let forbidden = || Some(message(403, "Resource not accessible by integration"));
        match (verb, rest) {
            (&Method::GET, "") => {
                Some(answer(200, json!({ "id": 1, "default_branch": DEFAULT_BRANCH }).to_string()))
            }
            (&Method::GET, "/actions/caches") if may == Permission::None => forbidden(),
            (&Method::GET, "/actions/caches") => kept.page(url),
            (&Method::DELETE, _) => {
                let id: u64 = rest.strip_prefix("/actions/caches/")?.parse().ok()?;
                if may != Permission::WriteActions {
                    return forbidden();
                }
                let at = kept.entries.iter().position(|entry| entry.id == id && entry.is_whole);
                Some(at.map_or_else(
                    || message(404, "Not Found"),
                    |at| {
                        kept.entries.remove(at);
                        answer(204, "")
                    },
                ))
            }
            _ => None,
        }
    }
}

impl Kept {
    /// A page of the entries that can be read, the oldest first.
    fn page(&mut self, url: &Url) -> Option<Answer> {
        let asked: BTreeMap<_, _> = url.query_pairs().collect();
        let per_page: usize = asked.get("per_page")?.parse().ok().filter(|size| *size <= 100)?;
        let page: usize = asked.get("page")?.parse().ok()?;
        let order = (asked.get("sort")?.as_ref(), asked.get("direction")?.as_ref());
        if asked.len() != 5 || order != ("created_at", "asc") {
            return None;
        }
        let start = asked.get("key")?.to_ascii_lowercase();
        let found = || {
            self.entries
                .iter()
                .filter(|entry| entry.is_whole && entry.key.to_ascii_lowercase().starts_with(&start))
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
        if self.loses {
            self.entries.remove(0);
        }
        Some(answer(200, page.to_string()))
    }
}

/// Seconds since 1970, some from now.
pub(crate) fn seconds_from_now(seconds: u64) -> String {
    (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds).to_string()
}
