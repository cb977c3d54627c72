//! The courier: runs in the builder, beside the mounts, and does there what larder asks for.
//!
//! ```text
//!  courier SOCKET MOUNT …
//! ```
//!
//! One connection to the socket a mount; which is which it says itself. It is
//! compiled by `build.rs`, statically, and knows nothing but std.

#![forbid(unsafe_code)]

mod mount;
mod protocol;

use std::io::{BufReader, BufWriter};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

/// Bytes that are received or sent at once, where they come in small messages.
const BUFFER: usize = 128 << 10;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(socket) = arguments.next() else { return ExitCode::from(2) };
    let serve = |number: u32, root: &Path| {
        let stream = UnixStream::connect(&socket)?;
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
