//! Running the solve: progress while it goes, interrupts, the deadline, and the report when it fails.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::deadline::Deadline;
use super::place;
use crate::buildkit::session::Attachments;
use crate::buildkit::solve::{ExporterResponse, SolveRequest};
use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::{Trace, VertexTrace};
use crate::buildkit::{BuildFailure, Client, SolveError};
use crate::pipeline::import_watch::{ImportError, ImportWatch};
use crate::pipeline::inputs::Inputs;
use crate::pipeline::reporter::{Event, Reporter, StepProgress};
use crate::pipeline::session::interrupts::Interrupts;

/// How often the display is brought up to date without news.
const TICK: Duration = Duration::from_millis(100);
/// Status messages waiting to be shown.
const WAITING: usize = 256;

/// A solve that ended without its result.
pub(super) enum Ended {
    /// It failed, broke or was interrupted.
    Solve(SolveError),
    /// It took longer than it may.
    TimedOut(Duration),
    /// What it imports cannot be had.
    Import(ImportError),
}

/// What ends a solve before its end.
pub(super) struct Limits {
    /// When it is given up.
    pub(super) deadline: Deadline,
    /// What it imports from a registry.
    pub(super) watch: Option<ImportWatch>,
    pub(super) interrupts: Interrupts,
}

/// Runs the solve to its end; also answers what the status stream told.
///
/// The first interrupt (or a limit) cancels the build and waits until the
/// engine has stopped its steps; a further interrupt waits for nothing.
pub(super) async fn solve(
    client: &Client,
    request: SolveRequest,
    attachments: Attachments,
    Limits { deadline, mut watch, mut interrupts }: Limits,
    display: Box<dyn StepProgress>,
    reporter: &dyn Reporter,
) -> (Result<ExporterResponse, Ended>, Trace) {
    let (status, updates) = mpsc::channel(WAITING);
    let (proof, mut faulty) = oneshot::channel();
    let mut proof = Some(proof);
    let check = move |trace: &Trace| {
        let fault = watch.as_mut().and_then(|watch| watch.check(trace, Instant::now()));
        if let Some(fault) = fault
            && let Some(proof) = proof.take()
        {
            // The solve may just have ended.
            drop(proof.send(fault));
        }
    };
    let showing = tokio::spawn(show(display, updates, check));
    let cancel = CancellationToken::new();
    let result = {
        let solving = client.solve(request, attachments, status, cancel.clone());
        tokio::pin!(solving);
        let ended = tokio::select! {
            result = &mut solving => Err(result.map_err(Ended::Solve)),
            late = deadline.passed() => Ok(Ended::TimedOut(late)),
            Ok(fault) = &mut faulty => Ok(Ended::Import(fault)),
            () = interrupts.next() => Ok(Ended::Solve(SolveError::Cancelled)),
        };
        match ended {
            Err(result) => result,
            Ok(ended) => {
                if let Ended::Solve(_) = ended {
                    reporter.message("\nlarder: cancelling the build; interrupt again to leave at once\n");
                }
                cancel.cancel();
                tokio::select! {
                    // It may just have been done.
                    result = &mut solving => result.map_err(|_| ended),
                    () = interrupts.next() => Err(Ended::Solve(SolveError::Cancelled)),
                }
            }
        }
    };
    // The display ends with the channel; a panic there would be a bug of its own, and the result stands.
    let trace = showing.await.unwrap_or_default();
    (result, trace)
}

/// Shows updates until the channel closes, and calls `check` with the trace at every update and tick. Returns the whole trace.
pub(crate) async fn show(
    mut display: Box<dyn StepProgress>,
    mut updates: mpsc::Receiver<StatusUpdate>,
    mut check: impl FnMut(&Trace),
) -> Trace {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            update = updates.recv() => match update {
                Some(update) => display.update(update, Timestamp::now()),
                None => break,
            },
            _ = ticks.tick() => display.tick(Timestamp::now()),
        }
        check(display.trace());
    }
    display.finish(Timestamp::now())
}

/// The vertex whose failure failed the build; a cache import that failed is no reason for that.
pub(super) fn failed_vertex<'a>(failure: &BuildFailure, trace: &'a Trace) -> Option<&'a VertexTrace> {
    let named = failure.vertex.as_deref().and_then(|digest| trace.vertex(digest));
    let says_so = |error: &str| failure.message.contains(error);
    let blamed = || trace.failures().filter(|vertex| vertex.error().is_some_and(says_so)).last();
    named.or_else(blamed)
}

/// Reports the step that failed with its last output, and the Dockerfile's lines at fault.
pub(super) fn report_failure(
    failure: &BuildFailure,
    failed: Option<&VertexTrace>,
    inputs: &Inputs,
    reporter: &dyn Reporter,
) {
    let written = inputs.written();
    if let Some((name, text)) = written
        && let Err(error) = text.parsed()
    {
        return reporter.message(&format!("{}\n", error.caret(name, text.as_str()).trim_end()));
    }
    let source = place::find(failure, failed.map(VertexTrace::name), written);
    reporter.report(&Event::StepFailed { vertex: failed, source });
}
