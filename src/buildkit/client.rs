//! Detects the protocol of an engine and opens the control connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::{
    BytesMessage, DiskUsageRequest, ListWorkersRequest, UsageRecord,
};
use http::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OnceCell, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Uri};

use super::error::ConnectError;
use super::http1::{self, Ping, PingError, UpgradeError};
use super::product::{Ability, ApiVersion, EngineProduct};
use crate::endpoint::{DialError, Endpoint, Protocol, Stream, TlsError};
use crate::platform::Platform;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// BuildKit's own limit on a message in bytes, which responses may reach.
pub(super) const MAX_MESSAGE: usize = 16 << 20;
/// Flow-control window of a single stream, in bytes; streams stall below 1 MiB.
pub(super) const STREAM_WINDOW: u32 = 4 << 20;
/// Flow-control window of a connection, the largest that HTTP/2 permits. h2 closes a connection whose queued small
/// frames, each counted as 256 bytes, exceed half of it (`proto/streams/counts.rs`); with a smaller window the requests
/// and ends of many files would. The streams' own windows bound the queue.
pub(super) const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Size of the coalesced writes in a session carried by `Control.Session`, in bytes.
const SESSION_WRITE: usize = 64 << 10;

/// How gRPC is carried, see the documentation of [`super`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionTransport {
    /// HTTP/1 requests that are upgraded to HTTP/2.
    Upgrade,
    Direct,
}

/// A connection to one BuildKit instance.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    product: EngineProduct,
    transport: SessionTransport,
    pub(super) channel: Channel,
    pub(super) control: ControlClient<Channel>,
    worker: Arc<OnceCell<Worker>>,
}

/// The BuildKit component that runs the steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Worker {
    /// The id of the worker. In buildkitd and in Docker 26 or later it identifies the worker's data; in older Docker
    /// engines it is always `moby`.
    pub(crate) id: String,
    pub(crate) os: String,
    pub(crate) architecture: String,
    /// For example `v7`; usually empty.
    pub(crate) variant: String,
}

impl Worker {
    pub(crate) fn platform(&self) -> String {
        let Self { os, architecture, variant, .. } = self;
        let text = format!("{os}/{architecture}/{variant}");
        let text = text.trim_end_matches('/');
        text.parse().map_or_else(|_| text.to_owned(), |platform: Platform| platform.to_string())
    }
}

