//! A container from its making to its end, with its output handed on.

use std::io::Write;

use crate::commands::error::{CommandError, chain};
use crate::commands::interrupts::Interrupts;
use crate::engine::{Container, ContainerSpec, Engine, EngineError, Stream};
use crate::output::Printer;

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

/// Runs a container to its end, unless the user interrupts.
pub(super) async fn run(
    engine: &Engine,
    spec: &ContainerSpec,
    keep: bool,
    printer: Printer,
) -> Result<End, CommandError> {
    let mut interrupts = Interrupts::watch();
    let container = engine.create_container(spec).await.map_err(|error| failed(&error))?;
    let done = attended(&container, &mut interrupts, printer).await;
    if keep {
        printer.note(&format!("the container is kept as {}\n", container.name));
    } else if let Err(error) = container.remove().await {
        printer.warn(&format!("the container stays: {}", chain(&error)));
    }
    done.map_err(|error| failed(&error))
}

/// The first interrupt asks the container to end, a second one waits for nothing.
async fn attended(
    container: &Container,
    interrupts: &mut Interrupts,
    printer: Printer,
) -> Result<End, EngineError> {
    let (mut out, mut err) = (printer.stdout(), printer.stderr());
    let running = container.run(|stream, bytes| {
        let to = match stream {
            Stream::Out => &mut out,
            Stream::Err => &mut err,
        };
        // Who does not listen any more misses it, and the container goes on.
        drop(to.write_all(bytes).and_then(|()| to.flush()));
    });
    tokio::pin!(running);
    tokio::select! {
        status = &mut running => return Ok(End { status: status?, is_interrupted: false }),
        () = interrupts.next() => {}
    }
    printer.note("\nlarder: stopping the container; interrupt again to leave at once\n");
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
    CommandError::build(format!("the image cannot be run: {}", chain(error)))
        .hint("larder run --help lists what a container can be given")
}
