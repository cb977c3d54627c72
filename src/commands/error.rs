//! How an error reaches the user: one line of cause, hints, and the exit code. All three are decided here.

use std::error::Error;

use crate::buildkit::{BuildFailure, ConnectError, SolveError};
use crate::endpoint::{DialError, TlsError};
use crate::settings::SettingsError;

/// What kind of thing went wrong; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The user's own build failed.
    Build,
    /// A flag, a file or the engine's address is wrong, or no engine is there.
    Config,
    /// A cache is at fault, under `--strict`.
    Cache,
    /// The user interrupted.
    Interrupted,
}

impl ErrorKind {
    /// The process's exit code, as the command-line help lists them.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Build => 1,
            Self::Config => 2,
            Self::Cache => 3,
            Self::Interrupted => 130,
        }
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: ErrorKind,
    /// One line.
    pub(crate) cause: String,
    /// What to do next.
    pub(crate) hints: Vec<String>,
}

impl CommandError {
    /// An error in what was typed or configured.
    pub(crate) fn config(error: &(dyn Error + 'static)) -> Self {
        Self { kind: ErrorKind::Config, cause: chain(error), hints: Vec::new() }
    }

    /// A cache at fault, where that is not tolerated.
    pub(crate) fn cache(error: &(dyn Error + 'static)) -> Self {
        let hints = vec!["without --strict the build goes on without the cache".to_owned()];
        Self { kind: ErrorKind::Cache, cause: chain(error), hints }
    }

    /// A build that failed for a reason of its own.
    pub(crate) fn build(cause: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Build, cause: cause.into(), hints: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// An error and its sources on one line; a source that the message repeats is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = one_line(&error.to_string());
    let mut source = error.source();
    while let Some(error) = source {
        let message = one_line(&error.to_string());
        if !line.contains(&message) {
            line = format!("{line}: {message}");
        }
        source = error.source();
    }
    line
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl From<SettingsError> for CommandError {
    fn from(error: SettingsError) -> Self {
        let hint = match &error {
            SettingsError::Context { .. } => Some("the last argument is the build context, usually ."),
            SettingsError::DockerContext(_) => Some("docker context ls lists the contexts"),
            SettingsError::NoHome => Some("name a directory with --cache-dir or LARDER_CACHE_DIR"),
            SettingsError::Flag { .. } | SettingsError::Refused { .. } => {
                Some("larder build --help lists the flags")
            }
            SettingsError::Variable { .. } | SettingsError::File { .. } | SettingsError::Endpoint(_) => None,
        };
        let error = Self::config(&error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<ConnectError> for CommandError {
    fn from(error: ConnectError) -> Self {
        let hint = match &error {
            ConnectError::Dial(DialError::NoSocket(_) | DialError::Refused(_)) => {
                "start the engine, or name another one with --host, --context or DOCKER_HOST"
            }
            ConnectError::Dial(DialError::Forbidden(_)) => {
                "add this user to the socket's group (usually docker) and log in again, or use a rootless engine"
            }
            ConnectError::Dial(DialError::Tls(_, TlsError::File { .. } | TlsError::Config(_))) => {
                "DOCKER_CERT_PATH must hold ca.pem, cert.pem and key.pem that belong together"
            }
            ConnectError::Dial(DialError::Tls(..)) => {
                "ca.pem in DOCKER_CERT_PATH must have signed the engine's certificate, and the engine's authority cert.pem"
            }
            ConnectError::Dial(DialError::Io(..)) | ConnectError::TimedOut(..) | ConnectError::Broken(..) => {
                "check the address and that the engine can be reached from here"
            }
            ConnectError::NotAnEngine { .. } => {
                "check the address; a TLS port needs DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH"
            }
            ConnectError::Unhealthy { .. } => "look at the engine's log",
            ConnectError::NoBuildKit { .. } => "use Docker 20.10 or newer, or a buildkitd",
        };
        Self::config(&error).hint(hint)
    }
}

impl From<SolveError> for CommandError {
    fn from(error: SolveError) -> Self {
        match &error {
            SolveError::Build(failure) => failure.into(),
            SolveError::Cancelled => Self {
                kind: ErrorKind::Interrupted,
                cause: "interrupted; the build was cancelled".to_owned(),
                hints: Vec::new(),
            },
            SolveError::SessionLost | SolveError::Connection(_) => Self::build(chain(&error)).hint(
                "look at the engine's log: it may have been stopped, or have run out of memory or disk",
            ),
            SolveError::Connect(_) => {
                let SolveError::Connect(error) = error else { return Self::config(&error) };
                error.into()
            }
        }
    }
}

impl From<&BuildFailure> for CommandError {
    fn from(failure: &BuildFailure) -> Self {
        let message = one_line(plain_message(&failure.message));
        let hint = if message.contains("no space left on device") {
            Some(
                "the engine's disk is full: docker system df shows by what, docker builder prune frees its cache",
            )
        } else if message.contains("failed to load cache key")
            || message.contains("failed to resolve source metadata")
            || message.contains("failed to do request")
        {
            Some(
                "the engine could not get a base image: check its name, the network and the login (docker login)",
            )
        } else if message.contains("not found") && message.contains("checksum") {
            Some("the file is not in the build context, or .dockerignore keeps it out")
        } else {
            None
        };
        let error = Self::build(message);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// BuildKit's message without the layers that wrap it.
pub(super) fn plain_message(message: &str) -> &str {
    let mut message = message.trim();
    loop {
        let stripped = [
            "failed to solve: ",
            "failed to solve with frontend dockerfile.v0: ",
            "rpc error: code = Unknown desc = ",
            "failed to create LLB definition: ",
            "failed to read dockerfile: ",
        ]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix));
        match stripped {
            Some(rest) => message = rest,
            None => return message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_one_line_and_says_nothing_twice() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read\n  the file")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "cannot read the file: disk on fire");
    }

    #[test]
    fn buildkits_wrapping_is_taken_off() {
        let message = "failed to solve with frontend dockerfile.v0: failed to create LLB definition: \
                       dockerfile parse error line 2: unknown instruction: RUNN";
        assert_eq!(plain_message(message), "dockerfile parse error line 2: unknown instruction: RUNN");
    }

    #[test]
    fn a_full_disk_says_what_frees_it() {
        let failure = BuildFailure {
            message: "write /x: no space left on device".to_owned(),
            vertex: None,
            location: None,
        };
        let error = CommandError::from(&failure);
        assert_eq!(error.kind, ErrorKind::Build);
        assert!(error.hints[0].contains("docker builder prune"));
    }
}
