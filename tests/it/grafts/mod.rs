//! Grafts: images that larder creates on a prefix without a builder.

mod equality;
mod generated;
mod hand_written;
mod pushes;

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use filetime::FileTime;

use crate::support::{BUSYBOX, TestContext};

/// Returns the instructions of the prefix, which create users, links, and directories with owners and modes.
fn prefix(mark: &str) -> String {
    format!(
        "FROM {BUSYBOX} AS built\nENV BASE=base ROOT=/srv\nWORKDIR /srv\nCMD [\"first\"]\nLABEL of=base\n\
         RUN echo {mark} && mkdir -p app/sub app/deep/er data /opt/tool/bin /etc /home \
         && printf 'root:x:0:0:root:/:/bin/sh\\napp:x:7:8::/:/bin/sh\\n' > /etc/passwd \
         && printf 'root:x:0:\\nweb:x:33:app\\n' > /etc/group \
         && ln -s /srv/app /link && ln -s app relative && ln -s ../../nowhere /dangling && ln -s loop /loop \
         && ln -s file linked && ln -s deep/er app/inner \
         && echo old > file && echo old > app/old && echo old > app/sub/kept \
         && chmod 2750 app/sub && chmod 1777 data && chown 5:6 app/sub data && chmod 0710 app/deep\n"
    )
}

/// Writes the files that the instructions copy. Their contents are unique, because an engine may have cached the same
/// content with different times.
fn write_context(context: &TestContext) {
    let mark = context.tag("mark");
    for (path, content) in [
        ("main.py", "print(1)\n"),
        ("run.sh", "#!/bin/sh\n"),
        ("data.txt", "data\n"),
        ("a b.txt", "blank\n"),
        ("ü.txt", "umlaut\n"),
        ("star[1].txt", "star\n"),
        ("src/one.py", "1\n"),
        ("src/two.py", "2\n"),
        ("src/sub/three.py", "3\n"),
        ("src/sub/kept", "new\n"),
        ("src/sub/notes.md", "notes\n"),
        ("src/deep/er/est/four.py", "4\n"),
        ("src/ignored.log", "ignored\n"),
        ("src/old", "new\n"),
        ("lib/x.py", "x\n"),
        ("lib/y.md", "y\n"),
        ("onto/file/inside", "a directory where the image has a file\n"),
        ("links/real/file", "target of links\n"),
        ("links/real/second", "second target of links\n"),
        ("odd/file", "next to unusual links\n"),
        ("hard/first", "hard\n"),
        (".dockerignore", "**/*.log\nDockerfile*\n"),
        ("passwd/passwd", "app:x:70:80::/:/bin/sh\n"),
        ("empty", ""),
        ("empty.txt", ""),
    ] {
        let is_marked = !content.is_empty() && !path.starts_with('.') && !path.starts_with("passwd/");
        context.write(path, if is_marked { format!("{content}{mark}\n") } else { content.to_owned() });
    }
    let at = |path: &str| context.project().join(path);
    std::fs::write(at("large.bin"), (0..70_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    std::fs::hard_link(at("hard/first"), at("hard/second")).unwrap();
    std::fs::hard_link(at("hard/first"), at("src/hard")).unwrap();
    std::fs::create_dir(at("src/nothing")).unwrap();
    for (target, link) in [
        ("one.py", "src/link.py"),
        ("../lib", "src/lib"),
        ("/nowhere", "src/broken"),
        ("links/real", "shortcut"),
        ("../data.txt", "links/up"),
        ("real", "links/alias"),
        ("real//.", "odd/doubled"),
        ("/", "odd/root"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    for (path, mode) in [
        ("run.sh", 0o755),
        ("src/two.py", 0o600),
        ("src/sub", 0o2770),
        ("src/deep", 0o1711),
        ("src/deep/er", 0o500),
        ("lib/x.py", 0o4755),
        ("lib", 0o700),
    ] {
        std::fs::set_permissions(at(path), Permissions::from_mode(mode)).unwrap();
    }
    let capability: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(at("run.sh"), "security.capability", &capability).unwrap();
    xattr::set(at("data.txt"), "user.note", b"lost").unwrap();
    age(&context.project(), &mut 1_500_000_000);
}

/// Sets the time of every file to a different value.
fn age(directory: &Path, seconds: &mut i64) {
    let mut entries: Vec<_> = directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.is_symlink() {
            age(&path, seconds);
        }
        *seconds += 1001;
        let time = FileTime::from_unix_time(*seconds, 123_456_789);
        filetime::set_symlink_file_times(&path, time, time).unwrap();
    }
}
