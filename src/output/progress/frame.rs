//! Renders the live table as lines of text: a pure function of trace, time and size.
//!
//! ```text
//! [+] Building 3.2s (5/9)
//!  => CACHED [1/3] FROM docker.io/library/alpine                     0.0s
//!  => [2/3] RUN make                                                 2.9s
//!  => => # cc -c main.c                        its last lines of output
//!  => [internal] load build context                                  0.4s
//!  => => transferring context: [====>     ] 1.20MB / 2.40MB          0.4s
//! ```
//!
//! A frame never exceeds the given size and leaves the last row to the cursor. If rows are scarce, running and failed
//! vertexes are preferred to ended ones, and younger to older ones. Every running vertex gets one line of detail before
//! any gets a second one. An ended vertex is one line without details.

use std::time::Duration;

use jiff::Timestamp;

use super::amount::amount;
use crate::buildkit::status::VertexStatus;
use crate::buildkit::trace::{LogLine, Trace, VertexState, VertexTrace, elapsed};
use crate::screen_text::{columns, screen_text, truncate};

/// Output lines below a running vertex.
const SHOWN_LINES: usize = 6;

const MIN_COLUMNS_FOR_TIME: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TerminalSize {
    pub(crate) cols: usize,
    pub(crate) rows: usize,
}

/// The meaning of a line, which the painter maps to a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineTone {
    Plain,
    Ended,
    /// Cancelled vertexes and warnings.
    Warning,
    Error,
    Faint,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// Without control characters.
    pub(crate) text: String,
    pub(crate) tone: LineTone,
}

struct TableBlock {
    main: TableLine,
    /// `true` if the vertex is running or failed; such blocks are dropped last.
    is_urgent: bool,
    /// In display order.
    details: Vec<(DetailRank, TableLine)>,
}

/// The priority of a detail; the highest rank is dropped first.
type DetailRank = (u8, usize);

/// Renders the table at `now`, by the builder's clock.
pub(crate) fn frame(trace: &Trace, now: Timestamp, size: TerminalSize) -> Vec<TableLine> {
    let Some(rows) = size.rows.checked_sub(2) else {
        return Vec::new();
    };
    let mut lines = vec![header(trace, now, size.cols, "")];
    let blocks = fit_blocks(blocks(trace, now, size.cols), rows);
    let shares = distribute_rows(&blocks, rows - blocks.len());
    for (block, share) in blocks.into_iter().zip(shares) {
        lines.push(block.main);
        lines.extend(select_details(block.details, share));
    }
    lines
}

/// Renders the final table: every vertex and warning, with any number of rows.
pub(crate) fn summary(trace: &Trace, now: Timestamp, cols: usize) -> Vec<TableLine> {
    let all_over = trace.vertexes().all(|(_, vertex)| vertex.state().is_over());
    let mut lines = vec![header(trace, now, cols, if all_over { " FINISHED" } else { "" })];
    for vertex in reached(trace) {
        lines.push(vertex_line(vertex, now, cols));
        lines.extend(warning_lines(vertex, cols));
    }
    lines
}

fn header(trace: &Trace, now: Timestamp, cols: usize, ending: &str) -> TableLine {
    let seconds = trace.started().map(|start| elapsed(start, now)).unwrap_or_default().as_secs_f64();
    let total = trace.vertexes().count();
    let over = trace.vertexes().filter(|(_, vertex)| vertex.state().is_over()).count();
    let text = format!("[+] Building {seconds:.1}s ({over}/{total}){ending}");
    TableLine { text: truncate(&text, cols).to_owned(), tone: LineTone::Plain }
}

/// Returns the vertexes that started, or failed before that, by their start.
fn reached(trace: &Trace) -> Vec<&VertexTrace> {
    let mut started_vertexes: Vec<_> = trace
        .vertexes()
        .map(|(_, vertex)| vertex)
        .filter(|vertex| vertex.state() != VertexState::Waiting)
        .collect();
    started_vertexes.sort_by_key(|vertex| (vertex.first_start().is_none(), vertex.first_start()));
    started_vertexes
}

fn blocks(trace: &Trace, now: Timestamp, cols: usize) -> Vec<TableBlock> {
    let block = |vertex: &VertexTrace| {
        let state = vertex.state();
        let details = if state == VertexState::Running { details(vertex, now, cols) } else { Vec::new() };
        let urgent = matches!(state, VertexState::Running | VertexState::Failed);
        TableBlock { main: vertex_line(vertex, now, cols), is_urgent: urgent, details }
    };
    reached(trace).into_iter().map(block).collect()
}

/// Drops blocks until at most `rows` are left: first the oldest that are not urgent, then the oldest.
fn fit_blocks(blocks: Vec<TableBlock>, rows: usize) -> Vec<TableBlock> {
    let mut surplus = blocks.len().saturating_sub(rows);
    let mut drop_surplus = |droppable: bool| {
        let drop = droppable && surplus > 0;
        surplus -= usize::from(drop);
        !drop
    };
    let kept: Vec<_> = blocks.into_iter().filter(|block| drop_surplus(!block.is_urgent)).collect();
    kept.into_iter().filter(|_| drop_surplus(true)).collect()
}

