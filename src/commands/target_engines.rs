//! Several engines, which all get the same image; a failure of one does not stop the others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::error::CommandError;
use crate::endpoint::Endpoint;
use crate::engine::Engine;
use crate::output::Printer;
use crate::pipeline::error::PipelineError;
use crate::pipeline::image_loading::{LoadNames, LoadedImage, load_into_engine};
use crate::pipeline::session::{EngineConnection, Session};
use crate::store::{Entry, Store};

pub(super) struct TargetEngine {
    pub(super) endpoint: Endpoint,
    pub(super) engine: Engine,
    connection: Arc<EngineConnection>,
    /// Prefixes lines with the engine's address if there are several engines.
    pub(super) printer: Printer,
}

pub(super) struct TargetEngines {
    pub(super) connected: Vec<TargetEngine>,
    failed: Vec<String>,
    /// The number of given engines, including failed ones.
    count: usize,
}

impl TargetEngines {
    /// Connects to the engines of the settings. If there are several, those that cannot be reached are reported and
    /// omitted.
    pub(super) async fn connect(session: &Session<'_>, printer: Printer) -> Result<Self, CommandError> {
        let count = session.settings.endpoints.len();
        let connecting = session.settings.endpoints.iter().map(|endpoint| async move {
            let printer = if count > 1 { printer.for_part(&endpoint.to_string()) } else { printer };
            (endpoint, printer, connect_engine(endpoint, session, printer).await)
        });
        let mut nodes = Self { connected: Vec::new(), failed: Vec::new(), count };
        for (endpoint, printer, connected) in join_all(connecting).await {
            match connected {
                Ok(node) => nodes.connected.push(node),
                Err(error) if count == 1 => return Err(error),
                Err(error) => nodes.report_failure(endpoint, &error, printer),
            }
        }
        if nodes.connected.is_empty() {
            return Err(CommandError::config_line(format!("none of the {count} engines can be reached")));
        }
        Ok(nodes)
    }

    pub(super) fn has_several(&self) -> bool {
        self.count > 1
    }

    /// Loads the image of `entry` into each engine after the first `passed`; engines that fail are reported and
    /// removed.
    pub(super) async fn load_image(
        &mut self,
        entry: &Entry,
        names: LoadNames<'_>,
        store: &Store,
        deadline: Duration,
        session: &Session<'_>,
        passed: usize,
    ) -> Result<Vec<LoadedImage>, CommandError> {
        let rest = self.connected.split_off(passed);
        let handing = rest.iter().map(|node| {
            load_into_engine(entry, names, (store, deadline), (&node.connection, &node.printer), session)
        });
        let done = join_all(handing).await;
        let mut handed = Vec::new();
        for (node, result) in rest.into_iter().zip(done) {
            match result {
                Ok(image) => {
                    handed.push(image);
                    self.connected.push(node);
                }
                Err(error) if !self.has_several() || error.is_interrupt() => return Err(error.into()),
                Err(error) => self.report_failure(&node.endpoint, &error.into(), node.printer),
            }
        }
        Ok(handed)
    }

    /// Removes all but the first, and reports them as failed with `error`.
    pub(super) fn keep_first(&mut self, error: &CommandError) {
        for node in self.connected.split_off(1) {
            self.report_failure(&node.endpoint, error, node.printer);
        }
    }

    pub(super) fn report_failure(&mut self, endpoint: &Endpoint, error: &CommandError, printer: Printer) {
        error.print(printer);
        let name = endpoint.to_string();
        if !self.failed.contains(&name) {
            self.failed.push(name);
        }
    }

    pub(super) fn check_failures(&self) -> Result<(), CommandError> {
        if self.failed.is_empty() {
            return Ok(());
        }
        let (failed, count) = (self.failed.len(), self.count);
        Err(CommandError::build(format!("{failed} of {count} engines failed: {}", self.failed.join(", "))))
    }
}

async fn connect_engine(
    endpoint: &Endpoint,
    session: &Session<'_>,
    printer: Printer,
) -> Result<TargetEngine, CommandError> {
    let connection = session.connection_to(endpoint, Some(&printer)).await?;
    let engine = connection.engine.clone().ok_or(PipelineError::NoEngine)?;
    Ok(TargetEngine { endpoint: endpoint.clone(), engine, connection, printer })
}
