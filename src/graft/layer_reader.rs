//! Writes a layer as a tar archive. Each file is opened only when its content is read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt as _;

use tar::{Builder, EntryType, Header};

use super::layer::{FileContent, FinishedLayer, LayerChange};
use super::tree::Attributes;

const BLOCK_SIZE: usize = 512;
/// The size of an archive without entries in bytes, padded as by GNU tar.
///
/// It must differ from the size that builders write, so that the digests differ: an engine with containerd's store that
/// has a layer with this digest at the same position does not fetch the blob that another builder has pushed, and then
/// cannot read the config of the image.
const EMPTY_ARCHIVE_SIZE: usize = 20 * BLOCK_SIZE;

/// A reader of the tar archive of a layer. The bytes depend only on the layer, because entries are sorted by path.
pub(crate) struct LayerTarReader {
    /// The parts that were not read yet, in reverse order.
    rest: Vec<TarPart>,
    current: Box<dyn Read + Send>,
}

enum TarPart {
    Bytes(Vec<u8>),
    File { content: FileContent, modified: i64 },
}

impl LayerTarReader {
    pub(crate) fn new(layer: FinishedLayer) -> io::Result<Self> {
        let mut parts = Vec::new();
        let mut first_names: HashMap<usize, String> = HashMap::new();
        for (path, change) in layer.changes {
            if path.is_empty() {
                // The root is not part of a layer.
                continue;
            }
            match change {
                LayerChange::Directory(attributes) => {
                    parts.push(tar_header(EntryType::Directory, &format!("{path}/"), &attributes, 0, None)?);
                }
                LayerChange::Link(target, attributes) => {
                    parts.push(tar_header(EntryType::Symlink, &path, &attributes, 0, Some(&target))?);
                }
                LayerChange::File(number, attributes) => {
                    if let Some(first) = first_names.get(&number) {
                        parts.push(tar_header(EntryType::Link, &path, &attributes, 0, Some(first))?);
                        continue;
                    }
                    let content = layer.contents[number].clone();
                    let size = content.size();
                    parts.push(tar_header(EntryType::Regular, &path, &attributes, size, None)?);
                    parts.push(TarPart::File { content, modified: attributes.modified });
                    let padding = size.next_multiple_of(BLOCK_SIZE as u64) - size;
                    parts.push(TarPart::Bytes(vec![0; usize::try_from(padding).unwrap_or_default()]));
                    first_names.insert(number, path);
                }
            }
        }
        let end = if parts.is_empty() { EMPTY_ARCHIVE_SIZE } else { 2 * BLOCK_SIZE };
        parts.push(TarPart::Bytes(vec![0; end]));
        parts.reverse();
        Ok(Self { rest: parts, current: Box::new(io::empty()) })
    }
}

/// Returns the blocks that precede the content of an entry.
fn tar_header(
    kind: EntryType,
    path: &str,
    attributes: &Attributes,
    size: u64,
    target: Option<&str>,
) -> io::Result<TarPart> {
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
    // The builder would add the end of an archive.
    Ok(TarPart::Bytes(std::mem::take(builder.get_mut())))
}

impl Read for LayerTarReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.current = match self.rest.pop() {
                None => return Ok(0),
                Some(TarPart::Bytes(bytes)) => Box::new(Cursor::new(bytes)),
                Some(TarPart::File { content: FileContent::Text(text), .. }) => {
                    Box::new(Cursor::new(text.into_bytes()))
                }
                Some(TarPart::File { content: FileContent::Path { path, size }, modified }) => {
                    let file = File::open(&path)?;
                    let found = file.metadata()?;
                    if !found.is_file() || found.len() != size || found.mtime() != modified {
                        return Err(io::Error::other(format!("{} has changed", path.display())));
                    }
                    Box::new(ExactLengthReader { file, remaining: size })
                }
            };
        }
    }
}

/// A reader of a file that fails if the file has fewer bytes than its header declares.
struct ExactLengthReader {
    file: File,
    remaining: u64,
}

impl Read for ExactLengthReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.remaining).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(io::Error::other("a file of the build context was truncated while it was read"));
        }
        self.remaining -= read as u64;
        Ok(read)
    }
}
