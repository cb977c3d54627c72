//! The state of a running solve, built from its status stream.
//!
//! [`Trace::apply`] accepts one message and returns the changes, so that a renderer does not have to compare states.
//! The trace must not read a clock or print anything: the same messages always result in the same trace. Progress rows,
//! warnings and output of a vertex that was not announced are stored under its digest.

mod log_line;
mod runs;
mod step;
#[cfg(test)]
pub(crate) mod testing;
mod vertex;

use std::collections::{BTreeSet, HashMap};
use std::ops::Index;

use jiff::Timestamp;

use super::status::{StatusUpdate, Vertex};

pub(crate) use log_line::LogLine;
pub(crate) use runs::elapsed;
pub(crate) use step::{StepKind, StepRecord};
pub(crate) use vertex::{VertexState, VertexTrace};

/// Identifies a vertex or group of one [`Trace`]; ids increase in the order of first appearance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VertexId(usize);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TraceChange {
    /// The vertex was announced, started, ended or renamed.
    Vertex(VertexId),
    /// The progress row with this index in [`VertexTrace::statuses`] is new or changed.
    Status(VertexId, usize),
    /// The warning with this index in [`VertexTrace::warnings`] is new.
    Warning(VertexId, usize),
    /// The vertex completed a line of output.
    Line(VertexId, LogLine),
}

impl TraceChange {
    pub(crate) fn vertex(&self) -> VertexId {
        match self {
            Self::Vertex(id) | Self::Status(id, _) | Self::Warning(id, _) | Self::Line(id, _) => *id,
        }
    }
}

/// The changes of one message: vertexes first, then rows, warnings and lines.
pub(crate) type TraceChanges = Vec<TraceChange>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    vertexes: Vec<VertexTrace>,
    by_digest: HashMap<String, VertexId>,
    by_group: HashMap<String, VertexId>,
    started: Option<Timestamp>,
    latest: Option<Timestamp>,
}

impl Trace {
    pub(crate) fn apply(&mut self, update: StatusUpdate) -> TraceChanges {
        let mut changes = Vec::new();
        for vertex in update.vertexes {
            self.started = self.started.or(vertex.started);
            self.latest = self.latest.max(vertex.started).max(vertex.completed);
            let id = self.find_or_insert_vertex(&vertex);
            if self.vertexes[id.0].apply(vertex) {
                changes.push(TraceChange::Vertex(id));
            }
        }
        for status in update.statuses {
            self.latest = self.latest.max(status.timestamp);
            let id = self.find_or_insert(&status.vertex);
            changes
                .extend(self.vertexes[id.0].apply_status(status).map(|index| TraceChange::Status(id, index)));
        }
        for warning in update.warnings {
            let id = self.find_or_insert(&warning.vertex);
            changes.push(TraceChange::Warning(id, self.vertexes[id.0].add_warning(warning)));
        }
        let mut touched: BTreeSet<_> = changes.iter().map(TraceChange::vertex).collect();
        for log in update.logs {
            self.latest = self.latest.max(log.timestamp);
            let id = self.find_or_insert(&log.vertex);
            touched.insert(id);
            changes
                .extend(self.vertexes[id.0].write(&log).into_iter().map(|line| TraceChange::Line(id, line)));
        }
        // A message may contain the end of a vertex together with its last output, so unfinished lines are closed only
        // after both were applied.
        for id in touched.into_iter().filter(|id| self[*id].state().is_over()).collect::<Vec<_>>() {
            changes.extend(self.close_lines(id));
        }
        changes
    }

    /// Ends the unfinished lines of all vertexes after the end of the stream.
    pub(crate) fn close(&mut self) -> TraceChanges {
        (0..self.vertexes.len()).flat_map(|index| self.close_lines(VertexId(index))).collect()
    }

    /// Marks cached steps as run if they ran in an earlier solve of the same Dockerfile.
    ///
    /// Steps are identified by name, because some engines include the session in their digests.
    pub(crate) fn adopt_runs(&mut self, earlier: &Self) {
        let ran: HashMap<&str, &VertexTrace> = (earlier.vertexes.iter())
            .filter(|vertex| vertex.state() == VertexState::Done)
            .map(|vertex| (vertex.name(), vertex))
            .collect();
        for vertex in self.vertexes.iter_mut().filter(|vertex| vertex.is_cached()) {
            if let Some(before) = ran.get(vertex.name()) {
                vertex.adopt_runs_of(before);
            }
        }
    }

