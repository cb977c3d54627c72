//! Writes a layer as a tar archive. Each file is opened only when its content is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt as _;

use tar::{Builder, EntryType, Header};

use super::layer::{Change, Content, FinishedLayer};
use super::tree::Attributes;

/// The size of a block of a tar archive in bytes.
const BLOCK: usize = 512;
/// The size of an archive without entries in bytes, padded as by GNU tar.
///
/// It must differ from the size that builders write, so that the digests differ: an engine with containerd's store that
/// has a layer with this digest at the same position does not fetch the blob that another builder has pushed, and then
/// cannot read the config of the image.
const EMPTY: usize = 20 * BLOCK;

/// A reader of the tar archive of a layer. The bytes depend only on the layer, because entries are sorted by path.
pub(crate) struct LayerReader {
    /// The parts that were not read yet, in reverse order.
    rest: Vec<Part>,
    current: Box<dyn Read + Send>,
}

enum Part {
    Bytes(Vec<u8>),
    File { content: Content, modified: i64 },
}

impl LayerReader {
    pub(crate) fn new(layer: FinishedLayer) -> io::Result<Self> {
        let mut parts = Vec::new();
        let mut first_names: HashMap<usize, String> = HashMap::new();
        for (path, change) in layer.changes {
            if path.is_empty() {
                // The root is not part of a layer.
                continue;
            }
            match change {
                Change::Directory(attributes) => {
                    parts.push(header(EntryType::Directory, &format!("{path}/"), &attributes, 0, None)?);
                }
                Change::Link(target, attributes) => {
                    parts.push(header(EntryType::Symlink, &path, &attributes, 0, Some(&target))?);
                }
                Change::File(number, attributes) => {
                    if let Some(first) = first_names.get(&number) {
                        parts.push(header(EntryType::Link, &path, &attributes, 0, Some(first))?);
                        continue;
                    }
                    let content = layer.contents[number].clone();
                    let size = content.size();
                    parts.push(header(EntryType::Regular, &path, &attributes, size, None)?);
                    parts.push(Part::File { content, modified: attributes.modified });
                    let padding = size.next_multiple_of(BLOCK as u64) - size;
                    parts.push(Part::Bytes(vec![0; usize::try_from(padding).unwrap_or_default()]));
                    first_names.insert(number, path);
                }
            }
        }
        let end = if parts.is_empty() { EMPTY } else { 2 * BLOCK };
        parts.push(Part::Bytes(vec![0; end]));
        parts.reverse();
        Ok(Self { rest: parts, current: Box::new(io::empty()) })
    }
}

/// Returns the blocks that precede the content of an entry.
fn header(
    kind: EntryType,
    path: &str,
    attributes: &Attributes,
    size: u64,
    target: Option<&str>,
) -> io::Result<Part> {
    let Attributes { mode, uid, gid, modified } = *attributes;
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_mtime(u64::try_from(modified).unwrap_or_default());
    header.set_size(size);
    let mut builder = Builder::new(Vec::new());
    match target {
        // Unlike `append_link`, this does not normalise the target.
        Some(target) if header.set_link_name_literal(target).is_ok() => {
            builder.append_data(&mut header, path, io::empty())?;
        }
        Some(target) => builder.append_link(&mut header, path, target)?,
        // The content is a separate part.
        None => builder.append_data(&mut header, path, io::empty())?,
    }
    Ok(Part::Bytes(unfinished(builder)))
}

/// Returns the written bytes, without the end of an archive.
fn unfinished(mut builder: Builder<Vec<u8>>) -> Vec<u8> {
    std::mem::take(builder.get_mut())
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.current = match self.rest.pop() {
                None => return Ok(0),
                Some(Part::Bytes(bytes)) => Box::new(Cursor::new(bytes)),
                Some(Part::File { content: Content::Text(text), .. }) => {
                    Box::new(Cursor::new(text.into_bytes()))
                }
                Some(Part::File { content: Content::Path { path, size }, modified }) => {
                    let changed = || io::Error::other(format!("{} has changed", path.display()));
                    let file = File::open(&path)?;
                    let found = file.metadata()?;
                    if !found.is_file() || found.len() != size || found.mtime() != modified {
                        return Err(changed());
                    }
                    Box::new(Exact { file, left: size })
                }
            };
        }
    }
}

/// A reader of a file that fails if the file has fewer bytes than its header declares.
struct Exact {
    file: File,
    left: u64,
}

impl Read for Exact {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::other("a file of the build context was truncated while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}