impl Client {
    /// Connects to the BuildKit behind `endpoint`, over whichever transport it supports.
    ///
    /// # Errors
    ///
    /// Fails if no server responds, if the server is not an engine, or if the engine has no BuildKit.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let connecting = async {
            let mut headers = HeaderMap::new();
            endpoint.add_headers(&mut headers);
            match http1::ping(endpoint.dial(Protocol::Http1).await?, headers).await {
                Ok(ping) => Self::connect_docker(endpoint, &ping).await,
                Err(error) => Self::connect_without_http1(endpoint, error).await,
            }
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| ConnectError::TimedOut(endpoint.clone(), CONNECT_TIMEOUT))?
    }

    /// Returns the product behind the endpoint.
    pub fn product(&self) -> &EngineProduct {
        &self.product
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the size of the build cache in bytes, including mounts and layers shared with images.
    ///
    /// Avoid this while builds run: to measure a cache mount, BuildKit locks it for a moment, and a RUN that starts
    /// just then gets an empty one. (`docker system df` has the same effect.)
    pub(crate) async fn build_cache_bytes(&self) -> Result<u64, ConnectError> {
        let records = self.usage(&[]).await?;
        Ok(records.iter().map(|record| u64::try_from(record.size).unwrap_or_default()).sum())
    }

    /// Returns `true` if the build cache has layers. Cache mounts are not queried.
    pub(crate) async fn has_layers(&self) -> Result<bool, ConnectError> {
        Ok(!self.usage(&["regular"]).await?.is_empty())
    }

    /// Returns `true` if the build cache is known to be older than `moment`. Returns `false` for a new builder, even if
    /// it has the same identity as an older one, and for a builder whose cache was cleared.
    pub(crate) async fn has_cache_since(&self, moment: Timestamp) -> Result<bool, ConnectError> {
        // Mounts are not queried, see `build_cache_bytes`.
        let kinds = ["regular", "internal", "frontend", "source.local", "source.git.checkout"];
        Ok(self.usage(&kinds).await?.iter().any(|record| shows_use_before(record, moment)))
    }

    /// Returns the build cache records of these kinds; of all kinds if `kinds` is empty.
    async fn usage(&self, kinds: &[&str]) -> Result<Vec<UsageRecord>, ConnectError> {
        let filter = kinds.iter().map(|kind| format!("type=={kind}")).collect();
        let request = DiskUsageRequest { filter, ..DiskUsageRequest::default() };
        let usage = self.control.clone().disk_usage(request).await;
        Ok(usage.map_err(|status| self.broken(status.message()))?.into_inner().record)
    }

    async fn connect_docker(endpoint: &Endpoint, ping: &Ping) -> Result<Self, ConnectError> {
        let header = |name: &str| ping.headers.get(name).and_then(|value| value.to_str().ok());
        if ping.message.contains("HTTPS server") {
            return Err(ConnectError::TlsRequired(endpoint.clone()));
        }
        let Some(api) = header("api-version").and_then(ApiVersion::parse) else {
            let product = header("server").map(|server| format!(" ({server})")).unwrap_or_default();
            let reason = format!("it responds to GET /_ping with {}{product}", ping.status);
            return Err(ConnectError::NotAnEngine { endpoint: endpoint.clone(), reason });
        };
        if !ping.status.is_success() {
            return Err(ConnectError::Unhealthy { endpoint: endpoint.clone(), status: ping.status });
        }
        let server = header("server").unwrap_or("Docker").to_owned();
        let product = EngineProduct::Docker { api, server };
        if product.supports(Ability::DirectTransport) {
            return Self::connect_direct(endpoint, product).await;
        }
        let stream = upgrade(endpoint, &product, "/grpc", HeaderMap::new()).await?;
        let channel = channel(endpoint, stream).await?;
        Ok(Self::new(endpoint, product, SessionTransport::Upgrade, channel))
    }

    /// Handles a listener that does not speak HTTP/1: buildkitd, or no engine at all.
    async fn connect_without_http1(endpoint: &Endpoint, error: PingError) -> Result<Self, ConnectError> {
        if let Some(alert) = error.tls_alert() {
            return Err(DialError::Tls(endpoint.clone(), TlsError::handshake(alert)).into());
        }
        let reason = error.to_string();
        if let Endpoint::Ssh { .. } = endpoint {
            // ssh can only reach a Docker engine.
            let source = error.stream_error().map_or_else(|| error.into(), Into::into);
            return Err(ConnectError::Broken(endpoint.clone(), source));
        }
        if let Ok(mut client) = Self::connect_direct(endpoint, EngineProduct::Buildkitd).await
            && client.control.list_workers(ListWorkersRequest::default()).await.is_ok()
        {
            return Ok(client);
        }
        Err(ConnectError::NotAnEngine { endpoint: endpoint.clone(), reason })
    }

    /// Returns `true` if the engine is reached over a local socket. The socket may still be forwarded to a remote
    /// engine.
    pub(crate) fn uses_local_socket(&self) -> bool {
        matches!(self.endpoint, Endpoint::Unix(_))
    }

    pub(crate) async fn is_alive(&self) -> bool {
        let control = self.control.clone();
        let query = async move { { control }.list_workers(ListWorkersRequest::default()).await.is_ok() };
        tokio::time::timeout(CONNECT_TIMEOUT, query).await.unwrap_or(false)
    }

    /// Returns the worker that runs definitions without a platform.
    pub(crate) async fn worker(&self) -> Result<&Worker, ConnectError> {
        self.worker.get_or_try_init(|| self.query_worker()).await
    }

    async fn query_worker(&self) -> Result<Worker, ConnectError> {
        let answer = self.control.clone().list_workers(ListWorkersRequest::default()).await;
        let workers = answer.map_err(|status| self.broken(status.message()))?.into_inner().record;
        let worker = workers.into_iter().find_map(|worker| {
            // BuildKit uses the first platform of the first worker.
            let platform = worker.platforms.into_iter().next()?;
            Some(Worker {
                id: worker.id,
                os: platform.os,
                architecture: platform.architecture,
                variant: platform.variant,
            })
        });
        worker.ok_or_else(|| self.broken("the builder has no worker"))
    }

    async fn connect_direct(endpoint: &Endpoint, product: EngineProduct) -> Result<Self, ConnectError> {
        let channel = channel(endpoint, endpoint.dial(Protocol::Http2).await?).await?;
        Ok(Self::new(endpoint, product, SessionTransport::Direct, channel))
    }

    fn new(
        endpoint: &Endpoint,
        product: EngineProduct,
        transport: SessionTransport,
        channel: Channel,
    ) -> Self {
        let control = ControlClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let worker = Arc::new(OnceCell::new());
        Self { endpoint: endpoint.clone(), product, transport, channel, control, worker }
    }

    pub(super) fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectError {
        ConnectError::Broken(self.endpoint.clone(), source.into())
    }

    /// Opens the stream on which BuildKit calls the services that `headers` announce.
    pub(super) async fn open_session(&self, headers: HeaderMap) -> Result<Box<dyn Stream>, ConnectError> {
        match self.transport {
            SessionTransport::Upgrade => upgrade(&self.endpoint, &self.product, "/session", headers).await,
            SessionTransport::Direct => self.open_session_stream(headers).await,
        }
    }

    async fn open_session_stream(&self, headers: HeaderMap) -> Result<Box<dyn Stream>, ConnectError> {
        let (ours, theirs) = tokio::io::duplex(STREAM_WINDOW as usize);
        let (mut from_server, mut to_engine) = tokio::io::split(theirs);
        let (outgoing, outgoing_stream) = mpsc::channel(16);
        let mut request = tonic::Request::new(ReceiverStream::new(outgoing_stream));
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        let response = self.control.clone().session(request).await;
        let mut incoming = response.map_err(|status| self.broken(status.message()))?.into_inner();
        tokio::spawn(async move {
            let mut buffer = vec![0; SESSION_WRITE];
            while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                if outgoing.send(BytesMessage { data: buffer[..read].to_vec() }).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                if to_engine.write_all(&message.data).await.is_err() {
                    return;
                }
            }
            // If the shutdown fails, the session has already ended.
            drop(to_engine.shutdown().await);
        });
        Ok(Box::new(ours))
    }
}