    /// Returns the vertexes and groups in the order of first appearance.
    pub(crate) fn vertexes(&self) -> impl Iterator<Item = (VertexId, &VertexTrace)> {
        self.vertexes.iter().enumerate().map(|(index, vertex)| (VertexId(index), vertex))
    }

    /// Returns the vertex with this digest, or its group.
    pub(crate) fn vertex(&self, digest: &str) -> Option<&VertexTrace> {
        self.by_digest.get(digest).map(|id| &self[*id])
    }

    /// Returns the vertexes that failed, without those that were cancelled.
    ///
    /// An unusable cache import fails its vertex but not the build, so a build with failures may still have succeeded.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &VertexTrace> {
        self.vertexes.iter().filter(|vertex| vertex.state() == VertexState::Failed)
    }

    /// Returns the start of the first vertex, by the builder's clock.
    pub(crate) fn started(&self) -> Option<Timestamp> {
        self.started
    }

    /// Returns the latest time in the stream, by the builder's clock.
    pub(crate) fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    fn close_lines(&mut self, id: VertexId) -> impl Iterator<Item = TraceChange> + use<> {
        self.vertexes[id.0].close_lines().into_iter().map(move |line| TraceChange::Line(id, line))
    }

    fn find_or_insert_vertex(&mut self, vertex: &Vertex) -> VertexId {
        let Some((group, name)) = &vertex.progress_group else {
            return self.find_or_insert(&vertex.digest);
        };
        let known = self.by_group.get(group).copied();
        let id = known.unwrap_or_else(|| self.push(VertexTrace::new(group.clone(), Some(name.clone()))));
        self.by_group.insert(group.clone(), id);
        self.by_digest.insert(vertex.digest.clone(), id);
        id
    }

    fn find_or_insert(&mut self, digest: &str) -> VertexId {
        if let Some(id) = self.by_digest.get(digest) {
            return *id;
        }
        let id = self.push(VertexTrace::new(digest.to_owned(), None));
        self.by_digest.insert(digest.to_owned(), id);
        id
    }

    fn push(&mut self, vertex: VertexTrace) -> VertexId {
        self.vertexes.push(vertex);
        VertexId(self.vertexes.len() - 1)
    }
}

impl Index<VertexId> for Trace {
    type Output = VertexTrace;

