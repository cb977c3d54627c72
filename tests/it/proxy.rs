//! A proxy in front of an engine that records the first line of each connection, and cuts or freezes connections.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use tempfile::TempDir;

/// A running proxy. Its threads end with the process of the test.
pub(crate) struct Proxy {
    host: String,
    state: Arc<State>,
    _directory: TempDir,
}

#[derive(Default)]
struct State {
    target: String,
    seen: Mutex<Vec<String>>,
    shared_keys: Mutex<Vec<String>>,
    open: Mutex<Vec<(String, [Socket; 2])>>,
    dead: AtomicBool,
    frozen: Mutex<bool>,
    thawed: Condvar,
}

impl Proxy {
    /// Starts a proxy on a Unix socket in front of the engine at `target`.
    pub(crate) fn unix(target: &str) -> Self {
        let directory = TempDir::with_prefix("larder-proxy-").expect("a directory");
        let path = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let host = format!("unix://{}", path.display());
        let accept = move || listener.accept().map(|(stream, _)| Socket::Unix(stream));
        Self::start(host, directory, target, accept)
    }

    /// Starts a proxy on a TCP port of this machine in front of the engine at `target`.
    pub(crate) fn tcp(target: &str) -> Self {
        let directory = TempDir::with_prefix("larder-proxy-").expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = format!("tcp://{}", listener.local_addr().expect("an address"));
        let accept = move || listener.accept().map(|(stream, _)| Socket::Tcp(stream));
        Self::start(host, directory, target, accept)
    }

    fn start(
        host: String,
        directory: TempDir,
        target: &str,
        accept: impl Fn() -> io::Result<Socket> + Send + 'static,
    ) -> Self {
        let state = Arc::new(State { target: target.to_owned(), ..State::default() });
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            while let Ok(client) = accept() {
                let state = Arc::clone(&serving);
                // The client reports a broken connection.
                thread::spawn(move || drop(state.serve(client)));
            }
        });
        Self { host, state, _directory: directory }
    }

    /// Returns its address in the form of `DOCKER_HOST`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the first line of each connection so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.seen.lock().expect("no panic").clone()
    }

    /// Returns the shared key of each session so far. Empty if the engine has no endpoint for sessions.
    pub(crate) fn shared_keys(&self) -> Vec<String> {
        self.state.shared_keys.lock().expect("no panic").clone()
    }

    /// Cuts the open connections whose first line starts with `start`.
    pub(crate) fn cut(&self, start: &str) {
        let open = self.state.open.lock().expect("no panic");
        let matching: Vec<_> = open.iter().filter(|(first, _)| first.starts_with(start)).collect();
        assert!(!matching.is_empty(), "no connection began with {start}: {:?}", self.seen());
        for socket in matching.into_iter().flat_map(|(_, sockets)| sockets) {
            socket.shutdown(Shutdown::Both);
        }
    }

    /// Cuts every connection and serves no new ones, like an engine that was killed.
    pub(crate) fn die(&self) {
        self.state.dead.store(true, Ordering::SeqCst);
        for (_, sockets) in self.state.open.lock().expect("no panic").iter() {
            for socket in sockets {
                socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// Stops forwarding data without closing connections, like a broken network.
    pub(crate) fn freeze(&self) {
        *self.state.frozen.lock().expect("no panic") = true;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        *self.state.frozen.lock().expect("no panic") = false;
        self.state.thawed.notify_all();
        self.die();
    }
}

impl State {
    fn serve(self: &Arc<Self>, mut client: Socket) -> io::Result<()> {
        let mut start = [0; 4096];
        let read = client.read(&mut start)?;
        let head = String::from_utf8_lossy(&start[..read]).into_owned();
        let first = head.lines().next().unwrap_or_default().to_owned();
        let shared_key =
            head.lines().find_map(|line| line.strip_prefix("x-docker-expose-session-sharedkey: "));
        self.shared_keys.lock().expect("no panic").extend(shared_key.map(str::to_owned));
        self.seen.lock().expect("no panic").push(first.clone());
        if self.dead.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut engine = Socket::dial(&self.target)?;
        engine.write_all(&start[..read])?;
        let ends = [client.try_clone()?, engine.try_clone()?];
        self.open.lock().expect("no panic").push((first, ends));
        let (back_from, back_to) = (engine.try_clone()?, client.try_clone()?);
        let state = Arc::clone(self);
        thread::spawn(move || state.pump(back_from, back_to));
        self.pump(client, engine);
        Ok(())
    }

    fn pump(&self, mut from: Socket, mut to: Socket) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let frozen = self.frozen.lock().expect("no panic");
            drop(self.thawed.wait_while(frozen, |frozen| *frozen).expect("no panic"));
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write);
    }
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn dial(host: &str) -> io::Result<Self> {
        match host.split_once("://") {
            Some(("unix", path)) => Ok(Self::Unix(UnixStream::connect(path)?)),
            Some(("tcp", address)) => Ok(Self::Tcp(TcpStream::connect(address)?)),
            _ => panic!("{host} is not an address that the proxy can dial"),
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
        }
    }

    fn shutdown(&self, how: Shutdown) {
        // The other side may already have shut it down.
        drop(match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
        });
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buffer),
            Self::Tcp(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
