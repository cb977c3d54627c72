//! The identity with which larder calls a registry.

use super::ecr::EcrError;
use super::{Credentials, Login};

#[derive(Debug, Clone)]
pub(crate) enum CredentialSource {
    Known(Credentials),
    /// Credentials that are looked up when the registry first requires them.
    FromLogin(Login),
}

impl CredentialSource {
    pub(super) async fn credentials(&self, host: &str) -> Result<Credentials, EcrError> {
        match self {
            Self::Known(credentials) => Ok(credentials.clone()),
            Self::FromLogin(login) => login.credentials(host).await,
        }
    }
}

impl From<&Credentials> for CredentialSource {
    fn from(credentials: &Credentials) -> Self {
        Self::Known(credentials.clone())
    }
}

impl From<&Login> for CredentialSource {
    fn from(login: &Login) -> Self {
        Self::FromLogin(login.clone())
    }
}
