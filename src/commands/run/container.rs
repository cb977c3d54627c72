//! A container from its making to its end, with its output handed on.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::commands::error::{CommandError, ErrorKind};
use crate::engine::{Container, ContainerSpec, Engine, EngineError, Stream};
use crate::error_chain::chain;
use crate::output::Printer;
use crate::pipeline::session::interrupts::Interrupts;

/// What a container does whose user did not wait for its end.
const INTERRUPTED: i64 = 130;

/// How a container ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// Its exit status.
    pub(super) status: i64,
    /// The user wanted it to.
    pub(super) is_interrupted: bool,
}

/// What a container writes, handed on as long as someone takes it.
struct Output {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Why standard output takes no more.
    fault: Option<io::Error>,
}

impl Output {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Out if self.fault.is_none() => {
                self.fault = self.out.write_all(bytes).and_then(|()| self.out.flush()).err();
            }
            Stream::Out => {}
            // Where standard error is gone there is nobody left to tell.
            Stream::Err => drop(self.err.write_all(bytes).and_then(|()| self.err.flush())),
        }
    }
}

/// Runs a container to its end, unless the user interrupts.
pub(super) async fn run(
    engine: &Engine,
    spec: &ContainerSpec,
    keep: bool,
    mut interrupts: Interrupts,
    printer: Printer,
) -> Result<End, CommandError> {
    let container = engine.create_container(spec).await.map_err(|error| failed(&error))?;
    let done = attended(&container, &mut interrupts, printer).await;
    if keep {
        printer.message(&format!("the container is kept as {}\n", container.name));
    } else if let Err(error) = container.remove().await {
        printer.warn(&format!("the container stays: {}", chain(&error)));
    }
    done.map_err(|ended| match ended {
        Ended::Engine(error) => failed(&error),
        Ended::Lost(fault) => {
            CommandError::build(format!("cannot write the container's output: {}", chain(&fault)))
                .hint("the container was stopped; make room where its output goes, or send it elsewhere")
        }
    })
}

/// Why a container came to no end of its own.
enum Ended {
    /// The engine is at fault.
    Engine(EngineError),
    /// Standard output takes no more.
    Lost(io::Error),
}

impl From<EngineError> for Ended {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// The first interrupt asks the container to end, a second one waits for nothing.
async fn attended(
    container: &Container,
    interrupts: &mut Interrupts,
    printer: Printer,
) -> Result<End, Ended> {
    let output = Mutex::new(Output { out: printer.stdout(), err: printer.stderr(), fault: None });
    let is_lost = Notify::new();
    let locked = || output.lock().unwrap_or_else(PoisonError::into_inner);
    let running = container.run(|stream, bytes| {
        let mut output = locked();
        output.write(stream, bytes);
        if output.fault.is_some() {
            is_lost.notify_one();
        }
    });
    tokio::pin!(running);
    tokio::select! {
        status = &mut running => {
            let status = status?;
            return match locked().fault.take() {
                Some(fault) => Err(Ended::Lost(fault)),
                None => Ok(End { status, is_interrupted: false }),
            };
        }
        () = is_lost.notified() => {
            // It may have ended by itself just now, and is removed in any case.
            let _ = tokio::join!(container.stop(), &mut running);
            return Err(Ended::Lost(locked().fault.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())));
        }
        () = interrupts.next() => {}
    }
    printer.message("\nlarder: stopping the container; interrupt again to leave at once\n");
    let ending = async { tokio::join!(container.stop(), &mut running) };
    tokio::select! {
        (stopped, status) = ending => {
            stopped?;
            Ok(End { status: status?, is_interrupted: true })
        }
        () = interrupts.next() => Ok(End { status: INTERRUPTED, is_interrupted: true }),
    }
}

fn failed(error: &EngineError) -> CommandError {
    let cause = format!("the container cannot be run: {}", chain(error));
    let status = status_of(&cause);
    let hint = match status {
        NOT_FOUND => "name a program that the image has; --entrypoint replaces the image's own",
        NOT_INVOKED => "a program has to be a file that the container's user may execute",
        _ => "larder run --help lists what a container can be given",
    };
    CommandError { kind: ErrorKind::Container(status), cause, hints: vec![hint.to_owned()] }
}

/// The engine is at fault, or what the container was given.
const NOT_STARTED: u8 = 125;
/// The command cannot be invoked.
const NOT_INVOKED: u8 = 126;
/// The command was not found.
const NOT_FOUND: u8 = 127;

/// Returns the exit code of docker run for this error, which only its message shows (`runStartContainerErr` of docker/cli).
fn status_of(error: &str) -> u8 {
    let says = |words: &[&str]| words.iter().any(|words| error.contains(words));
    if says(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        NOT_FOUND
    } else if says(&["permission denied", "is a directory"]) {
        NOT_INVOKED
    } else {
        NOT_STARTED
    }
}
