//! The resources of one run of larder, each opened once: engines, the store, and the user's interrupts.

pub(crate) mod interrupts;
pub(crate) mod store;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use self::interrupts::Interrupts;
use self::store::OpenStore;
use super::base_lookup::BaseLookup;
use super::error::{PipelineError, Result};
use super::inputs::Inputs;
use super::known_builder::{KnownBuilder, KnownBuilderError};
use super::registries::Registries;
use super::reporter::Reporter;
use crate::buildkit::{Ability, Client, ConnectError, EngineProduct, Worker};
use crate::endpoint::Endpoint;
use crate::engine::{Engine, ImageStore};
use crate::error_chain::chain;
use crate::notes::Notes;
use crate::plan::{BuildSettings, JobSettings};
use crate::platform;
use crate::store::{SharedBuilds, Store};

/// The state that the commands of a process share. [`Session::with_settings`] creates a copy for a different engine.
#[derive(Clone)]
pub(crate) struct Session<'a> {
    pub(crate) settings: &'a JobSettings,
    shared: Arc<SharedState>,
}

#[derive(Default)]
struct SharedState {
    interrupts: OnceLock<Interrupts>,
    store: Mutex<Option<OpenStore>>,
    connections: Mutex<Vec<(Endpoint, PendingConnection)>>,
}

/// A connection that the first caller opens and other callers wait for.
type PendingConnection = Arc<OnceCell<Result<Arc<EngineConnection>>>>;

