//! Progress as lines, in the format of `docker build --progress=plain`.
//!
//! ```text
//! #7 [2/3] RUN pip install        a block opens with the vertex's name
//! #7 0.412 Collecting flask       output, with seconds since the vertex started
//! #7 ...                          another vertex interrupts
//!
//! #5 [internal] load build context
//! #5 transferring context: 1.20MB 0.1s done
//! #5 DONE 0.1s                    or CACHED, CANCELED, ERROR: why
//! ```
//!
//! Concurrent vertexes take turns, so that blocks stay readable. Only the vertex that has the turn is written
//! immediately; the lines of others wait:
//!
//! - A vertex that ended is shown immediately, in the order of the ends.
//! - A vertex with output gets the turn when the current one has had it for [`MAX_TURN`], or has been silent for
//!   [`MAX_SILENCE`].
//! - A vertex that merely started gets it only after [`MAX_TURN`].
//!
//! So no line waits longer than one turn of each running vertex. Vertexes are numbered in the order in which they are
//! first shown.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use super::Renderer;
use super::amount::amount;
use crate::buildkit::status::VertexStatus;
use crate::buildkit::trace::{
    LogLine, Trace, TraceChange, TraceChanges, VertexId, VertexState, VertexTrace, elapsed,
};
use crate::screen_text::join_lines;

/// The maximum length of a turn while other vertexes wait.
const MAX_TURN: Duration = Duration::from_secs(5);

/// The time without output after which a vertex yields to one with output.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// A progress row is shown again after this interval, or after progress of [`ROW_STEP_PERCENT`].
const ROW_INTERVAL: Duration = Duration::from_secs(5);
const ROW_STEP_PERCENT: i64 = 5;

#[derive(Default)]
pub(crate) struct PlainRenderer {
    blocks: BTreeMap<VertexId, VertexOutput>,
    numbered_vertexes: usize,
    turn: Option<Turn>,
    has_output: bool,
}

struct Turn {
    vertex: VertexId,
    started: Timestamp,
    last_line: Timestamp,
}

#[derive(Default)]
struct VertexOutput {
    number: Option<usize>,
    waiting: VecDeque<OutputPiece>,
    /// `true` if the vertex started, ended or was renamed since it was last shown.
    is_changed: bool,
    waiting_since: Option<Timestamp>,
    rows_shown: HashMap<usize, ShownRow>,
}

enum OutputPiece {
    Row(usize),
    Warning(usize),
    Line(LogLine),
}

struct ShownRow {
    current: i64,
    at: Option<Timestamp>,
}

impl VertexOutput {
    fn has_news(&self) -> bool {
        self.is_changed || !self.waiting.is_empty()
    }

    fn add(&mut self, change: TraceChange, vertex: &VertexTrace, now: Timestamp) {
        match change {
            TraceChange::Vertex(_) if vertex.state() == VertexState::Waiting => return,
            TraceChange::Vertex(_) => self.is_changed = true,
            TraceChange::Status(_, row) => {
                let queued = self
                    .waiting
                    .iter()
                    .any(|piece| matches!(piece, OutputPiece::Row(other) if *other == row));
                let shown = self.rows_shown.get(&row);
                if queued || shown.is_some_and(|shown| !shown.is_outdated_by(&vertex.statuses()[row])) {
                    return;
                }
                self.waiting.push_back(OutputPiece::Row(row));
            }
            TraceChange::Warning(_, warning) => self.waiting.push_back(OutputPiece::Warning(warning)),
            TraceChange::Line(_, line) => self.waiting.push_back(OutputPiece::Line(line)),
        }
        self.waiting_since.get_or_insert(now);
    }
}

impl ShownRow {
    fn is_outdated_by(&self, row: &VertexStatus) -> bool {
        let moved = row.current.saturating_sub(self.current).saturating_mul(100);
        let waited = self.at.zip(row.timestamp).map(|(from, to)| elapsed(from, to)).unwrap_or_default();
        row.completed.is_some()
            || (row.total > 0 && moved >= row.total.saturating_mul(ROW_STEP_PERCENT))
            || waited >= ROW_INTERVAL
    }
}

impl PlainRenderer {
    /// Writes everything that may be written at `now`.
    fn write(&mut self, trace: &Trace, now: Timestamp, out: &mut String) {
        for id in self.ended_with_news(trace) {
            self.show(trace, id, now, out);
        }
        if let Some(current) = self.current().filter(|id| self.blocks[id].has_news()) {
            self.show(trace, current, now, out);
        }
        if let Some(next) = self.next_turn(now) {
            self.show(trace, next, now, out);
        }
    }

    fn current(&self) -> Option<VertexId> {
        self.turn.as_ref().map(|turn| turn.vertex)
    }