    fn index(&self, id: VertexId) -> &VertexTrace {
        &self.vertexes[id.0]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::testing::{TraceScript, at};
    use super::*;

    fn lines(trace: &Trace, digest: &str) -> Vec<String> {
        trace.vertex(digest).unwrap().last_lines().map(ToString::to_string).collect()
    }

    #[test]
    fn stdout_and_stderr_do_not_mix_within_a_line() {
        let mut trace = Trace::default();
        trace.apply(TraceScript::new().start("a", "RUN a", 0).update());
        trace.apply(TraceScript::new().log("a", 100, "out").log_on(2, "a", 200, "err\n").update());
        trace.apply(TraceScript::new().log("a", 300, "put\n").update());
        assert_eq!(lines(&trace, "a"), ["0.200 err", "0.100 output"]);
    }

    #[test]
    fn the_last_twenty_lines_are_stored() {
        let mut trace = Trace::default();
        let output =
            (0..50).fold(TraceScript::new(), |script, number| script.log("a", 0, format!("{number}\n")));
        trace.apply(output.start("a", "RUN a", 0).update());
        let lines = lines(&trace, "a");
        assert_eq!(lines.len(), 20);
        assert_eq!([&lines[0], &lines[19]], ["0.000 30", "0.000 49"]);
    }

    #[test]
    fn an_unfinished_line_ends_with_its_vertex() {
        let mut trace = Trace::default();
        trace.apply(TraceScript::new().start("a", "RUN a", 0).log("a", 10, "half").update());
        assert_eq!(lines(&trace, "a"), [""; 0]);
        let changes =
            trace.apply(TraceScript::new().done("a", "RUN a", 0, 500).log("a", 20, " whole").update());
        assert_eq!(lines(&trace, "a"), ["0.010 half whole"]);
        assert!(matches!(changes.as_slice(), [TraceChange::Vertex(_), TraceChange::Line(..)]), "{changes:?}");
    }

    #[test]
    fn a_group_is_one_step_that_lasts_from_its_first_vertex_to_its_last() {
        let mut trace = Trace::default();
        let grouped = |script: TraceScript| script.grouped("g", "[2/2] COPY --link . .");
        trace.apply(grouped(TraceScript::new().done("a", "copy", 0, 300)).update());
        trace.apply(grouped(TraceScript::new().start("b", "merge", 200)).update());
        let group = trace.vertex("b").unwrap();
        assert_eq!((group.name(), group.state()), ("[2/2] COPY --link . .", VertexState::Running));
        trace.apply(grouped(TraceScript::new().done("b", "merge", 200, 700)).update());
        let group = trace.vertex("a").unwrap();
        assert_eq!(
            (group.state(), group.duration(at(9_000))),
            (VertexState::Done, Duration::from_millis(700))
        );
        assert_eq!(trace.vertexes().count(), 1);
    }

    #[test]
    fn a_step_that_ran_in_an_earlier_solve_counts_as_run() {
        let (mut before, mut trace) = (Trace::default(), Trace::default());
        before.apply(
            TraceScript::new().done("a", "[2/3] RUN a", 0, 500).cached("b", "[3/3] RUN b", 0).update(),
        );
        let again = TraceScript::new().cached("x", "[2/3] RUN a", 0).cached("y", "[3/3] RUN b", 0);
        trace.apply(again.update());
        trace.adopt_runs(&before);
        let steps: Vec<_> = trace.steps().into_iter().map(|step| (step.digest, step.is_cached)).collect();
        assert_eq!(steps, [("x".to_owned(), false), ("y".to_owned(), true)]);
        assert_eq!(trace.vertex("x").unwrap().duration(at(9_000)), Duration::from_millis(500));
    }

    #[test]
    fn a_step_that_ran_because_its_layer_could_not_be_fetched_is_not_cached() {
        let mut trace = Trace::default();
        let name = "[2/2] RUN a";
        trace.apply(TraceScript::new().cached("a", name, 0).update());
        trace.apply(TraceScript::new().start("a", name, 10).pulling("a", 10, 20).update());
        assert_eq!(trace.vertex("a").unwrap().pulled_again(), None);
        trace.apply(TraceScript::new().pulling("a", 5_000, 5_010).update());
        assert_eq!(trace.vertex("a").unwrap().pulled_again(), Some("sha256:1"));
        trace.apply(TraceScript::new().failed("a", name, 10, 6_000, "failed to copy: not found").update());
        trace.apply(TraceScript::new().done("a", name, 6_000, 9_000).update());
        assert_eq!(trace.counted_steps().cached, 0);
    }

    #[test]
    fn a_cancelled_vertex_is_not_a_failure() {
        let mut trace = Trace::default();
        trace.apply(TraceScript::new().failed("a", "RUN a", 0, 5, "solve: context canceled").update());
        trace.apply(TraceScript::new().failed("b", "RUN b", 0, 5, "exit code: 1").update());
        let failed: Vec<_> = trace.failures().map(VertexTrace::digest).collect();
        assert_eq!(failed, ["b"]);
        assert_eq!(trace.vertex("a").unwrap().state(), VertexState::Cancelled);
    }

    #[test]
    fn a_second_announcement_does_not_undo_a_start() {
        let mut trace = Trace::default();
        trace.apply(TraceScript::new().start("a", "RUN a", 0).update());
        assert_eq!(trace.apply(TraceScript::new().announce("a", "RUN a").update()), []);
        assert_eq!(trace.vertex("a").unwrap().state(), VertexState::Running);
    }

    #[test]
    fn output_of_a_vertex_that_was_never_announced_is_kept() {
        let mut trace = Trace::default();
        trace.apply(TraceScript::new().log("ghost", 0, "boo\n").update());
        assert_eq!(trace.vertex("ghost").unwrap().name(), "ghost");
        assert_eq!(lines(&trace, "ghost"), ["0.000 boo"]);
    }
}
