//! Several engines: an entry's image is handed to all of them at once, and one that is down stops none of the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::error::{CommandError, ErrorKind};
use crate::endpoint::Endpoint;
use crate::engine::Engine;
use crate::error_chain::chain;
use crate::output::{Printer, summary};
use crate::pipeline::session::EngineConnection;
use crate::pipeline::session::Session;
use crate::pipeline::transfers::transfer;
use crate::registry::ImageRef;
use crate::store::{Entry, Meter, Store};
use crate::tiers::{ArchiveTier, EngineTier, ImageTier};

/// An engine that images are handed to.
pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    pub(super) engine: Engine,
    connection: Arc<EngineConnection>,
    /// Tells whose lines they are, where there are several.
    pub(super) printer: Printer,
}

/// The engines asked for.
pub(super) struct Nodes {
    pub(super) up: Vec<Node>,
    /// Those that failed, by their addresses.
    failed: Vec<String>,
    /// How many were asked for.
    count: usize,
}

/// An image in a node.
pub(super) struct Handed {
    /// Its id there.
    pub(super) image: String,
    /// The tier that had it.
    pub(super) tier: &'static str,
    pub(super) elapsed: Duration,
}

/// The names that an image gets.
#[derive(Clone, Copy)]
pub(super) enum Names<'a> {
    These(&'a [ImageRef]),
    /// This one, unless another image has it.
    IfFree(&'a str),
}

impl Nodes {
    /// Connects to the engines of the settings. Of several, those that are down are told and left out.
    ///
    /// # Errors
    ///
    /// Fails when none can be reached.
    pub(super) async fn connect(session: &Session<'_>, printer: Printer) -> Result<Self, CommandError> {
        let count = session.settings.endpoints.len();
        let connecting = session.settings.endpoints.iter().map(|endpoint| async move {
            let printer = if count > 1 { printer.for_part(&endpoint.to_string()) } else { printer };
            (endpoint, printer, node(endpoint, session, printer).await)
        });
        let mut nodes = Self { up: Vec::new(), failed: Vec::new(), count };
        for (endpoint, printer, connected) in join_all(connecting).await {
            match connected {
                Ok(node) => nodes.up.push(node),
                Err(error) if count == 1 => return Err(error),
                Err(error) => nodes.fails(endpoint, &error, printer),
            }
        }
        if nodes.up.is_empty() {
            return Err(CommandError::config_line(format!("none of the {count} engines can be reached")));
        }
        Ok(nodes)
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.count > 1
    }

    /// Brings the image of `entry` into each of them but the first `passed`; those that fail are told and left out.
    pub(super) async fn hand(
        &mut self,
        entry: &Entry,
        names: Names<'_>,
        store: &Store,
        deadline: Duration,
        session: &Session<'_>,
        passed: usize,
    ) -> Result<Vec<Handed>, CommandError> {
        let rest = self.up.split_off(passed);
        let handing = rest.iter().map(|node| node.take(entry, names, store, deadline, session));
        let done = join_all(handing).await;
        let mut handed = Vec::new();
        for (node, result) in rest.into_iter().zip(done) {
            match result {
                Ok(image) => {
                    handed.push(image);
                    self.up.push(node);
                }
                Err(error) if !self.are_several() || error.kind == ErrorKind::Interrupted => {
                    return Err(error);
                }
                Err(error) => self.fails(&node.endpoint, &error, node.printer),
            }
        }
        Ok(handed)
    }

    /// Leaves out all but the first, with the reason.
    pub(super) fn leave_first(&mut self, error: &CommandError) {
        for node in self.up.split_off(1) {
            self.fails(&node.endpoint, error, node.printer);
        }
    }

    /// Tells of one that failed.
    pub(super) fn fails(&mut self, endpoint: &Endpoint, error: &CommandError, printer: Printer) {
        error.print(printer);
        let name = endpoint.to_string();
        if !self.failed.contains(&name) {
            self.failed.push(name);
        }
    }

    /// The error that names those that failed.
    pub(super) fn failures(&self) -> Result<(), CommandError> {
        if self.failed.is_empty() {
            return Ok(());
        }
        let (failed, count) = (self.failed.len(), self.count);
        Err(CommandError::build(format!("{failed} of {count} engines failed: {}", self.failed.join(", "))))
    }
}

async fn node(endpoint: &Endpoint, session: &Session<'_>, printer: Printer) -> Result<Node, CommandError> {
    let connection = session.connection_to(endpoint, Some(&printer)).await?;
    let engine = connection.engine.clone().ok_or_else(|| {
        CommandError::config_line("buildkitd runs no images")
            .hint("name a Docker engine with --host or DOCKER_HOST")
    })?;
    Ok(Node { endpoint: endpoint.clone(), engine, connection, printer })
}

impl Node {
    /// Brings the image of `entry` into this engine, unless it has it.
    async fn take(
        &self,
        entry: &Entry,
        names: Names<'_>,
        store: &Store,
        deadline: Duration,
        session: &Session<'_>,
    ) -> Result<Handed, CommandError> {
        let clock = Instant::now();
        let images = self.connection.image_store().await.map_err(|error| unloadable(&error))?;
        let tier = ArchiveTier::new(store.clone(), self.engine.clone(), images, deadline);
        let handed = |image, tier| Handed { image, tier, elapsed: clock.elapsed() };
        if let Some(image) = tier.present(entry).await.map_err(|error| unloadable(&error))? {
            self.printer.note("  the image is in the engine already\n");
            store.touch(entry).err().into_iter().for_each(|fault| self.printer.warn(&chain(&fault)));
            if let Names::These(names) = names {
                for name in names.iter().filter(|name| !image.names.contains(&name.familiar())) {
                    self.engine.tag(&image.id, name).await.map_err(|error| unloadable(&error))?;
                }
            }
            return Ok(handed(image.id, EngineTier::NAME));
        }
        let meter = Arc::new(Meter::default());
        let free;
        let names = match names {
            Names::These(names) => names,
            Names::IfFree(name) => {
                free = self.free_name(name).await;
                &free[..]
            }
        };
        let loading = tier.load(entry, names, &meter);
        let loaded = transfer("loading the image", loading, &meter, session, &self.printer);
        let loaded = loaded.await?.map_err(|error| unloadable(&error))?;
        loaded.faults.iter().for_each(|fault| self.printer.warn(&chain(fault)));
        self.printer.note(&format!("  {}\n", summary::loaded(loaded.bytes, clock.elapsed())));
        Ok(handed(loaded.image.id, ArchiveTier::NAME))
    }

    /// The name that the image had, unless another image in the engine has it by now.
    async fn free_name(&self, name: &str) -> Vec<ImageRef> {
        let reference = name.parse::<ImageRef>().ok().filter(|reference| reference.familiar() == *name);
        let is_free = matches!(self.engine.image(name).await, Ok(None));
        reference.filter(|_| is_free).into_iter().collect()
    }
}

fn unloadable(error: &(dyn std::error::Error + 'static)) -> CommandError {
    unloadable_for(&chain(error))
}

fn unloadable_for(cause: &str) -> CommandError {
    CommandError::build(format!("the image cannot be loaded from the cache: {cause}"))
        .hint("larder build and larder run make it anew")
}
