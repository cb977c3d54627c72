//! One solve: the request, its status stream, its session, and its end.
//!
//! The response to `Solve` is the result. The status stream may still contain log lines at that point, so it is drained
//! for a moment longer. Cancelling drops the call, and BuildKit then stops every step. The status stream is drained in
//! this case as well, so that the caller sees that the steps have stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1 as control;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status};

use super::Client;
use super::error::SolveError;
use super::llb::Definition;
use super::session::{Attachments, SolveSession, new_id};
use super::status::StatusUpdate;

/// How long the status stream may be silent after the solve has ended.
const STATUS_GRACE: Duration = Duration::from_secs(2);
/// As [`STATUS_GRACE`], for a failed solve without any status message. If BuildKit rejected the solve, its status call
/// takes seconds to report that the solve is unknown.
const SILENT_GRACE: Duration = Duration::from_millis(500);
/// How long the status stream is read in total after the solve has ended.
const STATUS_LIMIT: Duration = Duration::from_secs(10);
/// How long a solve may take to respond after its session has ended.
const SESSION_GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
pub(crate) struct SolveRequest {
    /// For example `dockerfile.v0` or `gateway.v0`; empty if there is a definition.
    pub(crate) frontend: String,
    pub(crate) definition: Option<Definition>,
    /// The frontend's options (`target`, `build-arg:NAME`, `context:NAME`, …).
    pub(crate) attributes: BTreeMap<String, String>,
    /// The outputs; if empty, the result stays in the build cache only.
    pub(crate) exporters: Vec<Exporter>,
    pub(crate) cache_imports: Vec<CacheEntry>,
    pub(crate) cache_exports: Vec<CacheEntry>,
    /// Permissions beyond the default (`network.host`, `security.insecure`).
    pub(crate) entitlements: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exporter {
    /// `moby`, `image`, `local`, `tar`, `oci` or `docker`.
    pub(crate) kind: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CacheEntry {
    /// `registry`, `inline`, `local`, `gha`, `s3`, `azblob`.
    pub(crate) kind: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// The response of a successful solve: `containerimage.digest`, `containerimage.config.digest`, ….
pub(crate) type ExporterResponse = BTreeMap<String, String>;

impl Client {
    /// Runs a solve to its end, serves `attachments`, and passes every status message to `status`.
    ///
    /// A failed build, a lost session or connection, and cancelling are separate errors. When this returns, nothing of
    /// the build is running.
    pub(crate) async fn solve(
        &self,
        request: SolveRequest,
        attachments: Attachments,
        status: mpsc::Sender<StatusUpdate>,
        cancel: CancellationToken,
    ) -> Result<ExporterResponse, SolveError> {
        let mut session = SolveSession::open(self, attachments).await?;
        let reference = new_id().map_err(|error| self.broken(error))?;
        let (end, ended) = watch::channel(None);
        let following = forward_status(self.clone(), reference.clone(), status, ended);
        // If the caller drops this future, the stream must not keep the task alive.
        let watching = AbortOnDropHandle::new(tokio::spawn(following));

        let mut control = self.control.clone();
        let message = to_message(request, reference, session.id());
        let answer = {
            let solving = control.solve(message);
            tokio::pin!(solving);
            tokio::select! {
                answer = &mut solving => Ok(answer),
                () = cancel.cancelled() => Err(SolveError::Cancelled),
                () = session.wait_closed() => {
                    let late = tokio::time::timeout(SESSION_GRACE, &mut solving).await;
                    late.map_err(|_| SolveError::SessionLost)
                }
            }
        };
        let silence = if matches!(answer, Ok(Ok(_))) { STATUS_GRACE } else { SILENT_GRACE };
        end.send_replace(Some(silence));
        // A panic in the task does not affect the result of the solve.
        drop(watching.await);
        answer?.map(exporter_response).map_err(SolveError::from_status)
    }
}

fn exporter_response(response: Response<control::SolveResponse>) -> ExporterResponse {
    response.into_inner().exporter_response.into_iter().collect()
}

/// Forwards the status stream until it ends, is silent for too long after the end of the solve, or exceeds
/// [`STATUS_LIMIT`].
///
/// `ended` reports the end of the solve, and how long to wait after it for a first message.
async fn forward_status(
    client: Client,
    reference: String,
    status: mpsc::Sender<StatusUpdate>,
    ended: watch::Receiver<Option<Duration>>,
) {
    let mut control = client.control.clone();
    let request = control::StatusRequest { r#ref: reference };
    let too_late = async |has_message: bool| {
        let mut ended = ended.clone();
        // The sender outlives this task.
        let silence = ended.wait_for(Option::is_some).await.ok().and_then(|silence| *silence);
        tokio::time::sleep(if has_message { STATUS_GRACE } else { silence.unwrap_or_default() }).await;
    };
    let stream = tokio::select! {
        stream = control.status(request) => stream,
        () = too_late(false) => return,
    };
    // Without a status stream the solve still returns its result.
    let Ok(mut stream) = stream.map(Response::into_inner) else { return };
    let limit = async {
        let mut ended = ended.clone();
        drop(ended.wait_for(Option::is_some).await);
        tokio::time::sleep(STATUS_LIMIT).await;
    };
    tokio::pin!(limit);
    let mut has_message = false;
    loop {
        let message: Result<Option<control::StatusResponse>, Status> = tokio::select! {
            message = stream.message() => message,
            () = too_late(has_message) => return,
            () = &mut limit => return,
        };
        let Ok(Some(message)) = message else { return };
        has_message = true;
        if status.send(message.into()).await.is_err() {
            return;
        }
    }
}

fn to_message(request: SolveRequest, reference: String, session: &str) -> control::SolveRequest {
    let mut attributes = request.attributes;
    if !request.cache_imports.is_empty() {
        // The frontend imports caches itself and reads this attribute.
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
        definition: request.definition,
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
