//! Fetches registry tokens, so that passwords need not be sent to the registry.
//!
//! There are two protocols (distribution's "Token Authentication" and "`OAuth2` Token Authentication"): a form POST
//! with credentials, and, for registries that do not support it or for anonymous access, a GET with basic
//! authentication.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;

use super::Credentials;
use crate::tls::install_provider;

const TIMEOUT: Duration = Duration::from_secs(30);
/// The lifetime of a token that does not state one, in seconds (distribution's specification).
const DEFAULT_LIFETIME: i64 = 60;

/// The parameters of a registry's RFC 6750 challenge.
#[derive(Debug, Clone)]
pub(crate) struct TokenRequest {
    /// The token server's http(s) address.
    pub(crate) realm: String,
    pub(crate) service: String,
    /// For example `repository:NAME:pull,push`.
    pub(crate) scopes: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) value: String,
    pub(crate) expires_in: i64,
    /// The time of issue, if the server states it.
    pub(crate) issued_at: Option<Timestamp>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("cannot request a token from {realm}")]
    Http {
        realm: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("{realm} answered {status} to the request for a token")]
    Refused { realm: String, status: StatusCode },
    #[error("{0} answered without a token")]
    MissingToken(String),
}

#[derive(Deserialize)]
struct TokenResponse {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: i64,
    issued_at: Option<Timestamp>,
}

impl TokenRequest {
    pub(crate) async fn fetch(&self, credentials: &Credentials) -> Result<Token, TokenError> {
        install_provider();
        let client = Client::builder()
            .timeout(TIMEOUT)
            .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| self.http_error(source))?;
        self.fetch_with(&client, credentials).await
    }

    pub(super) async fn fetch_with(
        &self,
        client: &Client,
        credentials: &Credentials,
    ) -> Result<Token, TokenError> {
        if credentials.is_anonymous() {
            return self.send(self.get(client)).await;
        }
        match self.send(self.post(client, credentials)).await {
            Err(TokenError::Refused {
                status: StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED,
                ..
            }) => {
                let Credentials { username, secret } = credentials;
                self.send(self.get(client).basic_auth(username, Some(secret))).await
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

    async fn send(&self, request: RequestBuilder) -> Result<Token, TokenError> {
        let response = request.send().await.map_err(|source| self.http_error(source))?;
        let status = response.status();
        if !status.is_success() {
            return Err(TokenError::Refused { realm: self.realm.clone(), status });
        }
        let answer: TokenResponse = response.json().await.map_err(|source| self.http_error(source))?;
        let value = if answer.token.is_empty() { answer.access_token } else { answer.token };
        if value.is_empty() {
            return Err(TokenError::MissingToken(self.realm.clone()));
        }
        let expires_in = if answer.expires_in > 0 { answer.expires_in } else { DEFAULT_LIFETIME };
        Ok(Token { value, expires_in, issued_at: answer.issued_at })
    }

    fn http_error(&self, source: reqwest::Error) -> TokenError {
        TokenError::Http { realm: self.realm.clone(), source: source.without_url() }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    /// Starts a server that answers requests in turn with these status lines and bodies. Returns its address and a task
    /// that returns the requests.
    async fn server(
        answers: &'static [(&'static str, &'static str)],
    ) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let realm = format!("http://{}/token", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut requests = Vec::new();
            for (status, body) in answers {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                    head.push_str(&line);
                }
                let mut form = vec![0; length];
                stream.read_exact(&mut form).await.unwrap();
                requests.push(head + &String::from_utf8(form).unwrap());
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            requests
        });
        (realm, serving)
    }

    fn request(realm: String) -> TokenRequest {
        TokenRequest {
            realm,
            service: "reg.example".to_owned(),
            scopes: vec!["repository:app:pull".to_owned()],
        }
    }

    fn login() -> Credentials {
        Credentials { username: "ci".to_owned(), secret: "s3cret".to_owned() }
    }

    #[tokio::test]
    async fn credentials_are_posted_or_sent_with_basic_authentication_if_posting_is_unsupported() {
        let (realm, requests) =
            server(&[("405 Method Not Allowed", ""), ("200 OK", r#"{"token":"t","expires_in":300}"#)]).await;
        let token = request(realm).fetch(&login()).await.unwrap();
        assert_eq!((token.value.as_str(), token.expires_in), ("t", 300));
        let requests = requests.await.unwrap();
        assert!(
            requests[0].starts_with("POST /token") && requests[0].contains("grant_type=password"),
            "{requests:?}"
        );
        assert!(
            requests[1].starts_with("GET /token?service=reg.example&scope=repository%3Aapp%3Apull"),
            "{requests:?}"
        );
        assert!(requests[1].contains("Basic Y2k6czNjcmV0"), "{requests:?}");
    }

    #[tokio::test]
    async fn without_credentials_a_token_is_requested_anonymously() {
        let (realm, requests) = server(&[("200 OK", r#"{"access_token":"t"}"#)]).await;
        let token = request(realm).fetch(&Credentials::default()).await.unwrap();
        assert_eq!((token.value.as_str(), token.expires_in), ("t", DEFAULT_LIFETIME));
        assert!(!requests.await.unwrap()[0].to_lowercase().contains("authorization"));
    }

    #[tokio::test]
    async fn an_error_names_the_token_server_and_never_the_password() {
        let (realm, _requests) = server(&[("401 Unauthorized", ""), ("401 Unauthorized", "")]).await;
        let error = request(realm.clone()).fetch(&login()).await.map(|_| ()).unwrap_err().to_string();
        assert_eq!(error, format!("{realm} answered 401 Unauthorized to the request for a token"));
    }
}
