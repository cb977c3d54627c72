//! The HTTP/1.1 requests to a Docker engine: the ping and the upgrade.

use std::error::Error as _;
use std::io;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::endpoint::Stream;

/// Maximum size of an error response in bytes.
const MAX_ERROR_BODY: usize = 4096;

#[derive(Debug, Clone)]
pub(super) struct Ping {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The error message; empty for a successful status.
    pub(super) message: String,
}

/// The failure of a ping: the response was missing or not valid HTTP/1.
#[derive(Debug, thiserror::Error)]
pub(super) enum PingError {
    #[error("it does not respond with HTTP")]
    NotHttp(#[source] hyper::Error),
    #[error("it closes the connection without a response")]
    Closed(#[source] hyper::Error),
}

impl PingError {
    fn new(error: hyper::Error) -> Self {
        let cause = innermost(&error);
        let ended = cause.is_incomplete_message() || cause.is_canceled() || cause.is_closed();
        if ended || stream_error(&error).is_some() { Self::Closed(error) } else { Self::NotHttp(error) }
    }

    /// Returns the I/O error of the stream, if that is the reason.
    pub(super) fn stream_error(&self) -> Option<io::Error> {
        let Self::Closed(error) = self else { return None };
        stream_error(error).map(|fault| io::Error::new(fault.kind(), fault.to_string()))
    }

    /// Returns the alert with which the peer closed TLS, if it did.
    pub(super) fn tls_alert(&self) -> Option<io::Error> {
        let Self::Closed(error) = self else { return None };
        let alert = stream_error(error)?.get_ref()?.downcast_ref::<rustls::Error>()?;
        matches!(alert, rustls::Error::AlertReceived(_)).then(|| io::Error::other(alert.clone()))
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("the engine answered {status} to POST {path}{}", after_colon(.message))]
    Refused { path: &'static str, status: StatusCode, message: String },
    #[error("the engine closed the connection")]
    Http(#[from] hyper::Error),
}

fn after_colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// Returns the stream's own error below hyper's.
fn stream_error(error: &hyper::Error) -> Option<&io::Error> {
    innermost(error).source()?.downcast_ref()
}

/// Returns the innermost hyper error: hyper reports a request as cancelled if its connection failed.
fn innermost(mut error: &hyper::Error) -> &hyper::Error {
    while let Some(cause) = error.source().and_then(|source| source.downcast_ref()) {
        error = cause;
    }
    error
}

pub(super) async fn ping(stream: Box<dyn Stream>, headers: HeaderMap) -> Result<Ping, PingError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(PingError::new)?;
    let connection = tokio::spawn(connection);
    let response = match sender.send_request(request(Method::GET, "/_ping", headers)).await {
        Ok(response) => response,
        Err(error) => {
            drop(sender);
            // A cancelled request does not contain the reason; the connection's result does.
            let cause = if error.is_canceled() { connection.await.ok().and_then(Result::err) } else { None };
            return Err(PingError::new(cause.unwrap_or(error)));
        }
    };
    let (status, headers) = (response.status(), response.headers().clone());
    let message = if status.is_success() {
        String::new()
    } else {
        // If the body cannot be read, the status is reported without a message.
        let body = Limited::new(response.into_body(), MAX_ERROR_BODY).collect().await.unwrap_or_default();
        engine_message(&body.to_bytes())
    };
    connection.abort();
    Ok(Ping { status, headers, message })
}

/// Upgrades `stream` to a plain HTTP/2 stream by `POST path` with `Upgrade: h2c`.
pub(super) async fn upgrade(
    stream: Box<dyn Stream>,
    path: &'static str,
    mut headers: HeaderMap,
) -> Result<Box<dyn Stream>, UpgradeError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("h2c"));
    let response = sender.send_request(request(Method::POST, path, headers)).await?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = response.into_body().collect().await?.to_bytes();
        let message = engine_message(&body);
        return Err(UpgradeError::Refused { path, status, message });
    }
    let upgraded = hyper::upgrade::on(response).await?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

fn request(method: Method, path: &'static str, headers: HeaderMap) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    *request.headers_mut() = headers;
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("docker"));
    request
}

/// Returns the `message` of a JSON error of Docker, or else the first line of the body.
fn engine_message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| text.lines().next().unwrap_or_default().trim().to_owned())
}
