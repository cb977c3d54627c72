//! A direct connection from a courier on the same machine. It bypasses the engine, which copies bytes more slowly than
//! larder and the courier process them.
//!
//! The socket has an abstract name in the network namespace of the machine. A courier on a different machine does not
//! find it and uses the stream through the engine. Any process on the machine can connect, so each side proves its
//! identity with a secret of this visit, which the courier receives through the engine: first the courier, then larder.
//! A process that reuses the name after larder has exited receives only the first secret.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener, UnixStream};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::buildkit::session::new_id;
use crate::courier::protocol::{DIRECT, SECRET};

/// The time in which a connection must send the courier's secret.
const SECRET_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of connections without a verified secret.
const MAX_UNVERIFIED: usize = 256;

pub(super) struct DirectSocket {
    listener: UnixListener,
    name: String,
    courier_secret: String,
    larder_secret: String,
}

impl DirectSocket {
    pub(super) fn open() -> io::Result<Self> {
        let name = format!("larder-{}", new_id()?);
        let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Self { listener, name, courier_secret: new_id()?, larder_secret: new_id()? })
    }

    pub(super) fn environment(&self) -> String {
        let Self { name, courier_secret, larder_secret, .. } = self;
        format!("{DIRECT}={name} {courier_secret} {larder_secret}")
    }

    /// Accepts connections, and sends those with the courier's secret to `connections`.
    pub(super) async fn serve(self, connections: mpsc::Sender<UnixStream>) {
        let Self { listener, courier_secret, larder_secret, .. } = self;
        let mut proving = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            while proving.try_join_next().is_some() {}
            if proving.len() >= MAX_UNVERIFIED {
                continue;
            }
            let (own, expected, connections) =
                (larder_secret.clone(), courier_secret.clone(), connections.clone());
            proving.spawn(tokio::time::timeout(SECRET_TIMEOUT, async move {
                let mut secret = [0; SECRET];
                stream.read_exact(&mut secret).await?;
                if secret != expected.as_bytes() {
                    return Ok(());
                }
                stream.write_all(own.as_bytes()).await?;
                let stream = stream.into_std()?;
                stream.set_nonblocking(false)?;
                // The visit may have ended.
                drop(connections.send(stream).await);
                Ok::<(), io::Error>(())
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::mounts::Conversation;

    #[tokio::test]
    async fn only_a_courier_with_its_secret_is_accepted_and_receives_the_secret_of_larder() {
        let direct = DirectSocket::open().unwrap();
        let variable = direct.environment();
        let words: Vec<String> =
            variable.trim_start_matches("DIRECT=").split(' ').map(str::to_owned).collect();
        let (sender, mut connections) = mpsc::channel(1);
        let serving = tokio::spawn(direct.serve(sender));
        let say = |secret: String| {
            let name = words[0].clone();
            tokio::task::spawn_blocking(move || {
                let address = SocketAddr::from_abstract_name(name).unwrap();
                let mut stream = UnixStream::connect_addr(&address).unwrap();
                stream.write_all(secret.as_bytes()).unwrap();
                let mut answer = [0; SECRET];
                stream.read_exact(&mut answer).map(|()| String::from_utf8_lossy(&answer).into_owned())
            })
        };
        assert!(say(words[2].clone()).await.unwrap().is_err());
        assert!(say(words[1][1..].to_owned()).await.unwrap().is_err(), "an incomplete secret");
        assert!(connections.try_recv().is_err());
        assert_eq!(say(words[1].clone()).await.unwrap().unwrap(), words[2]);
        assert!(connections.recv().await.is_some());
        serving.abort();
    }

    #[tokio::test]
    async fn the_courier_uses_the_direct_connection() {
        let base = tempfile::tempdir().unwrap();
        let own = crate::platform::local_container_platform();
        let program = crate::courier::program(own.split('/').nth(1).unwrap()).unwrap();
        let path = base.path().join("courier");
        fs::write(&path, program).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let direct = DirectSocket::open().unwrap();
        let (name, value) = direct
            .environment()
            .split_once('=')
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .unwrap();
        let (sender, mut connections) = mpsc::channel(1);
        let serving = tokio::spawn(direct.serve(sender));
        // There is no connection through the engine.
        let mut courier =
            Command::new(&path).arg("/nonexistent").arg(base.path()).env(name, value).spawn().unwrap();
        let stream = connections.recv().await.unwrap();
        let greeted = tokio::task::spawn_blocking(move || {
            let (number, conversation) = Conversation::accept(stream.try_clone().unwrap(), stream).unwrap();
            conversation.close().unwrap();
            (number, courier.wait().unwrap().success())
        });
        assert_eq!(greeted.await.unwrap(), (0, true));
        serving.abort();
    }
}
