//! Reads a build context that is a tar archive, as far as its key needs. Does not unpack it.
//!
//! BuildKit unpacks such a context itself and does not apply `.dockerignore`, so a step sees every entry. If several
//! entries have the same path, the last one is used, as in tar.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Component, Path};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::file_digest::{FileDigest, FileKind};
use super::hash::digest_attributes;
use super::{Shape, select};
use crate::digest::Digest;
use crate::dockerfile::ContextPaths;

/// The number of bytes at the start of a stream that distinguish an archive from a Dockerfile.
pub(crate) const HEADER_SIZE: usize = 512;

const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

#[derive(Debug, Default)]
pub(crate) struct ContextArchive {
    /// Sorted by path.
    pub(crate) files: Vec<FileDigest>,
    /// The content of the requested file, if the archive contains it.
    pub(crate) requested: Option<Vec<u8>>,
    /// The targets of symbolic links, by the paths of the links.
    targets: BTreeMap<String, String>,
}

impl ContextArchive {
    /// Returns the entries that `paths` select, under their names in the key.
    pub(crate) fn select(&self, paths: &ContextPaths) -> Vec<FileDigest> {
        let shape = |file: &FileDigest| match (file.kind, self.targets.get(&file.path)) {
            (FileKind::Directory, _) => Shape::Directory,
            (FileKind::Symlink, Some(target)) => Shape::Link(target),
            _ => Shape::Other,
        };
        let entries = self.files.iter().map(|file| (file.path.as_str(), shape(file)));
        select(entries, paths).renamed(self.files.clone())
    }
}

/// Returns `true` if a stream that starts with `header` is an archive that BuildKit unpacks.
pub(crate) fn is_archive(header: &[u8]) -> bool {
    [GZIP, BZIP2, XZ].iter().any(|magic| header.starts_with(magic)) || is_tar(header)
}

/// Reads a plain or gzip-compressed archive, including the content of the file `wanted`. Returns `None` for other
/// compressions.
pub(crate) fn read(mut stream: impl Read, wanted: &str) -> io::Result<Option<ContextArchive>> {
    let mut header = Vec::new();
    stream.by_ref().take(HEADER_SIZE as u64).read_to_end(&mut header)?;
    let whole = header.as_slice().chain(stream);
    if header.starts_with(GZIP) {
        entries(MultiGzDecoder::new(whole), wanted).map(Some)
    } else if is_tar(&header) {
        entries(whole, wanted).map(Some)
    } else {
        Ok(None)
    }
}

/// Returns `true` if the block is a tar header of any format, judging by its checksum.
fn is_tar(block: &[u8]) -> bool {
    let Some(block) = block.get(..HEADER_SIZE) else { return false };
    let field = &block[148..156];
    let digits = field.iter().copied().skip_while(|byte| *byte == b' ').take_while(u8::is_ascii_digit);
    let stated = digits.fold(0_u32, |sum, digit| sum.wrapping_mul(8).wrapping_add(u32::from(digit - b'0')));
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let blank: u32 = field.iter().map(|byte| u32::from(*byte)).sum();
    stated != 0 && stated == sum - blank + 8 * u32::from(b' ')
}

fn entries(stream: impl Read, wanted: &str) -> io::Result<ContextArchive> {
    let mut archive = tar::Archive::new(stream);
    let mut files: BTreeMap<String, FileDigest> = BTreeMap::new();
    let mut targets = BTreeMap::new();
    let mut found = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = clean(&entry.path()?)?;
        let mode = entry.header().mode()? & 0o7777;
        let link = entry.link_name()?.unwrap_or_default();
        let link = text(link.as_os_str())?.to_owned();
        let (kind, digest) = match entry.header().entry_type() {
            EntryType::Directory => (FileKind::Directory, Digest::of(b"")),
            EntryType::Symlink => (FileKind::Symlink, Digest::of(link.as_bytes())),
            EntryType::Fifo => (FileKind::Fifo, Digest::of(b"")),
            EntryType::Char => (FileKind::CharDevice, device_digest(&entry)?),
            EntryType::Block => (FileKind::BlockDevice, device_digest(&entry)?),
            EntryType::Link => {
                let first = clean(Path::new(&link))?;
                // A hard link is the same file as its target, which precedes it.
                if let Some(first) = files.get(&first).cloned() {
                    files.insert(path.clone(), FileDigest { path, ..first });
                    continue;
                }
                (FileKind::File, Digest::of(first.as_bytes()))
            }
            _ if path == wanted => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                let digest = Digest::of(&content);
                found = Some(content);
                (FileKind::File, digest)
            }
            _ => (FileKind::File, Digest::of_reader(&mut entry)?),
        };
        if kind == FileKind::Symlink {
            targets.insert(path.clone(), link);
        }
        let digest = digest_with_owner(digest, entry.header());
        let size = entry.size();
        let xattrs = attributes_digest(&mut entry)?;
        files.insert(path.clone(), FileDigest { path, kind, mode, digest, xattrs, size });
    }
    Ok(ContextArchive { files: files.into_values().collect(), requested: found, targets })
}

/// Returns the digest of the extended attributes of an entry, or `None` if it has none.
fn attributes_digest(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<Digest>> {
    let mut attributes = BTreeMap::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
            attributes.insert(name.to_owned(), extension.value_bytes().to_vec());
        }
    }
    Ok(digest_attributes(attributes))
}

/// Returns the digest combined with the owner. An engine preserves the owners of an archive, but not those of a
/// directory.
fn digest_with_owner(digest: Digest, header: &tar::Header) -> Digest {
    // An empty field means root.
    match (header.uid().unwrap_or_default(), header.gid().unwrap_or_default()) {
        (0, 0) => digest,
        (user, group) => {
            let owner = [user.to_le_bytes(), group.to_le_bytes()];
            Digest::of(&[digest.as_bytes().as_slice(), owner.as_flattened()].concat())
        }
    }
}

