//! Reports of a running solve: vertexes, their progress, logs and warnings.
//!
//! A simplified form of `moby.buildkit.v1.StatusResponse`. Every message is a delta: a vertex is sent again in full
//! each time it changes; a status row is identified by its vertex and id; log bytes are sent once, split at any point.
//! A field `vertex` contains a digest.

use bollard_buildkit_proto::google::protobuf::Timestamp as ProtoTimestamp;
use bollard_buildkit_proto::moby::buildkit::v1 as control;
use jiff::Timestamp;
use serde::Serialize;

#[derive(Debug, Clone, Default)]
pub(crate) struct StatusUpdate {
    pub(crate) vertexes: Vec<Vertex>,
    /// Progress rows (layers pulled, bytes transferred) that changed.
    pub(crate) statuses: Vec<VertexStatus>,
    pub(crate) logs: Vec<VertexLog>,
    pub(crate) warnings: Vec<VertexWarning>,
}

/// A node of the build graph: a step, or one of BuildKit's internal jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Vertex {
    /// The node's content address, `sha256:…`; identifies it across messages.
    pub(crate) digest: String,
    /// Digests of its dependencies.
    pub(crate) inputs: Vec<String>,
    /// The display name: `[builder 2/3] RUN make`, `[internal] load build context`.
    pub(crate) name: String,
    pub(crate) is_cached: bool,
    pub(crate) started: Option<Timestamp>,
    /// End of the current run; `None` while it is running.
    pub(crate) completed: Option<Timestamp>,
    /// Empty unless the node failed. `context canceled` at the end means cancelled.
    pub(crate) error: String,
    /// The group (id, name) that the frontend wants it displayed in.
    pub(crate) progress_group: Option<(String, String)>,
}

/// A row of progress inside a vertex. It serializes to the fields of an event of `--progress json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct VertexStatus {
    pub(crate) vertex: String,
    /// The subject: `sha256:…`, `transferring context:`, `exporting layers`.
    pub(crate) id: String,
    pub(crate) current: i64,
    /// Total bytes; 0 if unknown.
    pub(crate) total: i64,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    /// `None` while it is in progress.
    pub(crate) completed: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VertexLog {
    pub(crate) vertex: String,
    /// 1 for stdout, 2 for stderr.
    pub(crate) stream: i64,
    pub(crate) data: Vec<u8>,
    pub(crate) timestamp: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VertexWarning {
    pub(crate) vertex: String,
    /// One line.
    pub(crate) short: String,
    pub(crate) detail: Vec<String>,
    /// A link to documentation; may be empty.
    pub(crate) url: String,
    /// First and last line in the Dockerfile, 1-based.
    pub(crate) lines: Option<(u32, u32)>,
}

impl From<control::StatusResponse> for StatusUpdate {
    fn from(response: control::StatusResponse) -> Self {
        Self {
            vertexes: response.vertexes.into_iter().map(Vertex::from).collect(),
            statuses: response.statuses.into_iter().map(VertexStatus::from).collect(),
            logs: response.logs.into_iter().map(VertexLog::from).collect(),
            warnings: response.warnings.into_iter().map(VertexWarning::from).collect(),
        }
    }
}

impl From<control::Vertex> for Vertex {
    fn from(vertex: control::Vertex) -> Self {
        Self {
            digest: vertex.digest,
            inputs: vertex.inputs,
            name: vertex.name,
            is_cached: vertex.cached,
            started: timestamp(vertex.started),
            completed: timestamp(vertex.completed),
            error: vertex.error,
            progress_group: vertex.progress_group.map(|group| (group.id, group.name)),
        }
    }
}

impl From<control::VertexStatus> for VertexStatus {
    fn from(status: control::VertexStatus) -> Self {
        Self {
            id: status.id,
            vertex: status.vertex,
            current: status.current,
            total: status.total,
            timestamp: timestamp(status.timestamp),
            started: timestamp(status.started),
            completed: timestamp(status.completed),
        }
    }
}

impl From<control::VertexLog> for VertexLog {
    fn from(log: control::VertexLog) -> Self {
        Self { vertex: log.vertex, stream: log.stream, data: log.msg, timestamp: timestamp(log.timestamp) }
    }
}

impl From<control::VertexWarning> for VertexWarning {
    fn from(warning: control::VertexWarning) -> Self {
        let line = |line: i32| u32::try_from(line).ok();
        Self {
            vertex: warning.vertex,
            short: String::from_utf8_lossy(&warning.short).into_owned(),
            detail: (warning.detail.iter()).map(|line| String::from_utf8_lossy(line).into_owned()).collect(),
            url: warning.url,
            lines: warning
                .ranges
                .first()
                .and_then(|range| Some((line(range.start.as_ref()?.line)?, line(range.end.as_ref()?.line)?))),
        }
    }
}

fn timestamp(proto: Option<ProtoTimestamp>) -> Option<Timestamp> {
    let proto = proto?;
    Timestamp::new(proto.seconds, proto.nanos).ok()
}
