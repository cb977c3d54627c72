//! Running the solve: progress while it goes, interrupts, the deadline, and the report when it fails.

use std::io::{self, IsTerminal};
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
use crate::commands::interrupts::Interrupts;
use crate::output::progress::failure::{self, Failure};
use crate::output::progress::{Display, Mode, Options};
use crate::output::{Printer, terminal_size};
use crate::pipeline::import_watch::{ImportError, ImportWatch};
use crate::pipeline::inputs::Inputs;
use crate::settings::{ProgressMode, Settings};

/// How often the display is brought up to date without news.
const TICK: Duration = Duration::from_millis(100);
/// Status messages waiting to be shown.
const WAITING: usize = 256;

/// How progress is to be shown.
pub(in crate::commands) struct Progress {
    mode: Mode,
    color: bool,
    printer: Printer,
}

impl Progress {
    /// Resolves `auto`: live on a terminal that can redraw and shares nothing with the result or another build.
    pub(in crate::commands) fn new(
        mode: ProgressMode,
        settings: &Settings,
        to_stdout: bool,
        printer: Printer,
    ) -> Self {
        let terminal = io::stderr().is_terminal();
        let is_shared = to_stdout && io::stdout().is_terminal() || printer.is_of_part();
        let mode = match mode {
            ProgressMode::Auto if terminal && !settings.no_redraw && !is_shared => Mode::Tty,
            ProgressMode::Tty if !printer.is_of_part() => Mode::Tty,
            ProgressMode::Auto | ProgressMode::Plain | ProgressMode::Tty => Mode::Plain,
            ProgressMode::Quiet => Mode::Quiet,
            ProgressMode::Json => Mode::Json,
        };
        Self { mode, color: settings.color && terminal, printer }
    }

    pub(in crate::commands) fn display(&self) -> Display {
        let options = Options { color: self.color, size: Box::new(terminal_size) };
        Display::new(self.mode, options, self.printer.stderr())
    }
}

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
    progress: &Progress,
    Limits { deadline, mut watch, mut interrupts }: Limits,
    printer: Printer,
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
    let showing = tokio::spawn(show(progress.display(), updates, check));
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
                    printer.message("\nlarder: cancelling the build; interrupt again to leave at once\n");
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
pub(in crate::commands) async fn show(
    mut display: Display,
    mut updates: mpsc::Receiver<StatusUpdate>,
    mut check: impl FnMut(&Trace),
) -> Trace {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        // Whoever read the progress may be gone; the build goes on all the same.
        tokio::select! {
            update = updates.recv() => match update {
                Some(update) => drop(display.update(update, Timestamp::now())),
                None => break,
            },
            _ = ticks.tick() => drop(display.tick(Timestamp::now())),
        }
        check(display.trace());
    }
    let known = display.trace().clone();
    display.finish(Timestamp::now()).unwrap_or(known)
}

/// The vertex whose failure failed the build; a cache import that failed is no reason for that.
pub(super) fn failed_vertex<'a>(failure: &BuildFailure, trace: &'a Trace) -> Option<&'a VertexTrace> {
    let named = failure.vertex.as_deref().and_then(|digest| trace.vertex(digest));
    let says_so = |error: &str| failure.message.contains(error);
    let blamed = || trace.failures().filter(|vertex| vertex.error().is_some_and(says_so)).last();
    named.or_else(blamed)
}

/// The step that failed with its last output, and the Dockerfile's lines at fault.
pub(super) fn failure_report(
    failure: &BuildFailure,
    failed: Option<&VertexTrace>,
    inputs: &Inputs,
) -> Option<String> {
    let written = inputs.written();
    if let Some((name, text)) = written
        && let Err(error) = text.parsed()
    {
        return Some(error.caret(name, text.as_str()));
    }
    let source = place::find(failure, failed.map(VertexTrace::name), written);
    match failed {
        Some(vertex) => Some(failure::report(&Failure::of(vertex, source))),
        None => source.as_ref().and_then(failure::excerpt),
    }
}