/// Distributes `rows` among the details of the blocks, one at a time in turn.
fn distribute_rows(blocks: &[TableBlock], mut rows: usize) -> Vec<usize> {
    let mut shares = vec![0; blocks.len()];
    let deepest = blocks.iter().map(|block| block.details.len()).max().unwrap_or_default();
    for depth in 0..deepest {
        // From the youngest, because the end of the table is preferred.
        for (share, block) in shares.iter_mut().zip(blocks).rev() {
            if rows > 0 && block.details.len() > depth {
                *share += 1;
                rows -= 1;
            }
        }
    }
    shares
}

/// Returns the `share` details of the lowest rank, in display order.
fn select_details(details: Vec<(DetailRank, TableLine)>, share: usize) -> impl Iterator<Item = TableLine> {
    let mut ranks: Vec<_> = details.iter().enumerate().map(|(index, (rank, _))| (*rank, index)).collect();
    ranks.sort_unstable();
    ranks.truncate(share);
    let chosen = move |index: usize| ranks.iter().any(|(_, chosen)| *chosen == index);
    details.into_iter().enumerate().filter(move |(index, _)| chosen(*index)).map(|(_, (_, line))| line)
}

/// Returns the details of a running vertex. Unfinished rows rank first, then output from the last line backwards, then
/// warnings, then finished rows, the last one first.
fn details(vertex: &VertexTrace, now: Timestamp, cols: usize) -> Vec<(DetailRank, TableLine)> {
    let rows = vertex.statuses();
    let row = |(index, row): (usize, &VertexStatus)| {
        let rank = if row.completed.is_none() { (0, index) } else { (3, rows.len() - index) };
        (rank, row_line(row, now, cols))
    };
    let open = vertex.open_lines().collect::<Vec<_>>();
    let newest_first = open.iter().rev().chain(vertex.last_lines().rev()).take(SHOWN_LINES);
    let output = newest_first.enumerate().map(|(age, line)| ((1, age), output_line(line, cols)));
    let mut details: Vec<_> = rows.iter().enumerate().map(row).collect();
    details.extend(warning_lines(vertex, cols).map(|line| ((2, 0), line)));
    details.extend(output.collect::<Vec<_>>().into_iter().rev());
    details
}

fn output_line(line: &LogLine, cols: usize) -> TableLine {
    let text = format!(" => => # {}", screen_text(&line.text));
    TableLine { text: truncate(&text, cols).trim_end().to_owned(), tone: LineTone::Faint }
}

fn vertex_line(vertex: &VertexTrace, now: Timestamp, cols: usize) -> TableLine {
    let (word, tone) = match vertex.state() {
        VertexState::Waiting | VertexState::Running => ("", LineTone::Plain),
        VertexState::Done => ("", LineTone::Ended),
        VertexState::Cached => ("CACHED ", LineTone::Ended),
        VertexState::Cancelled => ("CANCELED ", LineTone::Warning),
        VertexState::Failed => ("ERROR ", LineTone::Error),
    };
    let text = format!(" => {word}{}", screen_text(vertex.name()));
    TableLine { text: with_time(&text, vertex.duration(now), cols), tone }
}

fn warning_lines(vertex: &VertexTrace, cols: usize) -> impl Iterator<Item = TableLine> {
    vertex.warnings().iter().map(move |warning| {
        let text = format!(" => => WARN: {}", screen_text(&warning.short));
        TableLine { text: truncate(&text, cols).to_owned(), tone: LineTone::Warning }
    })
}

fn row_line(row: &VertexStatus, now: Timestamp, cols: usize) -> TableLine {
    let mut parts = vec![" => =>".to_owned(), shorten_digests(&screen_text(&row.id))];
    parts.extend(amount(row));
    let took = row.started.map(|start| elapsed(start, row.completed.unwrap_or(now))).unwrap_or_default();
    let tone = if row.completed.is_some() { LineTone::Ended } else { LineTone::Plain };
    TableLine { text: with_time(&parts.join(" "), took, cols), tone }
}

/// Shortens digests to twelve digits, to leave room for the byte counts.
fn shorten_digests(id: &str) -> String {
    let short = |word: &str| match word.split_once("sha256:") {
        Some((before, hex)) if hex.len() == 64 && hex.is_ascii() => format!("{before}sha256:{}", &hex[..12]),
        _ => word.to_owned(),
    };
    id.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

/// Aligns the time to the right edge and cuts the text if necessary; narrow lines have no time.
fn with_time(text: &str, time: Duration, cols: usize) -> String {
    if cols < MIN_COLUMNS_FOR_TIME {
        return truncate(text, cols).to_owned();
    }
    let time = format!(" {:.1}s", time.as_secs_f64());
    let room = cols - time.len();
    let text = truncate(text, room);
    format!("{text}{}{time}", " ".repeat(room - columns(text)))
}

#[cfg(test)]
mod tests;
