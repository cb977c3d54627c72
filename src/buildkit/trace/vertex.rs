//! The state of one vertex, or of a group displayed as one.
//!
//! The frontend may request that several vertexes are displayed as one (`COPY --link` is a copy and a merge). They
//! become one [`VertexTrace`]. It covers the time of all of them, is cached if all that ran were cached, and failed if
//! one failed.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::log_line::{DatedLine, LogLine, OpenLine};
use super::runs::{Runs, covered, elapsed};
use crate::buildkit::status::{Vertex, VertexLog, VertexStatus, VertexWarning};

/// Number of last lines of a vertex that are stored for the failure report.
const REMEMBERED_LINES: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VertexState {
    Waiting,
    Running,
    /// Ended with a result from a cache.
    Cached,
    /// Ended with a new result.
    Done,
    /// Stopped because of a failure elsewhere or an interrupt.
    Cancelled,
    Failed,
}

impl VertexState {
    pub(crate) fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct VertexTrace {
    key: String,
    group_name: Option<String>,
    members: Vec<GroupMember>,
    statuses: Vec<VertexStatus>,
    warnings: Vec<VertexWarning>,
    /// The first layer that was pulled a second time.
    pulled_again: Option<String>,
    open_output: Vec<(i64, OpenLine)>,
    lines: VecDeque<LogLine>,
}

#[derive(Debug, Clone, Default)]
struct GroupMember {
    vertex: Vertex,
    /// `true` if the vertex was ever reported as cached.
    was_cached: bool,
    /// `true` if an error was ever reported: the cached result could not be fetched, even if the step ran afterwards.
    has_failed: bool,
    runs: Runs,
}

impl VertexTrace {
    /// Creates the trace of the vertex with digest `key`, or of the group `key` with the name `group_name`.
    pub(super) fn new(key: String, group_name: Option<String>) -> Self {
        Self { key, group_name, ..Self::default() }
    }

    /// Returns the digest; for a group, that of its first vertex.
    pub(crate) fn digest(&self) -> &str {
        self.members.first().map_or(&self.key, |member| &member.vertex.digest)
    }

    /// Returns the display name, or the digest if no name was reported.
    pub(crate) fn name(&self) -> &str {
        let own = || self.members.first().map(|member| member.vertex.name.as_str());
        match self.group_name.as_deref().or_else(own) {
            Some(name) if !name.is_empty() => name,
            _ => self.digest(),
        }
    }

    /// Returns `true` if the result came from a cache, as far as known.
    pub(crate) fn is_cached(&self) -> bool {
        let mut started = self.members.iter().filter(|member| member.runs.first_start().is_some()).peekable();
        // If a result from a registry is needed after all, it is fetched in a further run that is not reported as
        // cached.
        let has_fetched = || self.statuses.iter().any(|status| is_fetched_layer(&status.id));
        let cached = |member: &GroupMember| {
            !member.has_failed && (member.vertex.is_cached || member.was_cached && has_fetched())
        };
        started.peek().is_some() && started.all(cached)
    }

    /// Returns the reason for a failure or cancellation; failures take precedence.
    pub(crate) fn error(&self) -> Option<&str> {
        let errors = || self.members.iter().map(|member| member.vertex.error.as_str());
        errors().filter(|error| !error.is_empty()).min_by_key(|error| is_cancellation(error))
    }

    pub(crate) fn state(&self) -> VertexState {
        let ended = match self.error() {
            Some(error) if is_cancellation(error) => VertexState::Cancelled,
            Some(_) => VertexState::Failed,
            None if self.first_start().is_none() => VertexState::Waiting,
            None if self.is_cached() => VertexState::Cached,
            None => VertexState::Done,
        };
        if self.members.iter().any(|member| member.runs.is_open()) { VertexState::Running } else { ended }
    }

    pub(crate) fn first_start(&self) -> Option<Timestamp> {
        self.members.iter().filter_map(|member| member.runs.first_start()).min()
    }

    pub(crate) fn last_stop(&self) -> Option<Timestamp> {
        self.members.iter().filter_map(|member| member.runs.last_stop()).max()
    }

    /// Returns the time that the vertex was running up to `at`; overlapping runs count once.
    pub(crate) fn duration(&self, at: Timestamp) -> Duration {
        covered(self.spans(at))
    }

    /// Returns the runs as (start, stop) pairs; an open one ends at `at`.
    pub(super) fn spans(&self, at: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.members.iter().flat_map(move |member| member.runs.spans(at))
    }

    pub(crate) fn statuses(&self) -> &[VertexStatus] {
        &self.statuses
    }

    /// Returns the digest of a layer that was pulled again after its pull had ended. Graph drivers retry a failed pull
    /// in this way for minutes.
    pub(crate) fn pulled_again(&self) -> Option<&str> {
        self.pulled_again.as_deref()
    }

    pub(crate) fn is_fetching(&self) -> bool {
        self.statuses.iter().any(|status| status.completed.is_none() && is_fetched_layer(&status.id))
    }

    /// Returns the digests of the layers that were fetched, each with the number of bytes that were reported.
    pub(super) fn fetched_layers(&self) -> Vec<(String, u64)> {
        let layer = |status: &VertexStatus| {
            let id = status.id.strip_prefix(PULLING).unwrap_or(&status.id);
            id.starts_with("sha256:")
                .then(|| (id.to_owned(), u64::try_from(status.current).unwrap_or_default()))
        };
        self.statuses.iter().filter_map(layer).collect()
    }

