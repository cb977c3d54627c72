//! `moby.sshforward.v1.SSH`: an SSH agent for steps with `RUN --mount=type=ssh`.
//!
//! Bytes between the step and the agent's socket are forwarded unchanged. An id need not refer to an agent: it can also
//! give a step a stream to this process.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::{Ssh, SshServer};
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use super::header_text::text;
use super::ssh_keys::KeyAgent;
use super::step_stream::{self, StepStream};
use super::{Reply, ReplyStream};

pub(super) const METHODS: [&str; 2] =
    ["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"];

/// The id that a mount without `id=` uses.
const DEFAULT_ID: &str = "default";

#[derive(Debug, Clone)]
pub(crate) enum SshAgent {
    Socket(PathBuf),
    /// An agent of the session that holds these private keys.
    Keys(Vec<PathBuf>),
    /// A stream to this process: each connection is sent here, and refused if there is no receiver.
    Streams(mpsc::Sender<StepStream>),
}

pub(super) fn service(agents: BTreeMap<String, SshAgent>) -> io::Result<SshServer<Agents>> {
    let serve = |(id, agent)| {
        let agent = match agent {
            SshAgent::Socket(socket) => Agent::Socket(socket),
            SshAgent::Keys(keys) => Agent::Keys(KeyAgent::start(&keys)?),
            SshAgent::Streams(streams) => Agent::Streams(streams),
        };
        Ok((id, agent))
    };
    Ok(SshServer::new(Agents(agents.into_iter().map(serve).collect::<io::Result<_>>()?)))
}

/// The running agents by id; they end with the session.
pub(super) struct Agents(BTreeMap<String, Agent>);

enum Agent {
    Socket(PathBuf),
    Keys(KeyAgent),
    Streams(mpsc::Sender<StepStream>),
}

impl Agents {
    fn agent(&self, id: &str) -> Result<&Agent, Status> {
        let id = if id.is_empty() { DEFAULT_ID } else { id };
        let unknown = || Status::not_found(format!("no ssh agent `{id}` was given to this build"));
        self.0.get(id).ok_or_else(unknown)
    }
}

#[tonic::async_trait]
impl Ssh for Agents {
    async fn check_agent(&self, request: Request<CheckAgentRequest>) -> Reply<CheckAgentResponse> {
        self.agent(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = ReplyStream<BytesMessage>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Reply<Self::ForwardAgentStream> {
        let id = text(request.metadata(), "buildkit.ssh.id")?;
        let socket = match self.agent(&id)? {
            Agent::Socket(socket) => socket.clone(),
            Agent::Keys(keys) => keys.socket(),
            Agent::Streams(streams) => {
                return Ok(Response::new(Box::pin(step_stream::connect(streams, request.into_inner())?)));
            }
        };
        let stream = UnixStream::connect(&socket)
            .await
            .map_err(|error| Status::unavailable(format!("ssh agent {}: {error}", socket.display())))?;
        let (from_agent, mut to_agent) = stream.into_split();
        let mut from_step = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(message)) = from_step.message().await {
                if to_agent.write_all(&message.data).await.is_err() {
                    return;
                }
            }
            // The agent may have closed the connection first.
            drop(to_agent.shutdown().await);
        });
        let answers = ReaderStream::new(from_agent).map(|chunk| Ok(BytesMessage { data: chunk?.to_vec() }));
        Ok(Response::new(Box::pin(answers)))
    }
}
