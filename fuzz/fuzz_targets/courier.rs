//! Fuzzes the protocol between larder and the courier, with a malicious peer on either side.
//!
//! Checks that larder reads no more data than it requested, and that the courier changes nothing outside the mount.
#![no_main]

use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use larder::courier::mount::serve;
use larder::courier::protocol::{receive, send};
use larder::mounts::{Conversation, ConversationError};
use libfuzzer_sys::fuzz_target;

/// Returns a directory with a mount that contains a file, and with a file outside the mount that must not change.
fn mount() -> &'static Path {
    static BASE: OnceLock<std::path::PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = std::env::temp_dir().join(format!("larder-fuzz-courier-{}", std::process::id()));
        std::fs::create_dir_all(base.join("mount/d")).expect("a directory");
        std::fs::write(base.join("mount/d/file"), "content").expect("a file");
        std::fs::write(base.join("outside"), "untouched").expect("a file");
        base
    })
}

fuzz_target!(|data: &[u8]| {
    // Each received message can be sent and received again unchanged.
    let mut from = data;
    while let Ok(Some(message)) = receive(&mut from) {
        let mut bytes = Vec::new();
        send(&mut bytes, &message).expect("a received message fits into a frame");
        assert_eq!(receive(&mut bytes.as_slice()).expect("a message"), Some(message));
    }

    // The input is the output of a malicious courier.
    if let Ok((_, mut conversation)) = Conversation::accept(io::Cursor::new(data.to_owned()), io::sink())
        && let Ok(found) = conversation.list()
    {
        let files: Vec<(u32, u64)> = (0..).zip(found.listing.nodes.iter().map(|_| 3)).take(8).collect();
        let mut bytes = 0;
        let read = conversation.read::<ConversationError>(&files, &mut |_, event| {
            if let larder::mounts::ReadEvent::Bytes(more) = event {
                bytes += more.len();
            }
            Ok(())
        });
        assert!(bytes <= 3 * files.len(), "{read:?}");
    }

    // The input is the output of a malicious larder.
    let base = mount();
    let mut output = Vec::new();
    drop(serve(0, &base.join("mount"), &mut &*data, &mut output));
    output.flush().expect("memory");
    assert_eq!(std::fs::read(base.join("outside")).expect("a file"), b"untouched");
    assert_eq!(
        std::fs::read_dir(base).expect("a directory").count(),
        2,
        "no file is created outside the mount"
    );
    assert!(base.join("mount/d").is_dir());
});