    /// Returns the ended vertexes with news: the current one, then by their end.
    fn ended_with_news(&self, trace: &Trace) -> Vec<VertexId> {
        let with_news = self.blocks.iter().filter(|(_, block)| block.has_news()).map(|(id, _)| *id);
        let mut over: Vec<_> = with_news.filter(|id| trace[*id].state().is_over()).collect();
        over.sort_by_key(|id| (self.current() != Some(*id), trace[*id].last_stop(), *id));
        over
    }

    /// Returns the vertex that gets the turn now: vertexes with output first, then the one that has waited longest.
    fn next_turn(&self, now: Timestamp) -> Option<VertexId> {
        let others =
            self.blocks.iter().filter(|(id, block)| block.has_news() && self.current() != Some(**id));
        let (id, block) =
            others.min_by_key(|(id, block)| (block.waiting.is_empty(), block.waiting_since, **id))?;
        let free = self.turn.as_ref().is_none_or(|turn| {
            let silent = elapsed(turn.last_line, now) >= MAX_SILENCE && !block.waiting.is_empty();
            silent || elapsed(turn.started, now) >= MAX_TURN
        });
        free.then_some(*id)
    }

    /// Writes all news of a vertex, in a new block if it does not have the turn.
    fn show(&mut self, trace: &Trace, id: VertexId, now: Timestamp, out: &mut String) {
        let vertex = &trace[id];
        let number = self.number(id);
        if self.current() != Some(id) {
            if let Some(turn) = self.turn.take() {
                let _ = writeln!(out, "#{} ...", self.number(turn.vertex));
            }
            if std::mem::replace(&mut self.has_output, true) {
                out.push('\n');
            }
            let _ = writeln!(out, "#{number} {}", join_lines(vertex.name()));
            self.turn = Some(Turn { vertex: id, started: now, last_line: now });
        }
        let block = self.blocks.entry(id).or_default();
        block.waiting_since = None;
        let mut row_goes_on = false;
        for piece in std::mem::take(&mut block.waiting) {
            let _ = match piece {
                OutputPiece::Row(index) => {
                    let row = &vertex.statuses()[index];
                    row_goes_on |= row.completed.is_none();
                    block.rows_shown.insert(index, ShownRow { current: row.current, at: row.timestamp });
                    writeln!(out, "#{number} {}", row_text(row))
                }
                OutputPiece::Warning(index) => {
                    writeln!(out, "#{number} WARN: {}", vertex.warnings()[index].short)
                }
                OutputPiece::Line(line) => writeln!(out, "#{number} {line}"),
            };
            if let Some(turn) = &mut self.turn {
                turn.last_line = now;
            }
        }
        let changed = std::mem::take(&mut block.is_changed);
        // Rows may progress after the end (lazily loaded cache); the block then stays open.
        if vertex.state().is_over() && (changed || !row_goes_on) {
            let _ = writeln!(out, "#{number} {}", ending(vertex));
            self.turn = None;
        }
    }

    fn number(&mut self, id: VertexId) -> usize {
        *self.blocks.entry(id).or_default().number.get_or_insert_with(|| {
            self.numbered_vertexes += 1;
            self.numbered_vertexes
        })
    }
}

impl Renderer for PlainRenderer {
    fn changed(&mut self, trace: &Trace, changes: TraceChanges, now: Timestamp, out: &mut String) {
        for change in changes {
            let id = change.vertex();
            self.blocks.entry(id).or_default().add(change, &trace[id], now);
        }
        self.write(trace, now, out);
    }

    fn tick(&mut self, trace: &Trace, now: Timestamp, out: &mut String) {
        self.write(trace, now, out);
    }

    fn finish(&mut self, trace: &Trace, changes: TraceChanges, now: Timestamp, out: &mut String) {
        self.changed(trace, changes, now, out);
        let left: Vec<_> =
            self.blocks.iter().filter(|(_, block)| block.has_news()).map(|(id, _)| *id).collect();
        for id in left {
            self.show(trace, id, now, out);
        }
    }
}

/// Returns text such as `transferring context: 1.20MB 0.1s done`.
fn row_text(row: &VertexStatus) -> String {
    let took = row.started.zip(row.completed.or(row.timestamp)).map(|(start, stop)| elapsed(start, stop));
    let took = took.filter(|took| *took > Duration::from_millis(10));
    let mut parts = vec![join_lines(&row.id)];
    parts.extend(amount(row));
    parts.extend(took.map(|took| format!("{:.1}s", took.as_secs_f64())));
    parts.extend(row.completed.map(|_| "done".to_owned()));
    parts.join(" ")
}

fn ending(vertex: &VertexTrace) -> String {
    match (vertex.state(), vertex.error()) {
        (VertexState::Cancelled, _) => "CANCELED".to_owned(),
        (_, Some(error)) => format!("ERROR: {error}"),
        (VertexState::Cached, None) => "CACHED".to_owned(),
        (_, None) => {
            let duration = vertex.last_stop().map(|stop| vertex.duration(stop)).unwrap_or_default();
            format!("DONE {:.1}s", duration.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests;
