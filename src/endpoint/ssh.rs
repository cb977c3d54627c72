//! A stream through `ssh HOST docker system dial-stdio`.
//!
//! The user's own `ssh` is run, so that their configuration, agent, jump hosts and known hosts apply, as with Docker's
//! client. The process ends with the stream.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// The address of a remote machine and of the engine's socket on it.
pub(super) struct SshAddress<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
    pub(super) socket: Option<&'a str>,
}

/// The two pipes of a running `ssh`.
pub(super) struct SshStream {
    _child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    failure: StderrState,
}

/// Collects what `ssh` writes to stderr; it becomes the error if stdout ends before anything was read.
enum StderrState {
    Waiting { stderr: ChildStderr, text: Vec<u8> },
    Healthy,
}

impl SshAddress<'_> {
    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["-o", "ConnectTimeout=30", "-T"].into_iter().map(str::to_owned).collect();
        if let Some(user) = self.user {
            arguments.extend(["-l".to_owned(), user.to_owned()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["--".to_owned(), self.host.to_owned(), "docker".to_owned()]);
        if let Some(socket) = self.socket {
            arguments.extend(["--host".to_owned(), format!("unix://{socket}")]);
        }
        arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
        arguments
    }
}

pub(super) fn dial(login: &SshAddress<'_>) -> io::Result<SshStream> {
    let mut child = Command::new("ssh")
        .args(login.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let closed = || io::Error::other("the pipes of ssh are missing");
    Ok(SshStream {
        stdin: child.stdin.take().ok_or_else(closed)?,
        stdout: child.stdout.take().ok_or_else(closed)?,
        failure: StderrState::Waiting { stderr: child.stderr.take().ok_or_else(closed)?, text: Vec::new() },
        _child: child,
    })
}

impl AsyncRead for SshStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stdout).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                let StderrState::Waiting { stderr, text } = &mut this.failure else {
                    return Poll::Ready(Ok(()));
                };
                while text.len() < 4096 {
                    let mut chunk = [0; 512];
                    let mut chunk = ReadBuf::new(&mut chunk);
                    match Pin::new(&mut *stderr).poll_read(cx, &mut chunk)? {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(()) if chunk.filled().is_empty() => break,
                        Poll::Ready(()) => text.extend_from_slice(chunk.filled()),
                    }
                }
                let output = String::from_utf8_lossy(text);
                let last = output.lines().rfind(|line| !line.trim().is_empty());
                let last = last.unwrap_or("connection closed").trim();
                let message = if last.starts_with("ssh:") { last.to_owned() } else { format!("ssh: {last}") };
                this.failure = StderrState::Healthy;
                Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, message)))
            }
            Poll::Ready(Ok(())) => {
                this.failure = StderrState::Healthy;
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stdin).poll_write(cx, data) {
            // `ssh` failed before it read anything: the next read reports the reason.
            Poll::Ready(Err(error))
                if error.kind() == io::ErrorKind::BrokenPipe
                    && matches!(self.failure, StderrState::Waiting { .. }) =>
            {
                Poll::Ready(Ok(data.len()))
            }
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_never_parsed_as_an_option() {
        let login = SshAddress {
            user: Some("ci"),
            host: "-oProxyCommand=x",
            port: Some(22),
            socket: Some("/run/d.sock"),
        };
        assert_eq!(
            login.arguments().join(" "),
            "-o ConnectTimeout=30 -T -l ci -p 22 -- -oProxyCommand=x docker --host unix:///run/d.sock system dial-stdio"
        );
    }
}
