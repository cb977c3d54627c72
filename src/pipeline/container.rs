//! Runs a container to its end and forwards its output. Nothing is built here.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::reporter::Reporter;
use super::session::interrupts::Interrupts;
use crate::engine::{Container, ContainerSpec, Engine, EngineError, OutputStream};
use crate::error_chain::chain;

/// The exit status if the user exits without waiting for the container.
const INTERRUPTED: i64 = 130;

#[derive(Debug, Clone, Copy)]
pub(crate) struct ContainerEnd {
    pub(crate) status: i64,
    pub(crate) is_interrupted: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error("cannot run the container")]
    Engine(#[from] EngineError),
    #[error("cannot write the container's output")]
    OutputLost(#[source] io::Error),
}

struct ContainerOutput {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// The error that closed standard output.
    fault: Option<io::Error>,
}

impl ContainerOutput {
    fn write(&mut self, stream: OutputStream, bytes: &[u8]) {
        match stream {
            OutputStream::Stdout if self.fault.is_none() => {
                self.fault = self.out.write_all(bytes).and_then(|()| self.out.flush()).err();
            }
            OutputStream::Stdout => {}
            // There is nowhere to report an error of standard error.
            OutputStream::Stderr => drop(self.err.write_all(bytes).and_then(|()| self.err.flush())),
        }
    }
}

pub(crate) async fn run_container(
    engine: &Engine,
    spec: &ContainerSpec,
    keep: bool,
    mut interrupts: Interrupts,
    reporter: &dyn Reporter,
) -> Result<ContainerEnd, ContainerError> {
    let container = engine.create_container(spec).await?;
    let done = run_attended(&container, &mut interrupts, reporter).await;
    if keep {
        reporter.message(&format!("the container is kept as {}\n", container.name));
    } else if let Err(error) = container.remove().await {
        reporter.warn(&format!("the container was not removed: {}", chain(&error)));
    }
    done
}

/// Waits for the end of the container. The first interrupt stops it; a second interrupt returns immediately.
async fn run_attended(
    container: &Container,
    interrupts: &mut Interrupts,
    reporter: &dyn Reporter,
) -> Result<ContainerEnd, ContainerError> {
    let output = Mutex::new(ContainerOutput { out: reporter.stdout(), err: reporter.stderr(), fault: None });
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
                Some(fault) => Err(ContainerError::OutputLost(fault)),
                None => Ok(ContainerEnd { status, is_interrupted: false }),
            };
        }
        () = is_lost.notified() => {
            // The container may have ended by itself. It is removed in any case.
            let _ = tokio::join!(container.stop(), &mut running);
            let fault = locked().fault.take();
            return Err(ContainerError::OutputLost(fault.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())));
        }
        () = interrupts.next() => {}
    }
    reporter.message("\nlarder: stopping the container; interrupt again to exit immediately\n");
    let ending = async { tokio::join!(container.stop(), &mut running) };
    tokio::select! {
        (stopped, status) = ending => {
            stopped?;
            Ok(ContainerEnd { status: status?, is_interrupted: true })
        }
        () = interrupts.next() => Ok(ContainerEnd { status: INTERRUPTED, is_interrupted: true }),
    }
}