impl<'a> Session<'a> {
    pub(crate) fn new(settings: &'a JobSettings) -> Self {
        Self { settings, shared: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn interrupted(settings: &'a JobSettings) -> Self {
        let session = Self::new(settings);
        session.shared.interrupts.get_or_init(|| Interrupts::after(1));
        session
    }

    pub(crate) fn with_settings<'b>(&self, settings: &'b JobSettings) -> Session<'b>
    where
        'a: 'b,
    {
        Session { settings, shared: Arc::clone(&self.shared) }
    }

    /// Returns a receiver of all interrupts. Requires a Tokio runtime.
    pub(crate) fn interrupts(&self) -> Interrupts {
        self.shared.interrupts.get_or_init(Interrupts::start).clone()
    }

    /// Returns the store, without reading from it. Fails if the remote's address is invalid.
    pub(crate) fn store(&self) -> Result<Store> {
        let mut opened = self.opened();
        if let Some(opened) = &*opened {
            return Ok(opened.store.clone());
        }
        let new = OpenStore::open(self.settings)?;
        Ok(opened.insert(new).store.clone())
    }

    /// Returns the last builds of images in the remote store, if there is one.
    pub(crate) fn shared_builds(&self) -> Result<Option<SharedBuilds>> {
        self.store()?;
        Ok(self.opened().as_ref().and_then(|opened| opened.shared_builds.clone()))
    }

    /// Returns the location of the remote store and its first fault, if it had one.
    pub(crate) fn remote_fault(&self) -> Option<(String, String)> {
        self.opened().as_ref().and_then(OpenStore::remote_fault)
    }

    fn opened(&self) -> MutexGuard<'_, Option<OpenStore>> {
        self.shared.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn connection(&self, reporter: Option<&dyn Reporter>) -> Result<Arc<EngineConnection>> {
        self.connection_to(&self.settings.endpoint, reporter).await
    }

    /// Returns the connection to the engine at `endpoint`. Reconnects if an earlier connection is broken.
    pub(crate) async fn connection_to(
        &self,
        endpoint: &Endpoint,
        reporter: Option<&dyn Reporter>,
    ) -> Result<Arc<EngineConnection>> {
        let known = self.connecting(endpoint).get().and_then(|made| made.as_ref().ok()).map(Arc::clone);
        if let Some(known) = known {
            if known.client()?.is_alive().await {
                return Ok(known);
            }
            self.connections().retain(|(other, _)| other != endpoint);
        }
        let connecting = || async {
            let client = connect(endpoint, self.settings.engine_wait, reporter).await?;
            EngineConnection::new(client, self.settings).map(Arc::new)
        };
        // All callers that wait for this engine fail with the same error.
        self.connecting(endpoint).get_or_init(connecting).await.clone()
    }

    fn connecting(&self, endpoint: &Endpoint) -> PendingConnection {
        let mut connections = self.connections();
        if let Some((_, known)) = connections.iter().find(|(known, _)| known == endpoint) {
            return Arc::clone(known);
        }
        let new = PendingConnection::default();
        connections.push((endpoint.clone(), Arc::clone(&new)));
        new
    }

    fn connections(&self) -> MutexGuard<'_, Vec<(Endpoint, PendingConnection)>> {
        self.shared.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PAUSE: Duration = Duration::from_millis(500);

async fn connect(
    endpoint: &Endpoint,
    wait: Option<Duration>,
    reporter: Option<&dyn Reporter>,
) -> Result<Client, ConnectError> {
    let begin = Instant::now();
    let mut is_reported = false;
    loop {
        match (Client::connect(endpoint).await, wait) {
            (Err(error), Some(wait)) if error.is_unreachable() && begin.elapsed() < wait => {
                if let Some(reporter) = reporter.filter(|_| !std::mem::replace(&mut is_reported, true)) {
                    reporter.note(&format!("waiting up to {wait:?} for the engine: {}\n", chain(&error)));
                }
                tokio::time::sleep(PAUSE.min(wait.saturating_sub(begin.elapsed()))).await;
            }
            (result, _) => return result,
        }
    }
}

pub(crate) struct EngineConnection {
    /// The builder, or the reason why it cannot be reached.
    client: Result<Client, Arc<ConnectError>>,
    /// The API of a Docker engine; `None` for buildkitd.
    pub(crate) engine: Option<Engine>,
    pub(crate) registries: Registries,
    image_store: OnceCell<ImageStore>,
    builder: OnceCell<String>,
}

impl EngineConnection {
    pub(super) fn new(client: Client, settings: &JobSettings) -> Result<Self> {
        let engine = match client.product() {
            EngineProduct::Docker { api, .. } => {
                let engine = Engine::new(client.endpoint(), (api.major, api.minor));
                Some(engine.map_err(|error| PipelineError::Resource(chain(&error)))?)
            }
            EngineProduct::Buildkitd => None,
        };
        Ok(Self::with(Ok(client), engine, settings))
    }

    /// Returns a connection that provides only registries, for an engine that could not be reached because of `error`.
    pub(crate) fn without_engine(error: Arc<ConnectError>, settings: &JobSettings) -> Self {
        Self::with(Err(error), None, settings)
    }

    fn with(
        client: Result<Client, Arc<ConnectError>>,
        engine: Option<Engine>,
        settings: &JobSettings,
    ) -> Self {
        let registries =
            Registries::new(settings.login.clone(), settings.certificates.clone(), engine.as_ref());
        Self { client, engine, registries, image_store: OnceCell::new(), builder: OnceCell::new() }
    }

    /// Returns the builder, or the reason why there is no connection to the engine.
    pub(crate) fn client(&self) -> Result<&Client, Arc<ConnectError>> {
        self.client.as_ref().map_err(Arc::clone)
    }

    /// Returns the default platform of the builder, or of this machine if there is no builder. A local socket does
    /// not imply the local platform, because it may be forwarded.
    pub(crate) async fn platform(&self) -> Result<String, ConnectError> {
        match &self.client {
            Ok(client) => client.worker().await.map(Worker::platform),
            Err(_) => Ok(platform::local_container_platform()),
        }
    }

    pub(crate) fn base_lookup(&self, build: &BuildSettings, inputs: &Inputs) -> BaseLookup<'_> {
        BaseLookup {
            engine: self.engine.as_ref(),
            registries: &self.registries,
            pull: build.source.pull,
            known: inputs.known_bases.clone(),
        }
    }

    pub(crate) async fn known_builder<'a>(
        &'a self,
        notes: &'a Notes,
    ) -> Result<KnownBuilder<'a>, KnownBuilderError> {
        let query = || async { KnownBuilder::identity(self.client()?, self.engine.as_ref()).await };
        let identity = self.builder.get_or_try_init(query).await?;
        Ok(KnownBuilder::new(identity, self.engine.as_ref(), notes)?)
    }

    /// Returns the engine's image store; `GraphDriver` for buildkitd.
    pub(crate) async fn image_store(&self) -> Result<ImageStore> {
        let query = || async {
            match &self.engine {
                // Engines that do not support attestations only have graph drivers.
                Some(engine) if self.client()?.product().supports(Ability::Attestations) => {
                    Ok(engine.image_store().await?)
                }
                _ => Ok(ImageStore::GraphDriver),
            }
        };
        self.image_store.get_or_try_init(query).await.copied()
    }
}
