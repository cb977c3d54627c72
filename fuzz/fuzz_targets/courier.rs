//! What larder and its courier say to each other, with either of them hostile.
#![no_main]

use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

use larder::courier::mount::serve;
use larder::courier::protocol::{receive, send};
use larder::mounts::{Conversation, ConversationError};
use libfuzzer_sys::fuzz_target;

/// A mount with something in it, and beside it what nobody may touch.
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
    // What is a message is one again.
    let mut from = data;
    while let Ok(Some(message)) = receive(&mut from) {
        let mut bytes = Vec::new();
        send(&mut bytes, &message).expect("it fitted into a frame");
        assert_eq!(receive(&mut bytes.as_slice()).expect("a message"), Some(message));
    }

    // A courier that says this.
    if let Ok((_, mut talk)) = Conversation::greet(io::Cursor::new(data.to_owned()), io::sink())
        && let Ok(found) = talk.list()
    {
        let files: Vec<(u32, u64)> = (0..).zip(found.listing.nodes.iter().map(|_| 3)).take(8).collect();
        let mut bytes = 0;
        let read = talk.read::<ConversationError>(&files, &mut |_, taken| {
            if let larder::mounts::Taken::Bytes(more) = taken {
                bytes += more.len();
            }
            Ok(())
        });
        assert!(bytes <= 3 * files.len(), "{read:?}");
    }

    // A larder that says this.
    let base = mount();
    let mut said = Vec::new();
    drop(serve(0, &base.join("mount"), &mut &*data, &mut said));
    said.flush().expect("memory");
    assert_eq!(std::fs::read(base.join("outside")).expect("a file"), b"untouched");
    assert_eq!(std::fs::read_dir(base).expect("a directory").count(), 2, "nothing is made outside");
    assert!(base.join("mount/d").is_dir());
});
