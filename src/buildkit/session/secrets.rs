//! `moby.buildkit.secrets.v1.Secrets`: secrets of the build, read when a step requests them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::{Secrets, SecretsServer};
use bollard_buildkit_proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

use super::Reply;

pub(super) const METHODS: [&str; 1] = ["/moby.buildkit.secrets.v1.Secrets/GetSecret"];

/// BuildKit's own limit on a secret, in bytes (`secretsprovider.MaxSecretSize`).
const MAX_SECRET: usize = 500 * 1024;

#[derive(Clone)]
pub(crate) enum SecretSource {
    /// A file, read on each request.
    File(PathBuf),
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

pub(super) fn service(secrets: BTreeMap<String, SecretSource>) -> SecretsServer<SecretProvider> {
    SecretsServer::new(SecretProvider(secrets))
}

pub(super) struct SecretProvider(BTreeMap<String, SecretSource>);

#[tonic::async_trait]
impl Secrets for SecretProvider {
    async fn get_secret(&self, request: Request<GetSecretRequest>) -> Reply<GetSecretResponse> {
        let id = request.into_inner().id;
        let data = match self.0.get(&id) {
            None => return Err(Status::not_found(format!("secret {id} was not given to this build"))),
            Some(SecretSource::Value(value)) => value.clone(),
            Some(SecretSource::File(path)) => tokio::fs::read(path)
                .await
                .map_err(|error| Status::internal(format!("secret {id}: {}: {error}", path.display())))?,
        };
        if data.len() > MAX_SECRET {
            return Err(Status::invalid_argument(format!("secret {id} is larger than 512 kB")));
        }
        Ok(Response::new(GetSecretResponse { data }))
    }
}