#[cfg(test)]
impl Client {
    /// Returns a client of an engine whose builder has the platform `linux/amd64` and does not respond.
    pub(crate) fn without_builder(endpoint: &Endpoint, product: EngineProduct) -> Self {
        let connector = tower::service_fn(|_: Uri| async {
            Err::<TokioIo<Box<dyn Stream>>, _>(std::io::Error::other("there is no builder"))
        });
        let channel = tonic::transport::Endpoint::from_static("http://buildkit");
        let channel = channel.connect_with_connector_lazy(connector);
        let [id, os, architecture, variant] = ["moby", "linux", "amd64", ""].map(str::to_owned);
        let worker = OnceCell::new_with(Some(Worker { id, os, architecture, variant }));
        Self { worker: Arc::new(worker), ..Self::new(endpoint, product, SessionTransport::Upgrade, channel) }
    }
}

async fn upgrade(
    endpoint: &Endpoint,
    product: &EngineProduct,
    path: &'static str,
    mut headers: HeaderMap,
) -> Result<Box<dyn Stream>, ConnectError> {
    endpoint.add_headers(&mut headers);
    let stream = endpoint.dial(Protocol::Http1).await?;
    http1::upgrade(stream, path, headers).await.map_err(|error| match error {
        UpgradeError::Refused { status: StatusCode::NOT_FOUND, .. } => ConnectError::NoBuildKit {
            endpoint: endpoint.clone(),
            product: product.to_string(),
            reason: error.to_string(),
        },
        error => ConnectError::Broken(endpoint.clone(), error.into()),
    })
}

/// Creates a gRPC channel over this one stream; the channel ends with the stream.
async fn channel(endpoint: &Endpoint, stream: Box<dyn Stream>) -> Result<Channel, ConnectError> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.lock().map_or(None, |mut stream| stream.take());
        async move { stream.ok_or_else(|| std::io::Error::other("the connection to the engine has ended")) }
    });
    tonic::transport::Endpoint::from_static("http://buildkit")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(connector)
        .await
        .map_err(|error| ConnectError::Broken(endpoint.clone(), error.into()))
}

/// Returns `true` if a record shows that its builder was in use at `moment` or before. A layer that was imported or
/// pulled has the creation time of its origin, but its last use is always local.
fn shows_use_before(record: &UsageRecord, moment: Timestamp) -> bool {
    let created = record.created_at.as_ref().filter(|_| record.record_type != "regular");
    let mut times = created.into_iter().chain(&record.last_used_at);
    times.any(|time| time.seconds > 0 && time.seconds <= moment.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_platform_is_normalised() {
        for (architecture, variant, platform) in [
            ("amd64", "", "linux/amd64"),
            ("arm64", "v8", "linux/arm64"),
            ("arm", "v6", "linux/arm/v6"),
            ("arm", "", "linux/arm/v7"),
        ] {
            let worker = Worker {
                id: "moby".to_owned(),
                os: "linux".to_owned(),
                architecture: architecture.to_owned(),
                variant: variant.to_owned(),
            };
            assert_eq!(worker.platform(), platform);
        }
    }

    #[test]
    fn the_age_of_a_builder_is_derived_from_its_cache_records() {
        use bollard_buildkit_proto::google::protobuf;
        let time = |seconds: i64| (seconds > 0).then_some(protobuf::Timestamp { seconds, nanos: 0 });
        let moment = Timestamp::from_second(100).unwrap();
        for (record_type, created, used, expected) in [
            ("source.local", 50, 0, true),
            ("source.local", 50, 150, true),
            ("source.local", 150, 150, false),
            ("regular", 50, 0, false),
            ("regular", 50, 150, false),
            ("regular", 50, 60, true),
            ("regular", 0, 0, false),
        ] {
            let record = UsageRecord {
                record_type: record_type.to_owned(),
                created_at: time(created),
                last_used_at: time(used),
                ..UsageRecord::default()
            };
            assert_eq!(shows_use_before(&record, moment), expected, "{record_type} {created} {used}");
        }
    }
}
