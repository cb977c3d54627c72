//! The HTTP/1.1 part of talking to a Docker engine: the ping and the upgrade.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::endpoint::Stream;

/// What `GET /_ping` answered.
#[derive(Debug, Clone)]
pub(super) struct Ping {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

/// An upgrade was refused or broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpgradeError {
    #[error("the engine answered {status} to POST {path}{}", detail(.message))]
    Refused { path: &'static str, status: StatusCode, message: String },
    #[error("the engine closed the connection")]
    Http(#[from] hyper::Error),
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

pub(super) async fn ping(stream: Box<dyn Stream>) -> Result<Ping, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = request(Method::GET, "/_ping", HeaderMap::new());
    let response = sender.send_request(request).await;
    connection.abort();
    let response = response?;
    Ok(Ping { status: response.status(), headers: response.headers().clone() })
}

/// Turns `stream` into a plain HTTP/2 stream by `POST path` with `Upgrade: h2c`.
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

/// The `message` of Docker's JSON errors, else the first line of the body.
fn engine_message(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| text.lines().next().unwrap_or_default().trim().to_owned())
}
