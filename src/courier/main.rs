//! The courier: runs in the builder with the mounts, and serves larder's requests.
//!
//! ```text
//!  courier SOCKET MOUNT …
//! ```
//!
//! It opens one connection to the socket for each mount, and sends the number of the mount first. `build.rs` compiles
//! it as a static program, so it must not depend on anything but std.

#![forbid(unsafe_code)]

mod mount;
mod protocol;

use std::io::{BufReader, BufWriter, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use protocol::{DIRECT, SECRET};

/// The buffer size of a connection, in bytes.
const BUFFER: usize = 128 << 10;

/// Connects directly to larder, if it runs on the same machine.
fn connect(direct: &str) -> Option<UnixStream> {
    let mut words = direct.split(' ');
    let (name, courier_secret, larder_secret) = (words.next()?, words.next()?, words.next()?);
    let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).ok()?).ok()?;
    let mut answer = [0; SECRET];
    stream.write_all(courier_secret.as_bytes()).and_then(|()| stream.read_exact(&mut answer)).ok()?;
    (answer == larder_secret.as_bytes()).then_some(stream)
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(socket) = arguments.next() else { return ExitCode::from(2) };
    let direct = std::env::var(DIRECT).unwrap_or_default();
    let serve = |number: u32, root: &Path| {
        let stream = match connect(&direct) {
            Some(stream) => stream,
            None => UnixStream::connect(&socket)?,
        };
        let mut from = BufReader::with_capacity(BUFFER, &stream);
        mount::serve(number, root, &mut from, &mut BufWriter::with_capacity(BUFFER, &stream))
    };
    let mut failed = false;
    thread::scope(|scope| {
        let serving: Vec<_> = (0..)
            .zip(arguments)
            .map(|(number, root)| scope.spawn(move || (serve(number, Path::new(&root)), root)))
            .collect();
        for thread in serving {
            if let Ok((Err(error), root)) = thread.join() {
                eprintln!("{}: {error}", root.display());
                failed = true;
            }
        }
    });
    ExitCode::from(u8::from(failed))
}
