//! Metadata as the wire of a file sync spells it.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use xattr::FileExt as _;

/// Bits of Go's `os.FileMode` above the nine permission bits.
pub(crate) mod mode_bits {
    /// A directory.
    pub(crate) const DIRECTORY: u32 = 1 << 31;
    /// A symbolic link.
    pub(crate) const SYMLINK: u32 = 1 << 27;
    /// A device file; a block device unless [`CHAR_DEVICE`] says otherwise.
    pub(crate) const DEVICE: u32 = 1 << 26;
    /// A FIFO.
    pub(crate) const NAMED_PIPE: u32 = 1 << 25;
    /// A socket.
    pub(crate) const SOCKET: u32 = 1 << 24;
    /// Runs as its owner.
    pub(crate) const SETUID: u32 = 1 << 23;
    /// Runs as its group.
    pub(crate) const SETGID: u32 = 1 << 22;
    /// With [`DEVICE`]: a character device.
    pub(crate) const CHAR_DEVICE: u32 = 1 << 21;
    /// The sticky bit.
    pub(crate) const STICKY: u32 = 1 << 20;
    /// The bits that make it something else than a plain file.
    pub(crate) const TYPE: u32 = DIRECTORY | SYMLINK | DEVICE | NAMED_PIPE | SOCKET | CHAR_DEVICE;

    /// The permission bits as Unix has them, with setuid, setgid and sticky.
    pub(crate) fn to_unix_permissions(mode: u32) -> u32 {
        [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)]
            .into_iter()
            .filter(|(_, go)| mode & go != 0)
            .fold(mode & 0o777, |unix, (bit, _)| unix | bit)
    }
}

/// The mode as Go's `os.FileMode`, but never with its bit for sockets: `fsutil`
/// clears that, so an engine takes a socket for an empty file.
pub(crate) fn go_mode(metadata: &Metadata) -> u32 {
    let file_type = metadata.file_type();
    let kind = if file_type.is_dir() {
        mode_bits::DIRECTORY
    } else if file_type.is_symlink() {
        mode_bits::SYMLINK
    } else if file_type.is_fifo() {
        mode_bits::NAMED_PIPE
    } else if file_type.is_char_device() {
        mode_bits::DEVICE | mode_bits::CHAR_DEVICE
    } else if file_type.is_block_device() {
        mode_bits::DEVICE
    } else {
        0
    };
    let mode = metadata.mode();
    [(0o4000, mode_bits::SETUID), (0o2000, mode_bits::SETGID), (0o1000, mode_bits::STICKY)]
        .into_iter()
        .filter(|(unix, _)| mode & unix != 0)
        .fold(mode & 0o777 | kind, |go, (_, bit)| go | bit)
}

/// The extended attributes of what is at `path`, of a link itself.
///
/// None where the file system has none, or where nothing is at `path` any more.
/// An attribute that cannot be read, whose name is not UTF-8 or that belongs to
/// macOS (`com.apple.…`) is left out, as `fsutil` leaves it out.
pub(crate) fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(names) = xattr::list(path) else { return BTreeMap::new() };
    names
        .filter_map(|name| {
            let key = name.to_str().filter(|key| !key.starts_with("com.apple."))?.to_owned();
            let value = xattr::get(path, &name).ok()??;
            Some((key, value))
        })
        .collect()
}

/// Sets attributes of an open file as far as this file system and user can; privileged ones are left out for others.
///
/// # Errors
///
/// Fails when one that can be set is not, for want of room for instance.
pub(crate) fn set_xattrs<'a>(
    file: &File,
    xattrs: impl IntoIterator<Item = (&'a String, &'a Vec<u8>)>,
) -> io::Result<()> {
    for (name, value) in xattrs {
        match file.set_xattr(name, value) {
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
            {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The major and minor number of a device file, cut from the kernel's number as
/// `fsutil` cuts them.
pub(super) fn device(metadata: &Metadata) -> (u32, u32) {
    let number = metadata.rdev();
    let narrow = |bits: u64| u32::try_from(bits).unwrap_or(u32::MAX);
    (narrow(number >> 8 & 0xfff), narrow(number & 0xff | number >> 12 & 0xf_ff00))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn modes_are_spelled_as_go_spells_them() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mode = |name: &str| go_mode(&fs::symlink_metadata(at(name)).unwrap());
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("directory")).unwrap();
        symlink("file", at("link")).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, 0o600.into(), 0).unwrap();
        let set = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        set("file", 0o6754);
        set("directory", 0o1777);
        set("socket", 0o600);
        set("fifo", 0o640);

        assert_eq!(mode("file"), 0o754 | 1 << 23 | 1 << 22);
        assert_eq!(mode("directory"), 0o777 | 1 << 31 | 1 << 20);
        assert_eq!(mode("link"), 0o777 | 1 << 27);
        assert_eq!(mode("socket"), 0o600);
        assert_eq!(mode("fifo"), 0o640 | 1 << 25);
        assert_eq!(go_mode(&fs::metadata("/dev/null").unwrap()), 0o666 | 1 << 26 | 1 << 21);
        assert_eq!(device(&fs::metadata("/dev/null").unwrap()), (1, 3));
    }

    #[test]
    fn attributes_are_those_of_a_link_not_of_its_target() {
        // Beside the crate, since a temporary file system may know no attributes.
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        symlink("file", directory.path().join("link")).unwrap();
        xattr::set(&file, "user.larder", b"\0value").unwrap();
        assert_eq!(xattrs(&file).get("user.larder").map(Vec::as_slice), Some(&b"\0value"[..]));
        assert!(!xattrs(&directory.path().join("link")).contains_key("user.larder"));
        assert!(xattrs(&directory.path().join("absent")).is_empty());
    }
}
