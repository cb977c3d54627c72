//! `moby.sshforward.v1.SSH`: an SSH agent for steps with `RUN --mount=type=ssh`.
//!
//! Bytes between the step and the agent's socket are passed on as they are.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::{Ssh, SshServer};
use bollard_buildkit_proto::moby::sshforward::v1::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use super::ssh_keys::KeyAgent;

pub(super) const METHODS: [&str; 2] =
    ["/moby.sshforward.v1.SSH/CheckAgent", "/moby.sshforward.v1.SSH/ForwardAgent"];

/// The id of the agent that a mount without `id=` uses.
const DEFAULT_ID: &str = "default";

/// An agent that the build may talk to.
#[derive(Debug, Clone)]
pub enum SshAgent {
    /// The user's agent, by its socket.
    Socket(PathBuf),
    /// An agent of the session's own that holds these private keys.
    Keys(Vec<PathBuf>),
}

pub(super) fn service(agents: BTreeMap<String, SshAgent>) -> io::Result<SshServer<Agents>> {
    let mut sockets = BTreeMap::new();
    let mut key_agents = Vec::new();
    for (id, agent) in agents {
        let socket = match agent {
            SshAgent::Socket(socket) => socket,
            SshAgent::Keys(keys) => {
                let agent = KeyAgent::start(&keys)?;
                let socket = agent.socket();
                key_agents.push(agent);
                socket
            }
        };
        sockets.insert(id, socket);
    }
    Ok(SshServer::new(Agents { sockets, _key_agents: key_agents }))
}

pub(super) struct Agents {
    sockets: BTreeMap<String, PathBuf>,
    /// They end with the session.
    _key_agents: Vec<KeyAgent>,
}

impl Agents {
    fn socket(&self, id: &str) -> Result<&PathBuf, Status> {
        let id = if id.is_empty() { DEFAULT_ID } else { id };
        let unknown = || Status::not_found(format!("no ssh agent `{id}` was given to this build"));
        self.sockets.get(id).ok_or_else(unknown)
    }
}

#[tonic::async_trait]
impl Ssh for Agents {
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.socket(&request.into_inner().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = request.metadata().get("buildkit.ssh.id").and_then(|id| id.to_str().ok());
        let socket = self.socket(id.unwrap_or_default())?;
        let stream = UnixStream::connect(socket)
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
            // The agent may have closed first.
            drop(to_agent.shutdown().await);
        });
        let answers = ReaderStream::new(from_agent).map(|chunk| Ok(BytesMessage { data: chunk?.to_vec() }));
        Ok(Response::new(Box::pin(answers)))
    }
}
