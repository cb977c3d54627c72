//! Provides access to registries with the user's logins, this machine's certificates and the engine's rules.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::engine::{Engine, EngineError, PushProgress};
use crate::registry::ecr::EcrError;
use crate::registry::{ImageRef, Login, RegistryAccess, RegistryError, Repository};
use crate::store::Meter;

pub(crate) struct Registries {
    login: Login,
    certificates: Vec<PathBuf>,
    engine: Option<Engine>,
    reach: OnceCell<RegistryAccess>,
    /// Clients by repository. Clones share the detected protocol and the login.
    clients: Mutex<BTreeMap<String, Repository>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error(transparent)]
    Login(#[from] EcrError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The registry rejected the tag of an image that was pushed by its digest.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the registry does not have the pushed image")]
    ImageMissing,
}

impl Registries {
    pub(crate) fn new(login: Login, certificates: Vec<PathBuf>, engine: Option<&Engine>) -> Self {
        let (reach, clients) = (OnceCell::new(), Mutex::default());
        Self { login, certificates, engine: engine.cloned(), reach, clients }
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// Returns the rules for reaching registries; the default ones if the engine cannot be queried.
    pub(crate) async fn reach(&self) -> &RegistryAccess {
        let query = || async {
            let rules = match &self.engine {
                Some(engine) => engine.reach().await.unwrap_or_default(),
                None => RegistryAccess::default(),
            };
            RegistryAccess { certificates: self.certificates.clone(), ..rules }
        };
        self.reach.get_or_init(query).await
    }

    /// Pushes an image of the engine. If ECR rejects a saved token, retries with a new one.
    pub(crate) async fn push(
        &self,
        engine: &Engine,
        name: &ImageRef,
        meter: &Meter,
    ) -> Result<PushProgress, PushError> {
        let host = name.host();
        let progress = |done, total| meter.set(done, total);
        let pushed = engine.push(name, &self.login.credentials(host).await?, progress).await;
        if !(self.login.is_ecr(host) && pushed.as_ref().is_err_and(EngineError::is_login_error)) {
            return Ok(pushed?);
        }
        self.login.forget(host);
        Ok(engine.push(name, &self.login.credentials(host).await?, progress).await?)
    }

    /// Returns a client for a repository. Credentials are looked up when the registry requests them.
    pub(crate) async fn repository(&self, name: &ImageRef) -> Result<Repository, RegistryError> {
        let reach = self.reach().await;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&name.repository()) {
            return Ok(client.with_name(name));
        }
        let client = Repository::new(name, &self.login, reach)?;
        clients.insert(name.repository(), client.clone());
        Ok(client)
    }
}
