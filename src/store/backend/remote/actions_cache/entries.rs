//! Lists and removes entries of the cache through GitHub's REST API, because the cache service itself does not.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use http::header::{ACCEPT, AUTHORIZATION};
use http::{Method, Request, Response, StatusCode};
use opendal::raw::{Operation, percent_encode_path};
use opendal::{Buffer, Error, ErrorKind, OperationContext, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::job::{CacheJob, EventRepository};
use crate::store::backend::remote::fault::PermissionHint;

/// The number of entries per page, the maximum of the API.
const PAGE_SIZE: u64 = 100;
const PERMISSION: PermissionHint = PermissionHint(
    "GITHUB_TOKEN must be the job's own token, and the job needs `permissions: actions: write`",
);

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ActionsCacheEntry {
    id: u64,
    #[serde(rename = "ref")]
    pub(super) reference: String,
    pub(super) key: String,
    version: String,
    pub(super) size_in_bytes: u64,
}

#[derive(Deserialize)]
struct EntryPage {
    total_count: u64,
    actions_caches: Vec<ActionsCacheEntry>,
}

/// The entries with larder's version that the job can read.
#[derive(Debug)]
pub(super) struct ActionsCacheEntries {
    job: Arc<CacheJob>,
    version: String,
    /// The refs whose entries the job reads. Concurrent first callers all query them, because waiting for a query that
    /// fails would take two deadlines.
    refs: OnceLock<Vec<String>>,
}

impl ActionsCacheEntries {
    pub(super) fn new(job: Arc<CacheJob>, version: &str) -> Self {
        Self { job, version: version.to_owned(), refs: OnceLock::new() }
    }

    /// Returns the entries whose keys begin with `start`, sorted by key. Of the entries with the same key, the one that
    /// the job reads comes first.
    pub(super) async fn find(
        &self,
        context: &OperationContext,
        start: &str,
    ) -> Result<Vec<ActionsCacheEntry>> {
        let refs = self.refs(context).await?;
        let rank =
            |entry: &ActionsCacheEntry| refs.iter().position(|reference| *reference == entry.reference);
        let mut found: Vec<(Option<usize>, ActionsCacheEntry)> = self
            .list(context, start)
            .await?
            .into_iter()
            .map(|entry| (rank(&entry), entry))
            .filter(|(rank, entry)| {
                rank.is_some() && entry.version == self.version && entry.key.starts_with(start)
            })
            .collect();
        found.sort_by(|(rank, entry), (other_rank, other)| (&entry.key, rank).cmp(&(&other.key, other_rank)));
        Ok(found.into_iter().map(|(_, entry)| entry).collect())
    }

    pub(super) async fn own_entry(
        &self,
        context: &OperationContext,
        key: &str,
    ) -> Result<Option<ActionsCacheEntry>> {
        let found = self.find(context, key).await?;
        Ok(found.into_iter().find(|entry| entry.key == key && entry.reference == self.job.reference))
    }

    /// Removes an entry if it still exists.
    pub(super) async fn remove(&self, context: &OperationContext, entry: &ActionsCacheEntry) -> Result<()> {
        let url = format!("{}/actions/caches/{}", self.job.repository_url(), entry.id);
        let answer = self.send(context, Method::DELETE, &url, Operation::Delete).await?;
        match answer.status() {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            status => Err(status_error(status)),
        }
    }

    async fn refs(&self, context: &OperationContext) -> Result<&[String]> {
        if let Some(refs) = self.refs.get() {
            return Ok(refs);
        }
        let branch = match self.job.default_branch_of_event() {
            Some(branch) => branch,
            None => self.get::<EventRepository>(context, &self.job.repository_url()).await?.default_branch,
        };
        Ok(self.refs.get_or_init(|| self.job.readable_refs(&branch)))
    }

    /// Lists all pages, of all refs. Sorted by creation time, new entries are added at the end, and the entries after a
    /// removed one move to the previous page. The pages are read from last to first, so that no entry is missed.
    async fn list(&self, context: &OperationContext, start: &str) -> Result<Vec<ActionsCacheEntry>> {
        let first = self.page(context, start, 1).await?;
        if first.total_count <= PAGE_SIZE {
            return Ok(first.actions_caches);
        }
        let mut found = BTreeMap::new();
        for number in (1..=first.total_count.div_ceil(PAGE_SIZE)).rev() {
            let page = self.page(context, start, number).await?;
            found.extend(page.actions_caches.into_iter().map(|entry| (entry.id, entry)));
        }
        Ok(found.into_values().collect())
    }

    async fn page(&self, context: &OperationContext, start: &str, number: u64) -> Result<EntryPage> {
        let (repository, key) = (self.job.repository_url(), percent_encode_path(start));
        let how = format!("per_page={PAGE_SIZE}&page={number}&sort=created_at&direction=asc");
        self.get(context, &format!("{repository}/actions/caches?key={key}&{how}")).await
    }

    async fn get<T: DeserializeOwned>(&self, context: &OperationContext, url: &str) -> Result<T> {
        let answer = self.send(context, Method::GET, url, Operation::List).await?;
        if !answer.status().is_success() {
            return Err(status_error(answer.status()));
        }
        let odd = |_| Error::new(ErrorKind::Unexpected, "GitHub's API sent an unexpected response");
        serde_json::from_slice(&answer.into_body().to_bytes()).map_err(odd)
    }

    async fn send(
        &self,
        context: &OperationContext,
        method: Method,
        url: &str,
        operation: Operation,
    ) -> Result<Response<Buffer>> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", "2022-11-28")
            .header(AUTHORIZATION, format!("Bearer {}", self.job.token))
            .extension(operation)
            .extension(PERMISSION)
            .body(Buffer::new())
            .map_err(|_| {
                Error::new(ErrorKind::ConfigInvalid, "GITHUB_API_URL or GITHUB_TOKEN is malformed")
            })?;
        context.http_transport().send(request).await
    }
}

/// Converts an error status. A 404 is an error as well, because it means that the token has no access to the
/// repository.
fn status_error(status: StatusCode) -> Error {
    let kind = if status == StatusCode::FORBIDDEN || status == StatusCode::UNAUTHORIZED {
        ErrorKind::PermissionDenied
    } else {
        ErrorKind::Unexpected
    };
    Error::new(kind, format!("GitHub's API answered {status}"))
}
