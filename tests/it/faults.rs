//! A proxy before an HTTP server that does to requests what it is told to, in order, and then passes them on.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// It is passed on.
    Pass,
    /// It is answered with this status.
    Answer(u16),
    /// It is never answered.
    Stall,
    /// Its connection is reset.
    Reset,
    /// Its answer announces this many bytes, and the connection ends after ten.
    Cut(u64),
    /// Its answer announces this many bytes, and no more than ten come.
    StallAfterTen(u64),
}

/// A running proxy; what it has open ends with the test's process.
pub(crate) struct FaultyProxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct State {
    target: u16,
    fates: Mutex<VecDeque<Fate>>,
    /// What happens when there is no fate left.
    last: Fate,
    seen: Mutex<Vec<String>>,
}

impl FaultyProxy {
    /// A proxy before the server at `target` that does this to the first requests and passes the others on.
    pub(crate) fn first(target: u16, fates: &[Fate]) -> Self {
        Self::start(target, fates, Fate::Pass)
    }

    /// A proxy that does this to all requests.
    pub(crate) fn always(fate: Fate) -> Self {
        Self::start(0, &[], fate)
    }

    fn start(target: u16, fates: &[Fate], last: Fate) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let fates = Mutex::new(fates.iter().copied().collect());
        let state = Arc::new(State { target, fates, last, seen: Mutex::default() });
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let state = Arc::clone(&serving);
                // A connection that breaks is the client's business.
                thread::spawn(move || drop(state.serve(&client)));
            }
        });
        Self { port, state }
    }

    /// The first lines of the requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.seen.lock().expect("no panic").clone()
    }
}

impl State {
    /// Takes one request from a connection.
    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        let (head, body) = read_request(client)?;
        self.seen.lock().expect("no panic").push(head.lines().next().unwrap_or_default().to_owned());
        let fate = self.fates.lock().expect("no panic").pop_front().unwrap_or(self.last);
        match fate {
            Fate::Pass => {
                let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target))?;
                server.write_all(head.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes())?;
                server.write_all(&body)?;
                io::copy(&mut server, &mut client)?;
            }
            Fate::Answer(status) => {
                let text = "<Error><Code>TestsWish</Code></Error>";
                write!(
                    client,
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
                    text.len()
                )?;
            }
            Fate::Stall => thread::sleep(Duration::from_mins(10)),
            Fate::Reset => set_socket_linger(client, Some(Duration::ZERO))?,
            Fate::Cut(length) | Fate::StallAfterTen(length) => {
                write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n0123456789")?;
                if matches!(fate, Fate::StallAfterTen(_)) {
                    thread::sleep(Duration::from_mins(10));
                }
            }
        }
        if !matches!(fate, Fate::Reset) {
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
