//! A proxy that offers the direct transport of newer engines in front of an older engine.
//!
//! ```text
//!  larder ── GET /_ping ────────────▶ answered by the proxy: API 1.53
//!         ── other HTTP/1 ──────────▶ real engine, newest API version
//!         ── h2c Control.Session ───▶ real engine's POST /session, BytesMessages ↔ bytes
//!         ── h2c any other method ──▶ real engine's POST /grpc
//! ```
//!
//! As [`Product::Buildkitd`] it accepts only HTTP/2 and closes every other connection.

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::moby::buildkit::v1::types::WorkerRecord;
use bollard_buildkit_proto::moby::buildkit::v1::{BytesMessage, ListWorkersResponse};
use bollard_buildkit_proto::pb::Platform;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;
type EngineSender = hyper::client::conn::http2::SendRequest<Incoming>;

/// The first bytes of an HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SESSION: &str = "/moby.buildkit.v1.Control/Session";
const WORKERS: &str = "/moby.buildkit.v1.Control/ListWorkers";
/// The flow control window in both directions, in bytes.
const WINDOW: u32 = 4 << 20;

/// The kind of engine that the server imitates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    /// Docker 29.2.
    Docker,
    Buildkitd,
}

/// A running server. It stops when the value is dropped.
pub(crate) struct DirectServer {
    host: String,
    state: Arc<State>,
    _runtime: Runtime,
    _directory: TempDir,
}

struct State {
    product: Product,
    engine: String,
    /// The architecture that `ListWorkers` reports instead of the engine's.
    architecture: Option<&'static str>,
    seen: Mutex<Vec<String>>,
}

impl DirectServer {
    /// Starts a server on a Unix socket that imitates `product` and forwards to the engine at `engine`.
    pub(crate) fn start(product: Product, engine: &str) -> Self {
        Self::start_as(product, engine, None)
    }

    /// Starts the same server, but its builder reports this architecture.
    pub(crate) fn with_architecture(product: Product, engine: &str, architecture: &'static str) -> Self {
        Self::start_as(product, engine, Some(architecture))
    }

    fn start_as(product: Product, engine: &str, architecture: Option<&'static str>) -> Self {
        let directory = TempDir::with_prefix("larder-direct-").expect("a directory");
        let path = directory.path().join("engine.sock");
        let runtime = Runtime::new().expect("a runtime");
        let state =
            Arc::new(State { product, engine: engine.to_owned(), architecture, seen: Mutex::default() });
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&path).expect("a socket")
        };
        let serving = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // The client reports a broken connection.
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { host: format!("unix://{}", path.display()), state, _runtime: runtime, _directory: directory }
    }

    /// Returns its address in the notation of `DOCKER_HOST`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the requests so far, as `GET /_ping` or `/moby.buildkit.v1.Control/Solve`. A connection to
    /// [`Product::Buildkitd`] that is not HTTP/2 is recorded as `HTTP/1`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.seen.lock().expect("no panic").clone()
    }
}

impl State {
    fn record(&self, what: impl Into<String>) {
        self.seen.lock().expect("no panic").push(what.into());
    }
}

async fn serve(stream: UnixStream, state: Arc<State>) -> Result<(), BoxError> {
    let (mut reader, writer) = stream.into_split();
    let mut start = Vec::new();
    while start.len() < PREFACE.len() && PREFACE.starts_with(&start) {
        let mut rest = (&mut reader).take((PREFACE.len() - start.len()) as u64);
        if rest.read_buf(&mut start).await? == 0 {
            return Ok(());
        }
    }
    let is_http2 = start == PREFACE;
    let stream = TokioIo::new(tokio::io::join(AsyncReadExt::chain(Cursor::new(start), reader), writer));
    if is_http2 {
        let upgraded = upgrade(&state.engine, "/grpc", HeaderMap::new()).await?;
        let (engine, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(upgraded)
            .await?;
        tokio::spawn(connection);
        let answer = service_fn(move |request| answer_grpc(Arc::clone(&state), engine.clone(), request));
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .serve_connection(stream, answer)
            .await?;
    } else if state.product == Product::Docker {
        let answer = service_fn(move |request| answer_http1(Arc::clone(&state), request));
        hyper::server::conn::http1::Builder::new().serve_connection(stream, answer).await?;
    } else {
        state.record("HTTP/1");
    }
    Ok(())
}

async fn answer_http1(state: Arc<State>, mut request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    state.record(format!("{} {path}", request.method()));
    if path == "/_ping" {
        let response =
            Response::builder().header("api-version", "1.53").header("server", "Docker/29.2.0 (linux)");
        return Ok(response.body(full("OK"))?);
    }
    if path == "/grpc" || path == "/session" {
        return Ok(Response::builder().status(StatusCode::NOT_FOUND).body(full("gone"))?);
    }
    // The real engine does not support API 1.53.
    let unversioned = match path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| &rest[at..])) {
        Some(rest) => rest.to_owned(),
        None => path,
    };
    *request.uri_mut() = unversioned.parse()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(dial(&state.engine).await?)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

