//! A proxy in front of an HTTP server that makes the first requests fail in given ways and forwards the others.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// What the proxy does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ProxyAction {
    /// Forwards it.
    Pass,
    /// Answers it with this status.
    Answer(u16),
    /// Never answers it.
    Stall,
    /// Resets the connection.
    Reset,
    /// Announces a response of this many bytes, and closes the connection after ten.
    Cut(u64),
    /// Announces a response of this many bytes, sends ten, and keeps the connection open.
    StallAfterTen(u64),
}

/// A running proxy. It runs until the test's process ends.
pub(crate) struct FaultyProxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    target: u16,
    actions: Mutex<VecDeque<ProxyAction>>,
    /// What happens to the requests after those in `fates`.
    last: ProxyAction,
    seen: Mutex<Vec<String>>,
}

impl FaultyProxy {
    /// Starts a proxy for the server at the port `target`. It treats the first requests like this and forwards the
    /// others.
    pub(crate) fn with_first_actions(target: u16, fates: &[ProxyAction]) -> Self {
        Self::start(target, fates, ProxyAction::Pass)
    }

    /// Starts a proxy that treats all requests like this.
    pub(crate) fn always(fate: ProxyAction) -> Self {
        Self::start(0, &[], fate)
    }

    fn start(target: u16, fates: &[ProxyAction], last: ProxyAction) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let fates = Mutex::new(fates.iter().copied().collect());
        let state = Arc::new(State { target, actions: fates, last, seen: Mutex::default() });
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let state = Arc::clone(&serving);
                // The client reports a broken connection.
                thread::spawn(move || drop(state.serve(&client)));
            }
        });
        Self { port, state }
    }

    /// Returns the request lines so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.seen.lock().expect("no panic").clone()
    }
}

impl State {
    /// Handles one request of a connection.
    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        let (head, body) = read_request(client)?;
        self.seen.lock().expect("no panic").push(head.lines().next().unwrap_or_default().to_owned());
        let fate = self.actions.lock().expect("no panic").pop_front().unwrap_or(self.last);
        match fate {
            ProxyAction::Pass => {
                let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target))?;
                server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
                server.write_all(&body)?;
                io::copy(&mut server, &mut client)?;
            }
            ProxyAction::Answer(status) => {
                let text = "<Error><Code>InjectedFault</Code></Error>";
                write!(
                    client,
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                )?;
            }
            ProxyAction::Stall => thread::sleep(Duration::from_mins(10)),
            ProxyAction::Reset => set_socket_linger(client, Some(Duration::ZERO))?,
            ProxyAction::Cut(length) | ProxyAction::StallAfterTen(length) => {
                write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n0123456789")?;
                if matches!(fate, ProxyAction::StallAfterTen(_)) {
                    thread::sleep(Duration::from_mins(10));
                }
            }
        }
        if !matches!(fate, ProxyAction::Reset) {
            client.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

fn read_request(client: &TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    let mut length = 0;
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((head, body))
}
