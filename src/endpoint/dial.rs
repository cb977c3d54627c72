//! Opens a byte stream to an engine.

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

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The protocol spoken on a stream. TLS announces it (ALPN); other transports do not need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("there is no socket at {}", .0.display())]
    NoSocket(PathBuf),
    #[error("permission denied on the socket {}", .0.display())]
    Forbidden(PathBuf),
    #[error("nothing listens at {0}")]
    Refused(Endpoint),
    #[error("cannot run ssh to reach {0}")]
    SshUnavailable(Endpoint, #[source] io::Error),
    #[error("cannot establish a TLS connection to {0}")]
    Tls(Endpoint, #[source] TlsError),
    #[error("cannot connect to {0}")]
    Io(Endpoint, #[source] io::Error),
}

impl Endpoint {
    /// Opens a new stream on each call.
    ///
    /// A missing socket, missing permission, a refused connection and TLS failures are separate errors, because each
    /// has a different solution. If `ssh` fails, the error occurs only when the stream is read.
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
                let dialed = ssh::dial(user.as_deref(), host, *port, socket.as_deref());
                Ok(Box::new(dialed.map_err(|source| DialError::SshUnavailable(self.clone(), source))?))
            }
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    // A step may be silent for an hour, but a lost engine or network must still be detected.
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(&stream, 6)?;
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
