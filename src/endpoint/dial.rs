//! Opening one byte stream to an engine.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{Endpoint, TlsError, ssh, tls};

/// How long a TCP connection may be silent before it is probed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// How long after a probe that was not answered the next one goes out.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How many probes may go unanswered before the connection is broken.
const KEEPALIVE_PROBES: u32 = 6;

/// A two-way byte stream to an engine.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What will be spoken on a stream; TLS announces it (ALPN), other transports need not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1, upgraded or not.
    Http1,
    /// HTTP/2 from the first byte.
    Http2,
}

/// No stream to the engine could be opened.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No socket file stands at that path.
    #[error("there is no socket at {}", .0.display())]
    NoSocket(PathBuf),
    /// The socket file is there, but this user may not use it.
    #[error("permission denied on the socket {}", .0.display())]
    Forbidden(PathBuf),
    /// Nothing listens there.
    #[error("nothing listens at {0}")]
    Refused(Endpoint),
    /// There is no `ssh` to run.
    #[error("cannot run ssh to reach {0}")]
    NoSsh(Endpoint, #[source] io::Error),
    /// TLS failed.
    #[error("no TLS connection to {0}")]
    Tls(Endpoint, #[source] TlsError),
    /// Anything else.
    #[error("cannot connect to {0}")]
    Io(Endpoint, #[source] io::Error),
}

impl Endpoint {
    /// Opens one stream; a second call opens a second one.
    ///
    /// # Errors
    ///
    /// Tells a missing socket, missing permission, nobody listening and TLS
    /// faults apart, since each has another remedy. An `ssh` that fails says so
    /// only when the stream is read.
    pub(crate) async fn dial(&self, protocol: Protocol) -> Result<Box<dyn Stream>, DialError> {
        let failed = |source: io::Error| match (source.kind(), self) {
            (io::ErrorKind::NotFound, Self::Unix(path)) => DialError::NoSocket(path.clone()),
            (io::ErrorKind::PermissionDenied, Self::Unix(path)) => DialError::Forbidden(path.clone()),
            (io::ErrorKind::ConnectionRefused, _) => DialError::Refused(self.clone()),
            _ => DialError::Io(self.clone(), source),
        };
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
            Self::Tcp { host, port, tls: None, .. } => Ok(Box::new(tcp(host, *port).await.map_err(failed)?)),
            Self::Tcp { host, port, tls: Some(files), .. } => {
                let stream = tcp(host, *port).await.map_err(failed)?;
                let secured = secure(files, host, protocol, stream).await;
                Ok(Box::new(secured.map_err(|error| DialError::Tls(self.clone(), error))?))
            }
            Self::Ssh { user, host, port, socket } => {
                let login =
                    ssh::Login { user: user.as_deref(), host, port: *port, socket: socket.as_deref() };
                Ok(Box::new(ssh::dial(&login).map_err(|source| DialError::NoSsh(self.clone(), source))?))
            }
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    // A step may be silent for an hour; an engine or a network that is gone must show all the same.
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
    Ok(stream)
}

async fn secure(
    files: &tls::TlsFiles,
    host: &str,
    protocol: Protocol,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, TlsError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::ServerName(host.to_owned()))?;
    let mut config = files.config()?;
    config.alpn_protocols = vec![match protocol {
        Protocol::Http1 => b"http/1.1".to_vec(),
        Protocol::Http2 => b"h2".to_vec(),
    }];
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.map_err(TlsError::handshake)
}
