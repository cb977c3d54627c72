//! What is known about one vertex, or about a group shown as one.
//!
//! The frontend may ask for several vertexes to be shown as one (`COPY --link`
//! is a copy and a merge): they become one [`VertexTrace`] whose time is the
//! time of all, which is cached when all that ran were, and which failed when
//! one did.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::log_line::{Dated, LogLine, OpenLine};
use super::runs::{Runs, covered, elapsed};
use crate::buildkit::status::{Vertex, VertexLog, VertexStatus, VertexWarning};

/// How many of its last lines a vertex keeps for the failure report.
const REMEMBERED_LINES: usize = 20;

/// How far a vertex has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Part of the graph, not started.
    Waiting,
    /// At work.
    Running,
    /// Ended, with a result from a cache.
    Cached,
    /// Ended, with a result of its own.
    Done,
    /// Given up because something else failed or the user interrupted.
    Cancelled,
    /// Ended with an error.
    Failed,
}

impl State {
    /// Whether the vertex has come to an end.
    pub(crate) fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }
}

/// A vertex of the build graph (or a group of them) and all that was reported about it.
#[derive(Debug, Clone)]
pub struct VertexTrace {
    key: String,
    group_name: Option<String>,
    members: Vec<Member>,
    statuses: Vec<VertexStatus>,
    warnings: Vec<VertexWarning>,
    /// The first layer that was pulled a second time.
    pulled_again: Option<String>,
    open: Vec<(i64, OpenLine)>,
    lines: VecDeque<LogLine>,
}

#[derive(Debug, Clone, Default)]
struct Member {
    vertex: Vertex,
    /// It was told once that a cache had the result.
    was_cached: bool,
    /// An error was reported once: what a cache had could not be fetched, even if the step ran afterwards.
    has_failed: bool,
    runs: Runs,
}

impl VertexTrace {
    /// Makes the trace of the vertex with digest `key`, or of the group `key` called `group_name`.
    pub(super) fn new(key: String, group_name: Option<String>) -> Self {
        Self {
            key,
            group_name,
            members: Vec::new(),
            statuses: Vec::new(),
            warnings: Vec::new(),
            pulled_again: None,
            open: Vec::new(),
            lines: VecDeque::new(),
        }
    }

    /// The digest; of a group, the digest of its first vertex.
    pub(crate) fn digest(&self) -> &str {
        self.members.first().map_or(&self.key, |member| &member.vertex.digest)
    }

    /// The name to show; the digest when none was reported.
    pub(crate) fn name(&self) -> &str {
        let own = || self.members.first().map(|member| member.vertex.name.as_str());
        match self.group_name.as_deref().or_else(own) {
            Some(name) if !name.is_empty() => name,
            _ => self.digest(),
        }
    }

    /// Whether the result came from a cache, so far as it is known.
    pub(crate) fn is_cached(&self) -> bool {
        let mut started = self.members.iter().filter(|member| member.runs.first_start().is_some()).peekable();
        // A result from a registry that is needed after all is fetched in a further run, which is not called cached.
        let has_fetched = || self.statuses.iter().any(|status| is_fetched_layer(&status.id));
        let cached = |member: &Member| {
            !member.has_failed && (member.vertex.cached || member.was_cached && has_fetched())
        };
        started.peek().is_some() && started.all(cached)
    }

    /// Why it failed or was cancelled; a failure goes before a cancellation.
    pub(crate) fn error(&self) -> Option<&str> {
        let errors = || self.members.iter().map(|member| member.vertex.error.as_str());
        errors().filter(|error| !error.is_empty()).min_by_key(|error| is_cancellation(error))
    }

    /// How far it has come.
    pub(crate) fn state(&self) -> State {
        let ended = match self.error() {
            Some(error) if is_cancellation(error) => State::Cancelled,
            Some(_) => State::Failed,
            None if self.first_start().is_none() => State::Waiting,
            None if self.is_cached() => State::Cached,
            None => State::Done,
        };
        if self.members.iter().any(|member| member.runs.is_open()) { State::Running } else { ended }
    }

    /// When it first started.
    pub(crate) fn first_start(&self) -> Option<Timestamp> {
        self.members.iter().filter_map(|member| member.runs.first_start()).min()
    }

    /// When it last ended.
    pub(crate) fn last_stop(&self) -> Option<Timestamp> {
        self.members.iter().filter_map(|member| member.runs.last_stop()).max()
    }

    /// The time it was at work up to `at`; overlapping runs count once.
    pub(crate) fn duration(&self, at: Timestamp) -> Duration {
        covered(self.members.iter().flat_map(|member| member.runs.spans(at)))
    }