async fn answer_grpc(
    state: Arc<State>,
    mut engine: EngineSender,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, BoxError> {
    let path = request.uri().path().to_owned();
    state.record(path.as_str());
    if path == SESSION {
        return bridge(&state, request).await;
    }
    if let (WORKERS, Some(architecture)) = (path.as_str(), state.architecture) {
        return workers(architecture);
    }
    *request.uri_mut() = Uri::try_from(format!("http://engine{path}"))?;
    Ok(engine.send_request(request).await?.map(|body| body.map_err(BoxError::from).boxed_unsync()))
}

/// Returns the response to `Control.ListWorkers`, with one worker of this architecture.
fn workers(architecture: &str) -> Result<Response<Body>, BoxError> {
    let platform =
        Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), ..Platform::default() };
    let worker = WorkerRecord { platforms: vec![platform], ..WorkerRecord::default() };
    let frame = grpc_frame(&ListWorkersResponse { record: vec![worker] });
    let frames = [Ok(Frame::data(frame)), Ok(Frame::trailers(success()))];
    let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
    Ok(Response::builder().header(header::CONTENT_TYPE, "application/grpc").body(body)?)
}

/// Forwards a `Control.Session` over a connection that is upgraded by the engine's `POST /session`.
async fn bridge(state: &State, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let (parts, mut body) = request.into_parts();
    let mut headers = HeaderMap::new();
    for (name, value) in &parts.headers {
        if name.as_str().starts_with("x-docker-expose-session-") {
            headers.append(name, value.clone());
        }
    }
    let stream = upgrade(&state.engine, "/session", headers).await?;
    let (mut from_engine, mut to_engine) = tokio::io::split(TokioIo::new(stream));
    tokio::spawn(async move {
        let mut buffer = BytesMut::new();
        while let Some(Ok(frame)) = body.frame().await {
            buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
            while let Some(message) = next_message(&mut buffer) {
                if to_engine.write_all(&message.data).await.is_err() {
                    return;
                }
            }
        }
        drop(to_engine.shutdown().await);
    });
    let (outgoing, frames) = mpsc::channel::<Result<Frame<Bytes>, BoxError>>(16);
    tokio::spawn(async move {
        let mut buffer = vec![0; 32 << 10];
        while let Ok(read @ 1..) = from_engine.read(&mut buffer).await {
            if outgoing
                .send(Ok(Frame::data(grpc_frame(&BytesMessage { data: buffer[..read].to_vec() }))))
                .await
                .is_err()
            {
                return;
            }
        }
        drop(outgoing.send(Ok(Frame::trailers(success()))).await);
    });
    let body = StreamBody::new(ReceiverStream::new(frames)).boxed_unsync();
    Ok(Response::builder().header(header::CONTENT_TYPE, "application/grpc").body(body)?)
}

/// Removes a complete gRPC message from `buffer`: one byte of flags, four bytes of length, the message.
fn next_message(buffer: &mut BytesMut) -> Option<BytesMessage> {
    let length = u32::from_be_bytes(buffer.get(1..5)?.try_into().ok()?) as usize;
    if buffer.len() < 5 + length {
        return None;
    }
    buffer.advance(5);
    Some(BytesMessage::decode(buffer.split_to(length)).expect("a BytesMessage"))
}

fn success() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

fn grpc_frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("a small message"));
    message.encode(&mut frame).expect("a growing buffer");
    frame.freeze()
}

async fn upgrade(engine: &str, path: &'static str, mut headers: HeaderMap) -> Result<Upgraded, BoxError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(dial(engine).await?)).await?;
    tokio::spawn(connection.with_upgrades());
    headers.insert(header::HOST, HeaderValue::from_static("engine"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    *request.headers_mut() = headers;
    let response = sender.send_request(request).await?;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS, "{path}");
    Ok(hyper::upgrade::on(response).await?)
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn dial(host: &str) -> io::Result<Box<dyn Duplex>> {
    match host.split_once("://") {
        Some(("unix", path)) => Ok(Box::new(UnixStream::connect(path).await?)),
        Some(("tcp", address)) => Ok(Box::new(TcpStream::connect(address).await?)),
        _ => panic!("{host} is not an address that the server can dial"),
    }
}

fn full(text: &'static str) -> Body {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(|never: Infallible| match never {}).boxed_unsync()
}
