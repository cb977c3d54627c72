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

/// Returns the arguments of `ssh`; `socket` is the path of the engine's socket on the host.
fn arguments(user: Option<&str>, host: &str, port: Option<u16>, socket: Option<&str>) -> Vec<String> {
    let mut arguments = ["-o", "ConnectTimeout=30", "-T"].map(str::to_owned).to_vec();
    if let Some(user) = user {
        arguments.extend(["-l".to_owned(), user.to_owned()]);
    }
    if let Some(port) = port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--", host, "docker"].map(str::to_owned));
    if let Some(socket) = socket {
        arguments.extend(["--host".to_owned(), format!("unix://{socket}")]);
    }
    arguments.extend(["system", "dial-stdio"].map(str::to_owned));
    arguments
}

pub(super) fn dial(
    user: Option<&str>,
    host: &str,
    port: Option<u16>,
    socket: Option<&str>,
) -> io::Result<SshStream> {
    let mut child = Command::new("ssh")
        .args(arguments(user, host, port, socket))
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
        assert_eq!(
            arguments(Some("ci"), "-oProxyCommand=x", Some(22), Some("/run/d.sock")).join(" "),
            "-o ConnectTimeout=30 -T -l ci -p 22 -- -oProxyCommand=x docker --host unix:///run/d.sock system dial-stdio"
        );
    }
}