    /// Returns the number of bytes of layers downloaded so far, if the vertex is waiting for more and is not unpacking
    /// a layer. Graph drivers report no progress row for a layer of which no bytes have arrived.
    pub(crate) fn downloaded_bytes(&self) -> Option<i64> {
        let is_unpacked =
            |status: &VertexStatus| status.completed.is_none() && status.id.starts_with("extracting ");
        let is_waiting = self.state() == VertexState::Running && !self.statuses.iter().any(is_unpacked);
        let layers = self.statuses.iter().filter(|status| status.id.starts_with("sha256:"));
        is_waiting.then(|| layers.map(|status| status.current).sum())
    }

    pub(crate) fn warnings(&self) -> &[VertexWarning] {
        &self.warnings
    }

    /// Returns the last complete lines, oldest first; at most [`REMEMBERED_LINES`].
    pub(crate) fn last_lines(&self) -> impl DoubleEndedIterator<Item = &LogLine> {
        self.lines.iter()
    }

    /// Returns the unfinished lines, at most one per stream.
    pub(crate) fn open_lines(&self) -> impl Iterator<Item = LogLine> {
        self.open_output
            .iter()
            .filter_map(|(stream, open)| open.partial().map(|dated| self.line(&self.key, *stream, dated)))
    }

    /// Applies a vertex message and returns `true` if it changed anything.
    pub(super) fn apply(&mut self, vertex: Vertex) -> bool {
        let known = self.members.iter().position(|member| member.vertex.digest == vertex.digest);
        let index = known.unwrap_or_else(|| {
            self.members.push(GroupMember::default());
            self.members.len() - 1
        });
        let member = &mut self.members[index];
        // A second request for a vertex announces it again. It has still started.
        let is_announced_again = vertex.started.is_none() && member.runs.first_start().is_some();
        if is_announced_again || member.vertex == vertex {
            return false;
        }
        if let Some(start) = vertex.started {
            member.runs.record(start, vertex.completed);
        }
        member.was_cached |= vertex.is_cached;
        member.has_failed |= !vertex.error.is_empty() && !is_cancellation(&vertex.error);
        member.vertex = vertex;
        true
    }

    /// Replaces the runs by those of a vertex that did the same work in an earlier solve.
    pub(super) fn adopt_runs_of(&mut self, before: &Self) {
        for (member, worked) in self.members.iter_mut().zip(&before.members) {
            member.runs.clone_from(&worked.runs);
            member.vertex.is_cached = worked.vertex.is_cached;
            member.was_cached = worked.was_cached;
            member.has_failed = worked.has_failed;
        }
    }

    /// Applies a progress row and returns its index if it changed.
    pub(super) fn apply_status(&mut self, status: VertexStatus) -> Option<usize> {
        match self.statuses.iter().position(|known| known.id == status.id) {
            Some(index) if self.statuses[index] == status => None,
            Some(index) => {
                let ended = self.statuses[index].completed;
                let is_second = ended.is_some_and(|ended| status.started.is_some_and(|start| start > ended));
                if is_second && self.pulled_again.is_none() {
                    self.pulled_again = status.id.strip_prefix(PULLING).map(str::to_owned);
                }
                self.statuses[index] = status;
                Some(index)
            }
            None => {
                self.statuses.push(status);
                Some(self.statuses.len() - 1)
            }
        }
    }

    pub(super) fn add_warning(&mut self, warning: VertexWarning) -> usize {
        self.warnings.push(warning);
        self.warnings.len() - 1
    }

    /// Adds output and returns the lines that it completed.
    pub(super) fn write(&mut self, log: &VertexLog) -> Vec<LogLine> {
        let index =
            self.open_output.iter().position(|(stream, _)| *stream == log.stream).unwrap_or_else(|| {
                self.open_output.push((log.stream, OpenLine::default()));
                self.open_output.len() - 1
            });
        let ended = self.open_output[index].1.push(&log.data, log.timestamp);
        let lines: Vec<_> =
            ended.into_iter().map(|dated| self.line(&log.vertex, log.stream, dated)).collect();
        self.remember(&lines);
        lines
    }

    /// Ends the unfinished lines and returns them.
    pub(super) fn close_lines(&mut self) -> Vec<LogLine> {
        let closed: Vec<_> =
            self.open_output.iter_mut().filter_map(|(stream, open)| Some((*stream, open.close()?))).collect();
        let lines: Vec<_> =
            closed.into_iter().map(|(stream, dated)| self.line(&self.key, stream, dated)).collect();
        self.remember(&lines);
        lines
    }

    fn remember(&mut self, lines: &[LogLine]) {
        self.lines.extend(lines.iter().cloned());
        let surplus = self.lines.len().saturating_sub(REMEMBERED_LINES);
        self.lines.drain(..surplus);
    }

    fn line(&self, digest: &str, stream: i64, (at, text): DatedLine) -> LogLine {
        let own = self.members.iter().find(|member| member.vertex.digest == digest);
        let start = match own {
            Some(member) => member.runs.last_start(),
            None => self.first_start(),
        };
        let since_start = start.zip(at).map(|(start, at)| elapsed(start, at)).unwrap_or_default();
        LogLine { stream, since_start, text }
    }
}

/// Prefix of the progress row of a layer that a graph driver pulls (moby `builder/builder-next/worker`).
const PULLING: &str = "pulling ";

/// Returns `true` for the progress row of a layer that is fetched (BuildKit `util/pull/pullprogress`, `cache/refs.go`).
fn is_fetched_layer(id: &str) -> bool {
    ["sha256:", "extracting sha256:", "pulling sha256:"].iter().any(|start| id.starts_with(start))
}

pub(super) fn is_cancellation(error: &str) -> bool {
    error.ends_with("context canceled")
}
