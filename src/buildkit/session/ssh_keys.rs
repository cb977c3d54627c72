//! An SSH agent for builds that were given private key files instead of an agent.
//!
//! It listens on a socket in a private temporary directory and holds only the given keys.

use std::io;
use std::path::PathBuf;

use rsa::pkcs1v15::SigningKey;
use rsa::{BigUint, RsaPrivateKey};
use sha2::{Sha256, Sha512};
use signature::{SignatureEncoding, Signer};
use ssh_agent_lib::agent::{Session, listen};
use ssh_agent_lib::error::AgentError;
use ssh_agent_lib::proto::{Identity, SignRequest, signature as flags};
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::{Algorithm, HashAlg, Mpint, PrivateKey, Signature};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

/// A running agent, which ends when dropped.
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
            // The task ends only when it is dropped; a broken listener fails the step that uses it.
            drop(listen(listener, PrivateKeys(keys)).await);
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
struct PrivateKeys(Vec<PrivateKey>);

#[tonic::async_trait]
impl Session for PrivateKeys {
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
        if let KeypairData::Rsa(pair) = key.key_data() {
            return sign_rsa(pair, &request.data, request.flags);
        }
        let signed: Result<Signature, _> = key.try_sign(&request.data);
        signed.map_err(AgentError::other)
    }
}

/// Signs with SHA-512 or SHA-256, as requested; SHA-1, the protocol's default, is refused.
///
/// ssh-key 0.6 cannot convert RSA keys (it passes one prime twice), so the key is converted here.
fn sign_rsa(pair: &RsaKeypair, data: &[u8], requested: u32) -> Result<Signature, AgentError> {
    let number = |number: &Mpint| BigUint::try_from(number).map_err(AgentError::other);
    let (public, private) = (&pair.public, &pair.private);
    let primes = vec![number(&private.p)?, number(&private.q)?];
    let key =
        RsaPrivateKey::from_components(number(&public.n)?, number(&public.e)?, number(&private.d)?, primes);
    let key = key.map_err(AgentError::other)?;
    let (hash, signed) = if requested & flags::RSA_SHA2_512 != 0 {
        (HashAlg::Sha512, SigningKey::<Sha512>::new(key).try_sign(data))
    } else if requested & flags::RSA_SHA2_256 != 0 {
        (HashAlg::Sha256, SigningKey::<Sha256>::new(key).try_sign(data))
    } else {
        return Err(AgentError::Failure);
    };
    let signed = signed.map_err(AgentError::other)?.to_vec();
    Signature::new(Algorithm::Rsa { hash: Some(hash) }, signed).map_err(AgentError::other)
}
