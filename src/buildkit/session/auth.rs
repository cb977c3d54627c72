//! `moby.filesync.v1.Auth`: registry tokens or credentials for a pull or push of the build.
//!
//! BuildKit prefers tokens that the client fetched, so that passwords stay in the client. Only sessions with the same
//! credentials may share a token. Therefore the client first has to prove with a signature that it has credentials for
//! the host (`GetTokenAuthority`, `VerifyTokenAuthority`).

use std::io;

use bollard_buildkit_proto::moby::filesync::v1::auth_server::{Auth, AuthServer};
use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tonic::{Request, Response, Status};

use super::Reply;
use crate::registry::{Credentials, Login, TokenRequest};

pub(super) const METHODS: [&str; 4] = [
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
];

pub(super) fn service(login: Login) -> io::Result<AuthServer<AuthProvider>> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(AuthServer::new(AuthProvider { login, seed }))
}

pub(super) struct AuthProvider {
    login: Login,
    /// Mixed into the signing key, so that an engine that chooses the salt cannot derive the password.
    seed: [u8; 32],
}

impl AuthProvider {
    async fn credentials_for(&self, host: &str) -> Result<Credentials, Status> {
        self.login.credentials(host).await.map_err(|error| Status::internal(error.to_string()))
    }

    async fn authority(&self, host: &str, salt: &[u8]) -> Result<SigningKey, Status> {
        let credentials = self.credentials_for(host).await?;
        let mut mac = Hmac::<Sha256>::new_from_slice(salt)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if !credentials.secret.is_empty() {
            mac.update(&self.seed);
        }
        Ok(SigningKey::from_bytes(&mac.finalize().into_bytes().into()))
    }
}

#[tonic::async_trait]
impl Auth for AuthProvider {
    async fn credentials(&self, request: Request<CredentialsRequest>) -> Reply<CredentialsResponse> {
        let host = request.into_inner().host;
        let Credentials { username, secret } = self.credentials_for(&host).await?;
        Ok(Response::new(CredentialsResponse { username, secret }))
    }

    async fn fetch_token(&self, request: Request<FetchTokenRequest>) -> Reply<FetchTokenResponse> {
        let FetchTokenRequest { host, realm, service, scopes, client_id: _ } = request.into_inner();
        let credentials = self.credentials_for(&host).await?;
        let request = TokenRequest { realm, service, scopes };
        let token = request.fetch(&credentials).await.map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            Status::unauthenticated(format!("{error}{}", source.unwrap_or_default()))
        })?;
        Ok(Response::new(FetchTokenResponse {
            token: token.value,
            expires_in: token.expires_in,
            issued_at: token.issued_at.map_or(0, jiff::Timestamp::as_second),
        }))
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Reply<GetTokenAuthorityResponse> {
        let GetTokenAuthorityRequest { host, salt } = request.into_inner();
        let key = self.authority(&host, &salt).await?;
        let public_key = key.verifying_key().to_bytes().to_vec();
        Ok(Response::new(GetTokenAuthorityResponse { public_key }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<VerifyTokenAuthorityRequest>,
    ) -> Reply<VerifyTokenAuthorityResponse> {
        let VerifyTokenAuthorityRequest { host, payload, salt } = request.into_inner();
        let key = self.authority(&host, &salt).await?;
        // BuildKit expects the format of NaCl's `crypto_sign`: the signature, then the message.
        let mut signed = key.sign(&payload).to_bytes().to_vec();
        signed.extend_from_slice(&payload);
        Ok(Response::new(VerifyTokenAuthorityResponse { signed }))
    }
}
