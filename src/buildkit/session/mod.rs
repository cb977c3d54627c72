//! The session: gRPC services that the client provides to BuildKit during a solve.
//!
//! BuildKit calls only the methods that were announced when the session was opened, and considers the session dead if
//! the health service does not respond.

mod auth;
mod coalesced;
mod directory_output;
mod file_send;
mod file_sync;
mod header_text;
mod health;
mod secrets;
mod ssh;
mod ssh_keys;
mod step_stream;
mod upload;

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;

use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::service::{Routes, RoutesBuilder};
use tonic::{Response, Status};

use self::coalesced::Coalesced;
use super::Client;
use super::client::{CONNECTION_WINDOW, STREAM_WINDOW};
use super::error::ConnectError;
use crate::registry::Login;

pub(crate) use file_send::{FileTarget, OutputFile};
pub(crate) use file_sync::SharedDirectory;
pub(crate) use secrets::SecretSource;
pub(crate) use ssh::SshAgent;
pub(crate) use step_stream::StepStream;
pub(crate) use upload::Upload;

type Reply<T> = Result<Response<T>, Status>;
type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The resources that a build may request from the client.
#[derive(Default)]
pub(crate) struct Attachments {
    /// Directories by the name that the build uses: `context`, `dockerfile`, named contexts.
    pub(crate) directories: BTreeMap<String, SharedDirectory>,
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    /// SSH agents, or streams to this process, by id; an unnamed mount uses `default`.
    pub(crate) ssh: BTreeMap<String, SshAgent>,
    pub(crate) login: Option<Login>,
    pub(crate) target: Option<FileTarget>,
    /// Files served at `http://buildkit-session/<name>`, by name.
    pub(crate) uploads: BTreeMap<String, Upload>,
    /// A hint that lets BuildKit reuse files sent by an earlier session of the same client.
    pub(crate) shared_key: String,
}

/// An open session. Dropping it closes the connection.
pub(super) struct SolveSession {
    id: String,
    serving: JoinHandle<()>,
}

impl SolveSession {
    pub(super) async fn open(client: &Client, attachments: Attachments) -> Result<Self, ConnectError> {
        let broken = |error: io::Error| client.broken(error);
        let id = new_id().map_err(broken)?;
        let shared_key = attachments.shared_key.clone();
        let (routes, methods) = services(attachments).map_err(broken)?;
        let stream = client.open_session(headers(&id, &shared_key, &methods)).await?;
        let serving = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(TokioIo::new(Coalesced::new(stream)), TowerToHyperService::new(routes));
        let serving = tokio::spawn(async move {
            // The result is not needed: the solve reports a session that ended too early.
            drop(serving.await);
        });
        Ok(Self { id, serving })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn wait_closed(&mut self) {
        // A panic in a handler ends the connection like any other error.
        drop((&mut self.serving).await);
    }
}

impl Drop for SolveSession {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Returns a unique, unguessable id for a session, solve or step.
pub(crate) fn new_id() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    Ok(format!("{:032x}", u128::from_be_bytes(random)))
}

fn headers(id: &str, shared_key: &str, methods: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        // The values are ids, digests and method names in ASCII, never user input.
        let value = HeaderValue::from_str(value).expect("header values consist of ids and method names");
        headers.append(HeaderName::from_static(name), value);
    };
    put("x-docker-expose-session-uuid", id);
    put("x-docker-expose-session-name", "larder");
    put("x-docker-expose-session-sharedkey", shared_key);
    for method in methods {
        put("x-docker-expose-session-grpc-method", method);
    }
    headers
}

fn services(attachments: Attachments) -> io::Result<(Routes, Vec<&'static str>)> {
    let mut routes = RoutesBuilder::default();
    let mut methods = Vec::new();
    routes.add_service(health::service());
    methods.extend(health::METHODS);
    if !attachments.directories.is_empty() {
        routes.add_service(file_sync::service(attachments.directories));
        methods.extend(file_sync::METHODS);
    }
    if !attachments.secrets.is_empty() {
        routes.add_service(secrets::service(attachments.secrets));
        methods.extend(secrets::METHODS);
    }
    if !attachments.ssh.is_empty() {
        routes.add_service(ssh::service(attachments.ssh)?);
        methods.extend(ssh::METHODS);
    }
    if let Some(login) = attachments.login {
        routes.add_service(auth::service(login)?);
        methods.extend(auth::METHODS);
    }
    if !attachments.uploads.is_empty() {
        routes.add_service(upload::service(attachments.uploads));
        methods.extend(upload::METHODS);
    }
    if let Some(target) = attachments.target {
        match target {
            FileTarget::Directory(path) => routes.add_service(file_send::directory_service(path)),
            FileTarget::File(file) => routes.add_service(file_send::file_service(file)),
        };
        methods.extend(file_send::METHODS);
    }
    Ok((routes.routes(), methods))
}
