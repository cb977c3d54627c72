//! Connects bollard to the streams that `endpoint` opens.

use std::pin::Pin;
use std::task::{Context, Poll};

use bollard::errors::Error as ApiError;
use bollard::{BollardRequest, ClientVersion, Docker};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
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
        Box::pin(async move {
            let stream = endpoint.dial(Protocol::Http1).await?;
            Ok::<_, DialError>(EngineStream(TokioIo::new(stream)))
        })
    });
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let transport = move |mut request: BollardRequest| {
        let client = client.clone();
        request_endpoint.add_headers(request.headers_mut());
        async move { client.request(request).await.map_err(ApiError::from) }
    };
    Docker::connect_with_custom_transport(transport, Some(HOST), timeout, version)
}

/// A stream as hyper's pooling client expects it.
struct EngineStream(TokioIo<Box<dyn Stream>>);

impl Connection for EngineStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for EngineStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for EngineStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
