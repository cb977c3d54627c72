//! Registries as a job reaches them: with the user's logins, this machine's certificates and the engine's rules.

use std::path::PathBuf;

use tokio::sync::OnceCell;

use crate::engine::{Engine, EngineError, PushProgress};
use crate::registry::ecr::EcrError;
use crate::registry::{Credentials, ImageRef, Login, Reach, RegistryError, Repository};
use crate::store::Meter;

/// Registries, the engine's rules looked up once.
pub(crate) struct Registries {
    login: Login,
    certificates: Vec<PathBuf>,
    engine: Option<Engine>,
    reach: OnceCell<Reach>,
}

/// An image was not pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error(transparent)]
    Login(#[from] EcrError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The registry does not give the name to what was pushed by its digest.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("its registry does not have what was pushed")]
    Gone,
}

impl Registries {
    /// Returns registries as `engine` reaches them too, with certificates from these directories.
    pub(crate) fn new(login: Login, certificates: Vec<PathBuf>, engine: Option<&Engine>) -> Self {
        Self { certificates, engine: engine.cloned(), ..Self::with(login) }
    }

    /// Those that these logins reach by themselves.
    pub(crate) fn with(login: Login) -> Self {
        Self { login, certificates: Vec::new(), engine: None, reach: OnceCell::new() }
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// How they are reached; an engine that cannot be asked has no rules.
    pub(crate) async fn reach(&self) -> &Reach {
        let ask = || async {
            let rules = match &self.engine {
                Some(engine) => engine.reach().await.unwrap_or_default(),
                None => Reach::default(),
            };
            Reach { certificates: self.certificates.clone(), ..rules }
        };
        self.reach.get_or_init(ask).await
    }

    /// The login for a registry.
    pub(crate) async fn credentials(&self, host: &str) -> Result<Credentials, EcrError> {
        self.login.credentials(host).await
    }

    /// Forgets the login for a registry, which does not take it; the next one is a new one where there can be one.
    pub(crate) fn forget(&self, host: &str) {
        self.login.forget(host);
    }

    /// Pushes an image of the engine; with another token where Amazon's registry does not take the kept one, or no more.
    pub(crate) async fn push(
        &self,
        engine: &Engine,
        name: &ImageRef,
        meter: &Meter,
    ) -> Result<PushProgress, PushError> {
        let host = name.host();
        let progress = |done, total| meter.set(done, total);
        let pushed = engine.push(name, &self.credentials(host).await?, progress).await;
        if !(self.login.is_amazons(host) && pushed.as_ref().is_err_and(EngineError::is_of_login)) {
            return Ok(pushed?);
        }
        self.forget(host);
        Ok(engine.push(name, &self.credentials(host).await?, progress).await?)
    }

    /// A repository that is to be spoken to; a login is looked up once its registry asks for one.
    pub(crate) async fn repository(&self, name: &ImageRef) -> Result<Repository, RegistryError> {
        Repository::new(name, &self.login, self.reach().await)
    }
}
