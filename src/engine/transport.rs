//! Connects bollard to the streams that `endpoint` opens.

use bollard::errors::Error as ApiError;
use bollard::{BollardRequest, ClientVersion, Docker};
use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::endpoint::{DialError, Endpoint, Protocol, Stream};

/// Placeholder for the engine's host in requests; the real address is part of the connector.
const HOST: &str = "http://docker";

pub(super) fn docker(endpoint: &Endpoint, timeout: u64, version: &ClientVersion) -> Result<Docker, ApiError> {
    let endpoint = endpoint.clone();
    let request_endpoint = endpoint.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let endpoint = endpoint.clone();
        Box::pin(async move { Ok::<_, DialError>(TokioIo::new(endpoint.dial(Protocol::Http1).await?)) })
    });
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let transport = move |mut request: BollardRequest| {
        let client = client.clone();
        request_endpoint.add_headers(request.headers_mut());
        async move { client.request(request).await.map_err(ApiError::from) }
    };
    Docker::connect_with_custom_transport(transport, Some(HOST), timeout, version)
}

impl Connection for Box<dyn Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