    /// The progress rows in the order in which they first came.
    pub(crate) fn statuses(&self) -> &[VertexStatus] {
        &self.statuses
    }

    /// The digest of a layer that was pulled again after a pull of it had ended: graph drivers retry so, for minutes.
    pub(crate) fn pulled_again(&self) -> Option<&str> {
        self.pulled_again.as_deref()
    }

    /// Returns `true` if a layer is being fetched.
    pub(crate) fn is_fetching(&self) -> bool {
        self.statuses.iter().any(|status| status.completed.is_none() && is_fetched_layer(&status.id))
    }

    /// The warnings in the order in which they came.
    pub(crate) fn warnings(&self) -> &[VertexWarning] {
        &self.warnings
    }

    /// The last lines that ended, oldest first; at most [`REMEMBERED_LINES`].
    pub(crate) fn last_lines(&self) -> impl DoubleEndedIterator<Item = &LogLine> {
        self.lines.iter()
    }

    /// The lines that it is in the middle of, one a stream at most.
    pub(crate) fn open_lines(&self) -> impl Iterator<Item = LogLine> {
        self.open
            .iter()
            .filter_map(|(stream, open)| open.so_far().map(|dated| self.line(&self.key, *stream, dated)))
    }

    /// Takes a vertex message; returns whether it changed anything.
    pub(super) fn put(&mut self, vertex: Vertex) -> bool {
        let known = self.members.iter().position(|member| member.vertex.digest == vertex.digest);
        let index = known.unwrap_or_else(|| {
            self.members.push(Member::default());
            self.members.len() - 1
        });
        let member = &mut self.members[index];
        // A second request for a vertex announces it anew; it does not undo its start.
        let announced_anew = vertex.started.is_none() && member.runs.first_start().is_some();
        if announced_anew || member.vertex == vertex {
            return false;
        }
        if let Some(start) = vertex.started {
            member.runs.record(start, vertex.completed);
        }
        member.was_cached |= vertex.cached;
        member.has_failed |= !vertex.error.is_empty() && !is_cancellation(&vertex.error);
        member.vertex = vertex;
        true
    }

    /// Takes over the work of a vertex that did the same just before.
    pub(super) fn ran_before(&mut self, before: &Self) {
        for (member, worked) in self.members.iter_mut().zip(&before.members) {
            member.runs.clone_from(&worked.runs);
            member.vertex.cached = worked.vertex.cached;
            member.was_cached = worked.was_cached;
            member.has_failed = worked.has_failed;
        }
    }

    /// Takes a progress row; returns its index unless nothing changed.
    pub(super) fn put_status(&mut self, status: VertexStatus) -> Option<usize> {
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

    /// Takes a warning and returns its index.
    pub(super) fn put_warning(&mut self, warning: VertexWarning) -> usize {
        self.warnings.push(warning);
        self.warnings.len() - 1
    }

    /// Takes output and returns the lines that it ended.
    pub(super) fn write(&mut self, log: &VertexLog) -> Vec<LogLine> {
        let index = self.open.iter().position(|(stream, _)| *stream == log.stream).unwrap_or_else(|| {
            self.open.push((log.stream, OpenLine::default()));
            self.open.len() - 1
        });
        let ended = self.open[index].1.push(&log.data, log.timestamp);
        let lines: Vec<_> =
            ended.into_iter().map(|dated| self.line(&log.vertex, log.stream, dated)).collect();
        self.remember(&lines);
        lines
    }

    /// Ends the lines that it is in the middle of.
    pub(super) fn close_lines(&mut self) -> Vec<LogLine> {
        let closed: Vec<_> =
            self.open.iter_mut().filter_map(|(stream, open)| Some((*stream, open.close()?))).collect();
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

    fn line(&self, digest: &str, stream: i64, (at, text): Dated) -> LogLine {
        let own = self.members.iter().find(|member| member.vertex.digest == digest);
        let start = match own {
            Some(member) => member.runs.last_start(),
            None => self.first_start(),
        };
        let since_start = start.zip(at).map(|(start, at)| elapsed(start, at)).unwrap_or_default();
        LogLine { stream, since_start, text }
    }
}

/// How the row of progress of a layer begins that a graph driver pulls (moby `builder/builder-next/worker`).
const PULLING: &str = "pulling ";

/// Whether a row of progress is about a layer that is fetched (BuildKit `util/pull/pullprogress`, `cache/refs.go`).
fn is_fetched_layer(id: &str) -> bool {
    ["sha256:", "extracting sha256:", "pulling sha256:"].iter().any(|start| id.starts_with(start))
}

pub(super) fn is_cancellation(error: &str) -> bool {
    error.ends_with("context canceled")
}
