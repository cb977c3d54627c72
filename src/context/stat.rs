//! Metadata in the form of the file sync protocol, and extended attributes.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use xattr::FileExt as _;

/// Bits of Go's `os.FileMode` above the nine permission bits.
pub(crate) mod mode_bits {
    pub(crate) const DIRECTORY: u32 = 1 << 31;
    pub(crate) const SYMLINK: u32 = 1 << 27;
    /// Set for a device. A block device does not have [`CHAR_DEVICE`].
    pub(crate) const DEVICE: u32 = 1 << 26;
    pub(crate) const NAMED_PIPE: u32 = 1 << 25;
    pub(crate) const SOCKET: u32 = 1 << 24;
    pub(crate) const SETUID: u32 = 1 << 23;
    pub(crate) const SETGID: u32 = 1 << 22;
    /// Set for a character device, together with [`DEVICE`].
    pub(crate) const CHAR_DEVICE: u32 = 1 << 21;
    pub(crate) const STICKY: u32 = 1 << 20;
    /// The bits of all kinds except a regular file, which has none.
    pub(crate) const TYPE: u32 = DIRECTORY | SYMLINK | DEVICE | NAMED_PIPE | SOCKET | CHAR_DEVICE;

    /// The bits that Unix and Go encode differently, for Unix and for Go.
    pub(super) const SPECIAL: [(u32, u32); 3] = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];

    /// Returns the Unix permission bits with setuid, setgid and sticky.
    pub(crate) fn to_unix_permissions(mode: u32) -> u32 {
        (SPECIAL.iter()).filter(|(_, go)| mode & go != 0).fold(mode & 0o777, |unix, (bit, _)| unix | bit)
    }
}

/// Returns the mode as Go's `os.FileMode`, but without the bit for sockets. `fsutil` clears that bit, so that an engine
/// treats a socket as an empty file.
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
    (mode_bits::SPECIAL.iter())
        .filter(|(unix, _)| mode & unix != 0)
        .fold(mode & 0o777 | kind, |go, (_, bit)| go | bit)
}

/// Returns the extended attributes at `path`, without following a link.
///
/// The result is empty if the file system does not support attributes, or if `path` does not exist. As in `fsutil`, an
/// attribute is left out if it cannot be read, if its name is not UTF-8, or if it belongs to macOS (`com.apple.…`).
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

/// Sets attributes of an open file as far as the file system and the user allow. Fails if an allowed attribute cannot
/// be set, for example because the file system is full.
pub(crate) fn set_xattrs<'a>(
    file: &File,
    xattrs: impl IntoIterator<Item = (&'a String, &'a Vec<u8>)>,
) -> io::Result<()> {
    for (name, value) in xattrs {
        if let Err(error) = file.set_xattr(name, value)
            && !matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Returns the major and minor number of a device, computed from the kernel's number as `fsutil` does.
pub(crate) fn device(metadata: &Metadata) -> (u32, u32) {
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
    fn modes_are_encoded_as_in_go() {
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
    fn attributes_of_a_link_are_not_those_of_its_target() {
        // The file system of the temporary directory may not support attributes.
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
