//! What one run of larder works with, opened once: engines, the store, and the user's interrupts.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

use super::connecting::connect;
use super::error::{CommandError, chain};
use super::interrupts::Interrupts;
use super::store::open;
use crate::buildkit::{Ability, Client, EngineProduct};
use crate::endpoint::Endpoint;
use crate::engine::{Engine, ImageStore};
use crate::notes::Notes;
use crate::output::Printer;
use crate::pipeline::bases::BaseLookup;
use crate::pipeline::inputs::Inputs;
use crate::pipeline::known_builder::{KnownBuilder, UnknownBuilder};
use crate::pipeline::registries::Registries;
use crate::settings::{BuildSettings, Environment, Settings};
use crate::store::Store;

/// What the commands of a process share. A copy for another engine is made with [`Session::on`].
#[derive(Clone)]
pub(super) struct Session<'a> {
    pub(super) settings: &'a Settings,
    pub(super) environment: &'a Environment,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    runtime: OnceLock<Runtime>,
    interrupts: OnceLock<Interrupts>,
    store: Mutex<Option<Store>>,
    connections: Mutex<Vec<(Endpoint, Connecting)>>,
}

/// A connection that is made once; others wait for it.
type Connecting = Arc<OnceCell<Result<Arc<EngineConnection>, CommandError>>>;

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A blocking read of a file or of stdin must not hold up the end.
            runtime.shutdown_background();
        }
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(settings: &'a Settings, environment: &'a Environment) -> Self {
        Self { settings, environment, shared: Arc::default() }
    }

    /// Returns the same session with other settings, which name another engine for instance.
    pub(super) fn on<'b>(&self, settings: &'b Settings) -> Session<'b>
    where
        'a: 'b,
    {
        Session { settings, environment: self.environment, shared: Arc::clone(&self.shared) }
    }

    /// Runs a command to its end. From its first moment on an interrupt is noticed, and ends what runs in order.
    ///
    /// # Errors
    ///
    /// Fails when the command does, or no threads can be had.
    pub(super) fn block_on<T>(
        &self,
        command: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let runtime = if let Some(runtime) = self.shared.runtime.get() {
            runtime
        } else {
            let made = Builder::new_multi_thread().enable_all().build();
            let made = made.map_err(|error| CommandError::config(&error))?;
            self.shared.runtime.get_or_init(|| made)
        };
        runtime.block_on(async {
            let mut interrupts = self.interrupts();
            tokio::select! {
                biased;
                result = command => result,
                () = interrupts.unnoticed() => Err(CommandError::interrupted("interrupted")),
            }
        })
    }

    /// Returns a view of the user's interrupts, of which it sees all. Takes a runtime.
    pub(super) fn interrupts(&self) -> Interrupts {
        self.shared.interrupts.get_or_init(Interrupts::start).clone()
    }

    /// Returns the store; nothing of it is read yet.
    pub(super) fn store(&self) -> Result<Store, CommandError> {
        let mut opened = self.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &*opened {
            return Ok(store.clone());
        }
        let store = open(self.settings)?;
        *opened = Some(store.clone());
        Ok(store)
    }

    /// Returns the connection to the engine of the settings; `printer` says if it is waited for.
    pub(super) async fn connection(
        &self,
        printer: Option<Printer>,
    ) -> Result<Arc<EngineConnection>, CommandError> {
        self.connection_to(&self.settings.endpoint, printer).await
    }

    /// Returns the connection to the engine at `endpoint`. One that was used before is made anew if it is broken.
    pub(super) async fn connection_to(
        &self,
        endpoint: &Endpoint,
        printer: Option<Printer>,
    ) -> Result<Arc<EngineConnection>, CommandError> {
        let known = self.connecting(endpoint).get().and_then(|made| made.as_ref().ok()).map(Arc::clone);
        if let Some(known) = known {
            if known.client.is_alive().await {
                return Ok(known);
            }
            self.connections().retain(|(other, _)| other != endpoint);
        }
        let connecting = || async {
            let client = connect(endpoint, self.settings.engine_wait, printer).await?;
            EngineConnection::new(client, self.settings).map(Arc::new)
        };
        // Who waits for the same engine fails with it.
        self.connecting(endpoint).get_or_init(connecting).await.clone()
    }

    fn connecting(&self, endpoint: &Endpoint) -> Connecting {
        let mut connections = self.connections();
        if let Some((_, known)) = connections.iter().find(|(known, _)| known == endpoint) {
            return Arc::clone(known);
        }
        let new = Connecting::default();
        connections.push((endpoint.clone(), Arc::clone(&new)));
        new
    }

    fn connections(&self) -> MutexGuard<'_, Vec<(Endpoint, Connecting)>> {
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine: its builder, its API, and registries as they are reached from there.
pub(super) struct EngineConnection {
    pub(super) client: Client,
    /// The API of a Docker engine; buildkitd has none.
    pub(super) engine: Option<Engine>,
    pub(super) registries: Registries,
    image_store: OnceCell<ImageStore>,
}

impl EngineConnection {
    fn new(client: Client, settings: &Settings) -> Result<Self, CommandError> {
        let engine = match client.product() {
            EngineProduct::Docker { api, .. } => {
                let engine = Engine::new(client.endpoint(), (api.major, api.minor));
                Some(engine.map_err(|error| CommandError::config(&error))?)
            }
            EngineProduct::Buildkitd => None,
        };
        let registries =
            Registries::new(settings.login.clone(), settings.certificates.clone(), engine.as_ref());
        Ok(Self { client, engine, registries, image_store: OnceCell::new() })
    }

    /// Returns what finds the base images of a build.
    pub(super) fn base_lookup(&self, build: &BuildSettings, inputs: &Inputs) -> BaseLookup<'_> {
        BaseLookup::of(&build.source, inputs, self.engine.as_ref(), &self.registries)
    }

    /// Returns the builder with what is noted of it.
    ///
    /// # Errors
    ///
    /// Fails when it cannot be asked who it is, or the notes cannot be read.
    pub(super) async fn known_builder<'a>(
        &'a self,
        notes: &'a Notes,
    ) -> Result<KnownBuilder<'a>, UnknownBuilder> {
        KnownBuilder::meet(&self.client, self.engine.as_ref(), notes).await
    }

    /// Returns how the engine keeps images; a buildkitd counts as a graph driver.
    pub(super) async fn image_store(&self) -> Result<ImageStore, CommandError> {
        let ask = || async {
            match &self.engine {
                // Engines that attach no attestations know graph drivers alone.
                Some(engine) if self.client.product().can(Ability::Attestations) => {
                    engine.image_store().await.map_err(|error| CommandError::build(chain(&error)))
                }
                _ => Ok(ImageStore::GraphDriver),
            }
        };
        self.image_store.get_or_try_init(ask).await.copied()
    }
}
