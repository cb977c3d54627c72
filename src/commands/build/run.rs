//! Running the solve: progress while it goes, interrupts, the deadline, and the report when it fails.

use std::io::{self, IsTerminal};
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::inputs::Inputs;
use crate::buildkit::session::Attachments;
use crate::buildkit::solve::{ExporterResponse, SolveRequest};
use crate::buildkit::status::StatusUpdate;
use crate::buildkit::{BuildFailure, Client, SolveError};
use crate::commands::error::{CommandError, ErrorKind};
use crate::dockerfile::Dockerfile;
use crate::output::progress::failure::{self, Failure, Source};
use crate::output::progress::{Display, Mode, Options, Trace};
use crate::output::{Printer, terminal_size};
use crate::settings::{ProgressMode, Settings};

/// How often the display is brought up to date without news.
const TICK: Duration = Duration::from_millis(100);
/// Status messages waiting to be shown.
const WAITING: usize = 256;

/// How progress is to be shown.
pub(super) struct Progress {
    mode: Mode,
    color: bool,
}

impl Progress {
    /// Resolves `auto`: live on a terminal that can redraw and shares nothing with the result.
    pub(super) fn new(mode: ProgressMode, settings: &Settings, to_stdout: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let shared = to_stdout && io::stdout().is_terminal();
        let mode = match mode {
            ProgressMode::Auto if terminal && !settings.no_redraw && !shared => Mode::Tty,
            ProgressMode::Auto | ProgressMode::Plain => Mode::Plain,
            ProgressMode::Tty => Mode::Tty,
            ProgressMode::Quiet => Mode::Quiet,
            ProgressMode::Json => Mode::Json,
        };
        Self { mode, color: settings.color && terminal }
    }

    fn display(&self) -> Display {
        let options = Options { color: self.color, size: Box::new(terminal_size) };
        Display::new(self.mode, options, Box::new(io::stderr()))
    }
}

/// A solve that ended without its result.
pub(super) enum Ended {
    /// It failed, broke or was interrupted.
    Solve(SolveError),
    /// It took longer than it may.
    TimedOut(Duration),
}

/// Runs the solve to its end; also answers what the status stream told.
///
/// The first interrupt (or the deadline) cancels the build and waits until the
/// engine has stopped its steps; a second interrupt waits for nothing.
pub(super) async fn solve(
    client: &Client,
    request: SolveRequest,
    attachments: Attachments,
    progress: &Progress,
    timeout: Option<Duration>,
    printer: Printer,
) -> (Result<ExporterResponse, Ended>, Trace) {
    let (status, updates) = mpsc::channel(WAITING);
    let showing = tokio::spawn(show(progress.display(), updates));
    let cancel = CancellationToken::new();
    let result = {
        let solving = client.solve(request, attachments, status, cancel.clone());
        tokio::pin!(solving);
        let deadline = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = &mut solving => result.map_err(Ended::Solve),
            () = deadline => {
                cancel.cancel();
                match solving.await {
                    Ok(response) => Ok(response),
                    Err(_) => Err(Ended::TimedOut(timeout.unwrap_or_default())),
                }
            }
            () = interrupted() => {
                printer.note("\nlarder: cancelling the build; interrupt again to leave at once\n");
                cancel.cancel();
                tokio::select! {
                    result = &mut solving => result.map_err(Ended::Solve),
                    () = interrupted() => Err(Ended::Solve(SolveError::Cancelled)),
                }
            }
        }
    };
    // The display ends with the channel; a panic there would be a bug of its own, and the result stands.
    let trace = showing.await.unwrap_or_default();
    (result, trace)
}

async fn show(mut display: Display, mut updates: mpsc::Receiver<StatusUpdate>) -> Trace {
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
    }
    let known = display.trace().clone();
    display.finish(Timestamp::now()).unwrap_or(known)
}

/// Runs `work` unless the user interrupts.
pub(super) async fn interruptible<T>(work: impl Future<Output = T>) -> Result<T, CommandError> {
    tokio::select! {
        result = work => Ok(result),
        () = interrupted() => Err(CommandError {
            kind: ErrorKind::Interrupted,
            cause: "interrupted".to_owned(),
            hints: Vec::new(),
        }),
    }
}

/// Ends with the next SIGINT or SIGTERM; never, where signals cannot be watched.
async fn interrupted() {
    let watched = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    match watched {
        Ok((mut interrupt, mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => std::future::pending().await,
    }
}

/// The step that failed with its last output, and the Dockerfile's lines at fault.
pub(super) fn failure_report(failure: &BuildFailure, trace: &Trace, inputs: &Inputs) -> Option<String> {
    let dockerfile = match inputs.dockerfile_text() {
        Some((name, text)) => match Dockerfile::parse(text) {
            Ok(dockerfile) => Some((dockerfile, name, text)),
            Err(error) => return Some(error.caret(name, text)),
        },
        None => None,
    };
    let named = failure.vertex.as_deref().and_then(|digest| trace.vertex(digest));
    // A cache import that failed is no reason for the build to fail.
    let blamed = || {
        let says_so = |error: &str| failure.message.contains(error);
        trace.failures().filter(|vertex| vertex.error().is_some_and(says_so)).last()
    };
    let failed = named.or_else(blamed);
    let told = failure.location.as_ref().map(|location| Source {
        file: &location.file,
        text: &location.text,
        lines: location.lines,
    });
    // Older engines name the step only.
    let found = || {
        let (dockerfile, file, text) = dockerfile.as_ref()?;
        let lines = dockerfile.step_lines(failed?.name())?;
        let line = |line: &usize| u32::try_from(*line).ok();
        Some(Source { file, text, lines: (line(lines.start())?, line(lines.end())?) })
    };
    let source = told.or_else(found);
    match (failed, source) {
        (Some(vertex), source) => Some(failure::report(&Failure::of(vertex, source))),
        (None, Some(source)) => {
            Some(failure::report(&Failure { name: "", lines: Vec::new(), source: Some(source) }))
        }
        (None, None) => None,
    }
}
