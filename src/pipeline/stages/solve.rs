//! Runs a solve: shows its progress, handles interrupts and time limits, and reports a failed step.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::deadline::Deadline;
use super::failure_location;
use crate::buildkit::session::Attachments;
use crate::buildkit::solve::{ExporterResponse, SolveRequest};
use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::{Trace, VertexTrace};
use crate::buildkit::{BuildFailure, Client, SolveError};
use crate::dockerfile::Dockerfile;
use crate::pipeline::import_watch::{ImportError, ImportWatch};
use crate::pipeline::inputs::Inputs;
use crate::pipeline::reporter::{BuildEvent, Reporter, StepProgress};
use crate::pipeline::session::interrupts::Interrupts;
use crate::pipeline::transfers::TICK;

pub(crate) const STATUS_BUFFER: usize = 256;

pub(super) enum SolveFailure {
    /// The solve failed, lost its connection or was interrupted.
    Solve(SolveError),
    TimedOut(Duration),
    Import(ImportError),
}

pub(super) struct SolveLimits {
    pub(super) deadline: Deadline,
    pub(super) watch: Option<ImportWatch>,
    pub(super) interrupts: Interrupts,
}

/// Runs the solve to its end. The first interrupt, or a limit, cancels the build and waits until the engine has stopped
/// its steps. A second interrupt returns immediately.
pub(super) async fn solve(
    client: &Client,
    request: SolveRequest,
    attachments: Attachments,
    SolveLimits { deadline, mut watch, mut interrupts }: SolveLimits,
    display: Box<dyn StepProgress>,
    reporter: &dyn Reporter,
) -> (Result<ExporterResponse, SolveFailure>, Trace) {
    let (status, updates) = mpsc::channel(STATUS_BUFFER);
    let (sender, mut import_fault) = oneshot::channel();
    let mut sender = Some(sender);
    let check = move |trace: &Trace| {
        let fault = watch.as_mut().and_then(|watch| watch.check(trace, Instant::now()));
        if let Some(fault) = fault
            && let Some(sender) = sender.take()
        {
            // The receiver was dropped if the solve has just ended.
            drop(sender.send(fault));
        }
    };
    let showing = tokio::spawn(show(display, updates, check));
    let cancel = CancellationToken::new();
    let result = {
        let solving = client.solve(request, attachments, status, cancel.clone());
        tokio::pin!(solving);
        let ended = tokio::select! {
            result = &mut solving => Err(result.map_err(SolveFailure::Solve)),
            late = deadline.expired() => Ok(SolveFailure::TimedOut(late)),
            Ok(fault) = &mut import_fault => Ok(SolveFailure::Import(fault)),
            () = interrupts.next() => Ok(SolveFailure::Solve(SolveError::Cancelled)),
        };
        match ended {
            Err(result) => result,
            Ok(ended) => {
                if let SolveFailure::Solve(_) = ended {
                    reporter.message("\nlarder: cancelling the build; interrupt again to exit immediately\n");
                }
                cancel.cancel();
                tokio::select! {
                    // The solve may have succeeded in the meantime.
                    result = &mut solving => result.map_err(|_| ended),
                    () = interrupts.next() => Err(SolveFailure::Solve(SolveError::Cancelled)),
                }
            }
        }
    };
    // The display ends with the channel. If it panicked, the result is still valid.
    let trace = showing.await.unwrap_or_default();
    (result, trace)
}

/// Shows updates until the channel closes. Calls `check` with the trace at every update and tick.
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

/// Returns the vertex that failed the build. A failed cache import does not fail a build.
pub(super) fn failed_vertex<'a>(failure: &BuildFailure, trace: &'a Trace) -> Option<&'a VertexTrace> {
    let named = failure.vertex.as_deref().and_then(|digest| trace.vertex(digest));
    let is_quoted = |error: &str| failure.message.contains(error);
    let last = || trace.failures().filter(|vertex| vertex.error().is_some_and(is_quoted)).last();
    named.or_else(last)
}

pub(super) fn report_failure(
    failure: &BuildFailure,
    failed: Option<&VertexTrace>,
    (inputs, built): (&Inputs, Option<&Dockerfile>),
    reporter: &dyn Reporter,
) {
    let written = inputs.user_text();
    if let Some((name, text)) = written
        && let Err(error) = text.parsed()
    {
        return reporter.message(&format!("{}\n", error.caret(name, text.as_str()).trim_end()));
    }
    let source = failure_location::find_failure(failure, failed.map(VertexTrace::name), written, built);
    reporter.report(&BuildEvent::StepFailed { vertex: failed, source });
}
