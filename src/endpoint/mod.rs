//! Engine addresses, and byte streams to them.
//!
//! An [`Endpoint`] is an address in Docker's notation (`unix://`, `tcp://`, `ssh://`) with its TLS files.
//! `Endpoint::dial` opens one stream; HTTP, gRPC and the session are implemented by the modules above. Which endpoint
//! the user means (flag, variable, context) is decided in `settings`; this module never reads the environment.

mod dial;
mod docker_context;
mod ssh;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) use dial::{DialError, Protocol, Stream};
pub(crate) use docker_context::{DockerContextError, DockerContexts};
pub(crate) use tls::{TlsError, TlsFiles};

/// An engine's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix domain socket.
    Unix(PathBuf),
    /// A TCP port, with or without TLS.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// The port, with Docker's default applied.
        port: u16,
        /// `Some` if the connection uses TLS.
        tls: Option<TlsFiles>,
        /// Additional headers of HTTP requests by name, for a proxy in front of the engine.
        headers: BTreeMap<String, String>,
    },
    /// A remote machine whose engine is reached through `docker system dial-stdio`.
    Ssh {
        /// The login name, if given.
        user: Option<String>,
        /// The host as `ssh` interprets it.
        host: String,
        /// The port, if given.
        port: Option<u16>,
        /// The path of the engine's socket on the host, if it is not the default.
        socket: Option<String>,
    },
}

/// An invalid engine address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum EndpointError {
    #[error("`{0}` is not an engine address: use unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST")]
    Scheme(String),
    #[error("`{0}` has no {1}")]
    Incomplete(String, &'static str),
    #[error("`{0}` has an invalid port")]
    Port(String),
    #[error("an ssh address must not contain a password")]
    Password,
}

impl Endpoint {
    /// Replaces the HTTP headers of a TCP endpoint; other endpoints are unchanged.
    #[must_use]
    pub(crate) fn with_headers(self, headers: &BTreeMap<String, String>) -> Self {
        match self {
            Self::Tcp { host, port, tls, .. } => Self::Tcp { host, port, tls, headers: headers.clone() },
            other => other,
        }
    }

    /// Adds the endpoint's headers to a request. Headers that the request already has take precedence; invalid ones are
    /// skipped.
    pub(crate) fn add_headers(&self, request: &mut HeaderMap) {
        let Self::Tcp { headers, .. } = self else { return };
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                request.entry(name).or_insert(value);
            }
        }
    }

    /// Parses Docker's notation; `tls` is used for `tcp://` and `https://` only.
    ///
    /// Without a port, `tcp://` means 2376 with TLS and 2375 without, as in Docker.
    ///
    /// # Errors
    ///
    /// Fails if the text is not an engine address.
    pub fn parse(text: &str, tls: Option<TlsFiles>) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| EndpointError::Scheme(text.to_owned()))?;
        match scheme {
            "unix" if rest.is_empty() => Err(EndpointError::Incomplete(text.to_owned(), "socket")),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" | "https" => {
                let tls = if scheme == "https" { tls.or_else(|| Some(TlsFiles::default())) } else { tls };
                let authority = rest.split('/').next().unwrap_or_default();
                let (host, port) = split_port(text, authority)?;
                let port = port.unwrap_or(if tls.is_some() { 2376 } else { 2375 });
                Ok(Self::Tcp { host, port, tls, headers: BTreeMap::new() })
            }
            "ssh" => {
                let (authority, path) =
                    rest.find('/').map_or((rest, None), |at| (&rest[..at], Some(&rest[at..])));
                let (user, authority) = match authority.rsplit_once('@') {
                    Some((user, _)) if user.contains(':') => return Err(EndpointError::Password),
                    Some((user, authority)) => (Some(user.to_owned()), authority),
                    None => (None, authority),
                };
                let (host, port) = split_port(text, authority)?;
                let socket = path.filter(|path| *path != "/").map(str::to_owned);
                Ok(Self::Ssh { user, host, port, socket })
            }
            _ => Err(EndpointError::Scheme(text.to_owned())),
        }
    }
}

fn split_port(text: &str, authority: &str) -> Result<(String, Option<u16>), EndpointError> {
    let invalid = || EndpointError::Port(text.to_owned());
    let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or_else(invalid)?;
        (host, rest.strip_prefix(':'))
    } else {
        match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err(EndpointError::Incomplete(text.to_owned(), "host"));
    }
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?),
        None => None,
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
            Self::Ssh { user, host, port, socket } => {
                f.write_str("ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                f.write_str(host)?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                f.write_str(socket.as_deref().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print_in_dockers_notation() {
        for (text, printed) in [
            ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("tcp://build.example", "tcp://build.example:2375"),
            ("tcp://[::1]:99", "tcp://[::1]:99"),
            ("https://build.example", "tcp://build.example:2376"),
            ("ssh://ci@build.example:2222", "ssh://ci@build.example:2222"),
            ("ssh://build.example/run/docker.sock", "ssh://build.example/run/docker.sock"),
        ] {
            assert_eq!(Endpoint::parse(text, None).map(|endpoint| endpoint.to_string()), Ok(printed.into()));
        }
    }

    #[test]
    fn invalid_addresses_are_refused_with_a_reason() {
        for (text, reason) in [
            ("/var/run/docker.sock", "is not an engine address"),
            ("npipe:////./pipe/docker_engine", "is not an engine address"),
            ("unix://", "has no socket"),
            ("tcp://:2375", "has no host"),
            ("tcp://host:0", "invalid port"),
            ("tcp://host:many", "invalid port"),
            ("ssh://ci:secret@host", "must not contain a password"),
        ] {
            let error = Endpoint::parse(text, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
