//! The thread pool of commands.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

use super::error::CommandError;
use crate::pipeline::error::PipelineError;
use crate::pipeline::session::Session;

/// The thread pool of a process, started by the first command that needs it.
#[derive(Default)]
pub(super) struct CommandRuntime(OnceLock<Runtime>);

impl Drop for CommandRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A blocking read of a file or of stdin must not delay the exit.
            runtime.shutdown_background();
        }
    }
}

impl CommandRuntime {
    /// Runs a command to its end, and returns an error on an interrupt that the command does not handle.
    pub(super) fn block_on<T>(
        &self,
        session: &Session<'_>,
        command: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let runtime = if let Some(runtime) = self.0.get() {
            runtime
        } else {
            let made = Builder::new_multi_thread().enable_all().build();
            let made = made.map_err(|error| CommandError::config(&error))?;
            self.0.get_or_init(|| made)
        };
        runtime.block_on(async {
            let mut interrupts = session.interrupts();
            tokio::select! {
                biased;
                result = command => result,
                () = interrupts.unhandled() => Err(PipelineError::Interrupted.into()),
            }
        })
    }
}
