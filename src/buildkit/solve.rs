//! One solve: the request, its status stream, its session, and its end.
//!
//! The order of ends matters. The answer to `Solve` is the result; the status
//! stream may still hold log lines then, so it is drained for a moment longer.
//! Cancelling drops the call, which BuildKit takes as the order to stop every
//! step; the status stream is drained then as well, so that the caller can see
//! that the steps have stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1 as control;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status};

use super::Client;
use super::error::{ConnectError, SolveError};
use super::llb::Definition;
use super::session::{Attachments, Session, new_id};
use super::status::StatusUpdate;

/// How long a status stream may be silent after the solve has ended.
const STATUS_GRACE: Duration = Duration::from_secs(2);
/// The same after a failure of which the stream never said anything: for a solve that BuildKit refused it
/// takes seconds to say that it does not know it.
const SILENT_GRACE: Duration = Duration::from_millis(500);
/// How long a status stream is read at all after the solve has ended.
const STATUS_LIMIT: Duration = Duration::from_secs(10);
/// How long after the end of its session a solve may still answer.
const SESSION_GRACE: Duration = Duration::from_secs(5);

/// What to solve.
#[derive(Debug, Clone, Default)]
pub struct SolveRequest {
    /// Frontend, e.g. `dockerfile.v0` or `gateway.v0`; empty where there is a definition.
    pub(crate) frontend: String,
    /// What no frontend has to make.
    pub(crate) definition: Option<Definition>,
    /// The frontend's options (`target`, `build-arg:NAME`, `context:NAME`, …).
    pub(crate) attributes: BTreeMap<String, String>,
    /// What becomes of the result; none keeps it in the build cache only.
    pub(crate) exporters: Vec<Exporter>,
    /// Where to take layers from.
    pub(crate) cache_imports: Vec<CacheEntry>,
    /// Where to put layers.
    pub(crate) cache_exports: Vec<CacheEntry>,
    /// Rights that the build needs beyond the usual (`network.host`, `security.insecure`).
    pub(crate) entitlements: Vec<String>,
}

/// An exporter and its attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exporter {
    /// `moby`, `image`, `local`, `tar`, `oci` or `docker`.
    pub(crate) kind: String,
    /// E.g. `name`, `push`.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A cache backend and its attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheEntry {
    /// `registry`, `inline`, `local`, `gha`, `s3`, `azblob`.
    pub(crate) kind: String,
    /// E.g. `ref`, `mode`.
    pub(crate) attributes: BTreeMap<String, String>,
}

/// What a finished solve answered: `containerimage.digest`, `containerimage.config.digest`, ….
pub(crate) type ExporterResponse = BTreeMap<String, String>;

impl Client {
    /// Runs a solve to its end, serving `attachments`, and passes every status message to `status`.
    ///
    /// # Errors
    ///
    /// Tells a failed build from a lost session or connection and from the
    /// caller's own cancelling. When it returns, nothing of the build runs on.
    pub(crate) async fn solve(
        &self,
        request: SolveRequest,
        attachments: Attachments,
        status: mpsc::Sender<StatusUpdate>,
        cancel: CancellationToken,
    ) -> Result<ExporterResponse, SolveError> {
        let mut session = Session::open(self, attachments).await?;
        let broken = |error: std::io::Error| ConnectError::Broken(self.endpoint().clone(), error.into());
        let reference = new_id().map_err(broken)?;
        let (end, ended) = watch::channel(None);
        let following = follow(self.clone(), reference.clone(), status, ended);
        // A caller who waits no longer must not be held up by a stream that never ends.
        let watching = AbortOnDropHandle::new(tokio::spawn(following));

        let mut control = self.control.clone();
        let message = message(request, reference, session.id());
        let answer = {
            let solving = control.solve(message);
            tokio::pin!(solving);
            tokio::select! {
                answer = &mut solving => Ok(answer),
                () = cancel.cancelled() => Err(SolveError::Cancelled),
                () = session.closed() => {
                    let late = tokio::time::timeout(SESSION_GRACE, &mut solving).await;
                    late.map_err(|_| SolveError::SessionLost)
                }
            }
        };
        let silence = if matches!(answer, Ok(Ok(_))) { STATUS_GRACE } else { SILENT_GRACE };
        end.send_replace(Some(silence));
        // A panic there would be a bug in the caller's channel; the solve's answer stands all the same.
        drop(watching.await);
        answer?.map(exporter_response).map_err(SolveError::from_status)
    }
}

