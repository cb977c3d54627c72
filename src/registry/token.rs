//! Fetching registry tokens, so that no password has to leave the client.
//!
//! Two dialects (distribution's "Token Authentication" and "`OAuth2` Token
//! Authentication"): a form POST with credentials, and for registries that do
//! not know it, or for anonymous access, a GET with basic authentication.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;

use super::Credentials;

/// How long a token server may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A token without a stated lifetime lives this long, in seconds (distribution's specification).
const DEFAULT_LIFETIME: i64 = 60;

/// What a token is wanted for: the registry's RFC 6750 challenge.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// Where to ask, an http(s) address.
    pub realm: String,
    /// The service named in the challenge.
    pub service: String,
    /// `repository:NAME:pull,push` and the like.
    pub scopes: Vec<String>,
}

/// A registry token.
#[derive(Clone)]
pub struct Token {
    /// The bearer token.
    pub token: String,
    /// Lifetime in seconds from its issue.
    pub expires_in: i64,
    /// When it was issued, if the server said so.
    pub issued_at: Option<Timestamp>,
}

/// A token server gave no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It could not be asked.
    #[error("cannot ask {realm} for a token")]
    Http {
        /// The token server.
        realm: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It refused.
    #[error("{realm} answered {status} to the request for a token")]
    Refused {
        /// The token server.
        realm: String,
        /// HTTP status.
        status: StatusCode,
    },
    /// Its answer holds none.
    #[error("{0} answered without a token")]
    Empty(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: i64,
    issued_at: Option<Timestamp>,
}

impl TokenRequest {
    /// Fetches a token with `credentials`, or anonymously.
    ///
    /// # Errors
    ///
    /// Fails when the server cannot be asked, refuses, or sends no token.
    pub async fn fetch(&self, credentials: &Credentials) -> Result<Token, TokenError> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| self.http(source))?;
        if credentials.is_anonymous() {
            return self.ask(self.get(&client)).await;
        }
        match self.ask(self.post(&client, credentials)).await {
            Err(TokenError::Refused {
                status: StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED,
                ..
            }) => {
                let Credentials { username, secret } = credentials;
                self.ask(self.get(&client).basic_auth(username, Some(secret))).await
            }
            answer => answer,
        }
    }

    fn get(&self, client: &Client) -> RequestBuilder {
        let service = Some(("service", self.service.as_str())).filter(|(_, service)| !service.is_empty());
        let scopes = self.scopes.iter().map(|scope| ("scope", scope.as_str()));
        client.get(&self.realm).query(&service.into_iter().chain(scopes).collect::<Vec<_>>())
    }

    fn post(&self, client: &Client, credentials: &Credentials) -> RequestBuilder {
        let scope = self.scopes.join(" ");
        let mut form =
            vec![("service", self.service.as_str()), ("client_id", "larder"), ("scope", scope.as_str())];
        if credentials.username.is_empty() {
            form.extend([("grant_type", "refresh_token"), ("refresh_token", credentials.secret.as_str())]);
        } else {
            form.extend([
                ("grant_type", "password"),
                ("username", credentials.username.as_str()),
                ("password", credentials.secret.as_str()),
            ]);
        }
        client.post(&self.realm).form(&form)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Token, TokenError> {
        let response = request.send().await.map_err(|source| self.http(source))?;
        let status = response.status();
        if !status.is_success() {
            return Err(TokenError::Refused { realm: self.realm.clone(), status });
        }
        let answer: Answer = response.json().await.map_err(|source| self.http(source))?;
        let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if token.is_empty() {
            return Err(TokenError::Empty(self.realm.clone()));
        }
        let expires_in = if answer.expires_in > 0 { answer.expires_in } else { DEFAULT_LIFETIME };
        Ok(Token { token, expires_in, issued_at: answer.issued_at })
    }

    fn http(&self, source: reqwest::Error) -> TokenError {
        TokenError::Http { realm: self.realm.clone(), source: source.without_url() }
    }
}
