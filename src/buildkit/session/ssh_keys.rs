//! An SSH agent for builds that were given private key files instead of an agent.
//!
//! It answers on a socket in a directory of its own, readable by this user
//! only, and holds nothing but the keys it was given.

use std::io;
use std::path::PathBuf;

use signature::Signer;
use ssh_agent_lib::agent::{Session, listen};
use ssh_agent_lib::error::AgentError;
use ssh_agent_lib::proto::{Identity, SignRequest, signature as flags};
use ssh_key::private::KeypairData;
use ssh_key::{PrivateKey, Signature};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// A running agent; it ends when dropped.
pub(super) struct KeyAgent {
    directory: TempDir,
    serving: JoinHandle<()>,
}

impl KeyAgent {
    pub(super) fn start(paths: &[PathBuf]) -> io::Result<Self> {
        let keys = paths.iter().map(read).collect::<io::Result<Vec<_>>>()?;
        let directory = tempfile::Builder::new().prefix("larder-ssh-").tempdir()?;
        let listener = UnixListener::bind(directory.path().join("agent"))?;
        let serving = tokio::spawn(async move {
            // It ends only by being dropped; a broken listener shows in the step that uses it.
            drop(listen(listener, Keys(keys)).await);
        });
        Ok(Self { directory, serving })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn read(path: &PathBuf) -> io::Result<PrivateKey> {
    let failed = |reason: String| io::Error::other(format!("ssh key {}: {reason}", path.display()));
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let key = PrivateKey::from_openssh(&text)
        .map_err(|error| failed(format!("{error} (convert it with ssh-keygen -p -f KEY)")))?;
    if key.is_encrypted() {
        return Err(failed("it has a passphrase; add it to an agent with ssh-add instead".to_owned()));
    }
    Ok(key)
}

#[derive(Clone)]
struct Keys(Vec<PrivateKey>);

#[tonic::async_trait]
impl Session for Keys {
    async fn request_identities(&mut self) -> Result<Vec<Identity>, AgentError> {
        let identity = |key: &PrivateKey| Identity {
            credential: key.public_key().key_data().clone().into(),
            comment: key.comment().to_owned(),
        };
        Ok(self.0.iter().map(identity).collect())
    }

    async fn sign(&mut self, request: SignRequest) -> Result<Signature, AgentError> {
        let wanted = request.credential.key_data();
        let key =
            self.0.iter().find(|key| key.public_key().key_data() == wanted).ok_or(AgentError::Failure)?;
        // ssh-key signs RSA with SHA-512 only, which every server since OpenSSH 7.2 takes.
        let is_rsa = matches!(key.key_data(), KeypairData::Rsa(_));
        if is_rsa && request.flags & flags::RSA_SHA2_512 == 0 {
            return Err(AgentError::Failure);
        }
        let signed: Result<Signature, _> = key.try_sign(&request.data);
        signed.map_err(AgentError::other)
    }
}