fn exporter_response(response: Response<control::SolveResponse>) -> ExporterResponse {
    response.into_inner().exporter_response.into_iter().collect()
}

/// Forwards the status stream until it ends, or is silent for too long after the solve has ended, or
/// [`STATUS_LIMIT`] is over by then.
///
/// `ended` tells that it has, and how long to wait then for a first message.
async fn follow(
    client: Client,
    reference: String,
    status: mpsc::Sender<StatusUpdate>,
    ended: watch::Receiver<Option<Duration>>,
) {
    let mut control = client.control.clone();
    let request = control::StatusRequest { r#ref: reference };
    let too_late = async |heard: bool| {
        let mut ended = ended.clone();
        // The sender outlives this task; were it gone, the solve would have ended as well.
        let silence = ended.wait_for(Option::is_some).await.ok().and_then(|silence| *silence);
        tokio::time::sleep(if heard { STATUS_GRACE } else { silence.unwrap_or_default() }).await;
    };
    let stream = tokio::select! {
        stream = control.status(request) => stream,
        () = too_late(false) => return,
    };
    // Without a status stream the solve still tells how it ended.
    let Ok(mut stream) = stream.map(Response::into_inner) else { return };
    let limit = async {
        let mut ended = ended.clone();
        drop(ended.wait_for(Option::is_some).await);
        tokio::time::sleep(STATUS_LIMIT).await;
    };
    tokio::pin!(limit);
    let mut heard = false;
    loop {
        let message: Result<Option<control::StatusResponse>, Status> = tokio::select! {
            message = stream.message() => message,
            () = too_late(heard) => return,
            () = &mut limit => return,
        };
        let Ok(Some(message)) = message else { return };
        heard = true;
        if status.send(message.into()).await.is_err() {
            return;
        }
    }
}

fn message(request: SolveRequest, reference: String, session: &str) -> control::SolveRequest {
    let mut attributes = request.attributes;
    if !request.cache_imports.is_empty() {
        // The frontend imports caches itself, and reads which ones from here.
        let imports: Vec<_> = (request.cache_imports.iter())
            .map(|cache| serde_json::json!({ "Type": cache.kind, "Attrs": cache.attributes }))
            .collect();
        attributes.insert("cache-imports".to_owned(), serde_json::Value::from(imports).to_string());
    }
    let first = request.exporters.first().cloned().unwrap_or_default();
    let exporters = if request.exporters.len() > 1 {
        (request.exporters.into_iter())
            .map(|exporter| control::Exporter {
                r#type: exporter.kind,
                attrs: exporter.attributes.into_iter().collect(),
            })
            .collect()
    } else {
        Vec::new()
    };
    control::SolveRequest {
        r#ref: reference,
        exporter_deprecated: first.kind,
        exporter_attrs_deprecated: first.attributes.into_iter().collect(),
        exporters,
        session: session.to_owned(),
        frontend: request.frontend,
        definition: request.definition.map(Definition::into_message),
        frontend_attrs: attributes.into_iter().collect(),
        cache: Some(control::CacheOptions {
            exports: entries(request.cache_exports),
            imports: entries(request.cache_imports),
            ..control::CacheOptions::default()
        }),
        entitlements: request.entitlements,
        ..control::SolveRequest::default()
    }
}

fn entries(entries: Vec<CacheEntry>) -> Vec<control::CacheOptionsEntry> {
    (entries.into_iter())
        .map(|entry| control::CacheOptionsEntry {
            r#type: entry.kind,
            attrs: entry.attributes.into_iter().collect(),
        })
        .collect()
}