fn device_digest(entry: &tar::Entry<'_, impl Read>) -> io::Result<Digest> {
    let number = |number: Option<u32>| number.unwrap_or_default();
    let (major, minor) = (entry.header().device_major()?, entry.header().device_minor()?);
    Ok(Digest::of(format!("{}:{}", number(major), number(minor)).as_bytes()))
}

fn clean(path: &Path) -> io::Result<String> {
    let normal = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(text(name)),
        _ => None,
    });
    Ok(normal.collect::<io::Result<Vec<_>>>()?.join("/"))
}

/// Returns a name as text. Invalid UTF-8 is an error, because a lossy conversion could make different names equal.
fn text(name: &OsStr) -> io::Result<&str> {
    let message = || format!("the name {} in the archive is not UTF-8", name.display());
    name.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::GzEncoder;

    fn tarball(files: &[(&str, &str, u64)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content, mtime) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(*mtime);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn archives_are_distinguished_from_dockerfiles() {
        let tar = tarball(&[("Dockerfile", "FROM scratch\n", 1)]);
        let mut gzip = Vec::new();
        GzEncoder::new(tar.as_slice(), Compression::fast()).read_to_end(&mut gzip).unwrap();
        assert!(is_archive(&tar[..HEADER_SIZE]));
        assert!(is_archive(&gzip));
        assert!(!is_archive(b"FROM scratch\n"));
        assert!(!is_archive(&[b' '; HEADER_SIZE]));
        assert!(!is_archive(b""));
        for archive in [tar, gzip] {
            let read = read(archive.as_slice(), "Dockerfile").unwrap().unwrap();
            assert_eq!(read.requested.as_deref(), Some(&b"FROM scratch\n"[..]));
        }
    }

    #[test]
    fn names_that_are_not_utf_8_are_refused() {
        for (path, kind, link) in
            [(&b"caf\xe9"[..], EntryType::Regular, &b""[..]), (b"link", EntryType::Symlink, b"caf\xe9")]
        {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
            header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link);
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_mode(0o644);
            header.set_cksum();
            let mut builder = tar::Builder::new(Vec::new());
            builder.append(&header, &b""[..]).unwrap();
            let error = read(builder.into_inner().unwrap().as_slice(), "").unwrap_err();
            assert!(error.to_string().contains("is not UTF-8"), "{error}");
        }
    }

    #[test]
    fn times_and_order_do_not_change_the_digests_of_an_archive() {
        let files = |archive: &[u8]| read(archive, "").unwrap().unwrap().files;
        let first = files(&tarball(&[("./a", "1", 1), ("b", "2", 1)]));
        assert_eq!(first, files(&tarball(&[("b", "2", 9), ("a", "1", 9)])));
        assert_ne!(first, files(&tarball(&[("b", "2", 1), ("a", "3", 1)])));
    }

    #[test]
    fn owners_and_attributes_change_the_digests_of_an_archive() {
        let archived = |owner: u64, attributes: &[(&str, &[u8])]| {
            let mut builder = tar::Builder::new(Vec::new());
            builder.append_pax_extensions(attributes.iter().copied()).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_size(1);
            header.set_uid(owner);
            header.set_gid(0);
            header.set_mode(0o644);
            builder.append_data(&mut header, "a", &b"x"[..]).unwrap();
            read(builder.into_inner().unwrap().as_slice(), "").unwrap().unwrap().files
        };
        let plain = archived(0, &[]);
        assert_eq!(plain[0].digest, Digest::of(b"x"));
        assert_eq!(plain, archived(0, &[("mtime", b"1.5")]));
        let one: (&str, &[u8]) = ("SCHILY.xattr.user.a", b"1");
        let two: (&str, &[u8]) = ("SCHILY.xattr.user.b", b"2");
        let others = [archived(1000, &[]), archived(0, &[one]), archived(0, &[one, two])];
        for (index, other) in others.iter().enumerate() {
            assert!(*other != plain && !others[..index].contains(other));
        }
        assert_eq!(others[2], archived(0, &[two, one]));
    }

    #[test]
    fn only_the_entries_that_a_step_copies_are_selected() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |path: &str, kind: EntryType, link: &str, content: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        };
        add("./", EntryType::Directory, "", "");
        add("real/x", EntryType::Regular, "", "content");
        add("again", EntryType::Link, "real/x", "");
        add("link", EntryType::Symlink, "real", "");
        add("other", EntryType::Regular, "", "else");
        let archive = builder.into_inner().unwrap();
        let taken = |source: &str| {
            let text = format!("FROM scratch\nCOPY {source} /\n");
            let dockerfile = crate::dockerfile::Dockerfile::parse(&text).unwrap();
            let paths = dockerfile.resolve(&crate::dockerfile::Options::default()).unwrap().context;
            let files = read(archive.as_slice(), "").unwrap().unwrap().select(&paths);
            files.into_iter().map(|file| (file.path, file.digest)).collect::<Vec<_>>()
        };
        let content = Digest::of(b"content");
        for (source, name) in [("real", "real/x"), ("link", "link/x"), ("again", "again"), ("l*", "link/x")] {
            assert_eq!(taken(source), [(name.to_owned(), content)], "{source}");
        }
        assert_eq!(taken(".").len(), 5);
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let tar = tarball(&[("a", &"x".repeat(2000), 1)]);
        assert!(read(&tar[..1500], "").is_err());
    }
}
