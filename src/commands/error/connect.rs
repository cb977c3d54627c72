//! Errors of connections to engines.

use super::{CommandError, ErrorKind};
use crate::buildkit::ConnectError;
use crate::endpoint::{DialError, Endpoint, TlsError};
use crate::error_chain::chain;

const WAIT: &str =
    "--wait-for-engine 60s waits for an engine that is about to start, such as docker-in-docker";

impl From<&ConnectError> for CommandError {
    fn from(error: &ConnectError) -> Self {
        let kind = if error.is_unreachable() { ErrorKind::Engine } else { ErrorKind::Config };
        let error_line = Self::new(kind, chain(error));
        let hint = match error {
            ConnectError::Dial(error) => dial_hint(error),
            ConnectError::Broken(Endpoint::Ssh { user, host, .. }, _) => {
                let login = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let hint = format!("`ssh {login}{host} docker version` must work without a password prompt");
                return error_line.hint(hint);
            }
            ConnectError::TimedOut(..) | ConnectError::Broken(..) => {
                "check the address and that the engine can be reached from here"
            }
            ConnectError::NotAnEngine { .. } => {
                "check the address; a TLS port needs DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"
            }
            ConnectError::TlsRequired(_) => {
                "set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the directory of ca.pem, cert.pem and key.pem"
            }
            ConnectError::Unhealthy { .. } => "check the engine's log",
            ConnectError::NoBuildKit { .. } => {
                "use Docker 20.10 or newer, or a buildkitd; Podman has no BuildKit"
            }
        };
        let error = error_line.hint(hint);
        if kind == ErrorKind::Engine { error.hint(WAIT) } else { error }
    }
}

fn dial_hint(error: &DialError) -> &'static str {
    match error {
        DialError::NoSocket(_) | DialError::Refused(_) => {
            "start the engine, or select a different one with --host, --context or DOCKER_HOST"
        }
        DialError::Forbidden(_) => {
            "add this user to the socket's group (usually docker) and log in again, or use a rootless engine"
        }
        DialError::SshUnavailable(..) => "install an ssh client, or use a different address of the engine",
        DialError::Tls(_, TlsError::Pem(_) | TlsError::Config(_)) => {
            "DOCKER_CERT_PATH must contain matching ca.pem, cert.pem and key.pem"
        }
        DialError::Tls(_, TlsError::NotTls(_)) => {
            "unset DOCKER_TLS_VERIFY and DOCKER_TLS if the port does not use TLS, or use the TLS port (usually 2376)"
        }
        DialError::Tls(_, TlsError::Rejected(_)) => {
            "cert.pem in DOCKER_CERT_PATH must be signed by the authority that the engine trusts (its --tlscacert)"
        }
        DialError::Tls(_, TlsError::Handshake(_) | TlsError::ServerName(_)) => {
            "ca.pem in DOCKER_CERT_PATH must have signed the engine's certificate, which must be valid for this host name"
        }
        DialError::Io(..) => "check the address and that the engine can be reached from here",
    }
}
