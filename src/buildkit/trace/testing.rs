//! Builders of status messages for tests.
//!
//! Times are milliseconds after [`at`]`(0)`.

use jiff::{SignedDuration, Timestamp};

use crate::buildkit::status::{StatusUpdate, Vertex, VertexLog, VertexStatus, VertexWarning};

/// Returns the time `millis` after the start of the tests' epoch.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000) + SignedDuration::from_millis(millis)
}

/// A status message under construction.
#[derive(Default)]
pub(crate) struct TraceScript(StatusUpdate);

impl TraceScript {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn update(self) -> StatusUpdate {
        self.0
    }

    fn vertex(mut self, digest: &str, name: &str, change: impl FnOnce(&mut Vertex)) -> Self {
        let mut vertex = Vertex { digest: digest.into(), name: name.into(), ..Vertex::default() };
        change(&mut vertex);
        self.0.vertexes.push(vertex);
        self
    }

    pub(crate) fn announce(self, digest: &str, name: &str) -> Self {
        self.vertex(digest, name, |_| {})
    }

    pub(crate) fn start(self, digest: &str, name: &str, start: i64) -> Self {
        self.vertex(digest, name, |vertex| vertex.started = Some(at(start)))
    }

    pub(crate) fn done(self, digest: &str, name: &str, start: i64, stop: i64) -> Self {
        self.failed(digest, name, start, stop, "")
    }

    pub(crate) fn failed(self, digest: &str, name: &str, start: i64, stop: i64, error: &str) -> Self {
        self.vertex(digest, name, |vertex| {
            vertex.started = Some(at(start));
            vertex.completed = Some(at(stop));
            vertex.error = error.into();
        })
    }

    pub(crate) fn cached(self, digest: &str, name: &str, when: i64) -> Self {
        let mut script = self.done(digest, name, when, when);
        script.0.vertexes.iter_mut().for_each(|vertex| vertex.is_cached |= vertex.digest == digest);
        script
    }

    /// Puts all vertexes of the message into one group.
    pub(crate) fn grouped(mut self, id: &str, name: &str) -> Self {
        self.0.vertexes.iter_mut().for_each(|vertex| vertex.progress_group = Some((id.into(), name.into())));
        self
    }

    pub(crate) fn log(self, digest: &str, when: i64, data: impl AsRef<[u8]>) -> Self {
        self.log_on(1, digest, when, data)
    }

    pub(crate) fn log_on(mut self, stream: i64, digest: &str, when: i64, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref().to_vec();
        self.0.logs.push(VertexLog { vertex: digest.into(), stream, data, timestamp: Some(at(when)) });
        self
    }

    /// Adds a progress row that started at `start` and was reported at `when`, which is also its end if `over`.
    pub(crate) fn status(
        mut self,
        digest: &str,
        id: &str,
        (current, total): (i64, i64),
        (start, when): (i64, i64),
        over: bool,
    ) -> Self {
        self.0.statuses.push(VertexStatus {
            id: id.into(),
            vertex: digest.into(),
            current,
            total,
            timestamp: Some(at(when)),
            started: Some(at(start)),
            completed: over.then(|| at(when)),
        });
        self
    }

    /// Adds a layer that a graph driver pulled from `start` to `stop`.
    pub(crate) fn pulling(self, digest: &str, start: i64, stop: i64) -> Self {
        let id = "pulling sha256:1";
        let begun = self.status(digest, id, (0, 0), (start, start), false);
        begun.status(digest, id, (0, 0), (start, stop), true)
    }

    pub(crate) fn warning(mut self, digest: &str, short: &str) -> Self {
        self.0.warnings.push(VertexWarning {
            vertex: digest.into(),
            short: short.into(),
            detail: vec!["more".into()],
            url: "https://example.org/rule".into(),
            lines: Some((3, 4)),
        });
        self
    }
}
