//! The identity with which larder calls a registry.

use super::ecr::EcrError;
use super::{Credentials, Login};

#[derive(Debug, Clone)]
pub(crate) enum Identity {
    Known(Credentials),
    /// Credentials that are looked up when the registry first requires them.
    LookedUp(Login),
}

impl Identity {
    pub(super) async fn credentials(&self, host: &str) -> Result<Credentials, EcrError> {
        match self {
            Self::Known(credentials) => Ok(credentials.clone()),
            Self::LookedUp(login) => login.credentials(host).await,
        }
    }
}

impl From<&Credentials> for Identity {
    fn from(credentials: &Credentials) -> Self {
        Self::Known(credentials.clone())
    }
}

impl From<&Login> for Identity {
    fn from(login: &Login) -> Self {
        Self::LookedUp(login.clone())
    }
}
