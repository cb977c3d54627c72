//! Images in the data root of an engine on this machine.
//!
//! `docker save` writes every layer of an image to the disk before it sends the first byte. If larder may read the
//! engine's files, it can read a single layer: Docker stores the unpacked files, and separately the rest of the archive
//! (tar-split), so that the archive can be reassembled byte for byte.
//!
//! ```text
//!  ROOT/image/overlay2/imagedb/content/sha256/ID                 the config
//!  ROOT/image/overlay2/layerdb/sha256/CHAIN/cache-id             the directory of the layer
//!  ROOT/image/overlay2/layerdb/sha256/CHAIN/size                 the size of its files
//!  ROOT/image/overlay2/layerdb/sha256/CHAIN/tar-split.json.gz    its archive without content
//!  ROOT/overlay2/CACHE-ID/diff/…                                 its files
//! ```
//!
//! That layout is internal to Docker (`layer/filestore.go`, `image/fs.go`). It has been the same from 1.10 to 29, but
//! its readers must verify all digests and have a fallback.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, Cursor, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use flate2::read::GzDecoder;
use serde::Deserialize;

use super::{Engine, EngineError};

const DRIVER: &str = "overlay2";

/// The directory in which an engine with the overlay2 driver stores its images.
#[derive(Debug, Clone)]
pub(crate) struct DataRoot(PathBuf);

/// The archive of a layer, reassembled while it is read.
pub(crate) struct LayerReader {
    pieces: TarSplitPieces,
    files: Dir,
    current: Box<dyn Read>,
}

/// A line of `tar-split.json.gz` (vbatts/tar-split, `tar/storage/entry.go`).
#[derive(Deserialize)]
struct TarSplitLine {
    #[serde(rename = "type")]
    kind: u8,
    name: Option<String>,
    /// The file name in base64, if it is not UTF-8.
    name_raw: Option<String>,
    /// Size of the file's content in bytes.
    #[serde(default)]
    size: u64,
    /// The bytes of a segment in base64, or the checksum of a file.
    payload: Option<String>,
}

enum TarSplitPiece {
    Segment(Vec<u8>),
    /// A file of the layer, and the size of its content.
    File(PathBuf, u64),
}

type TarSplitPieces = Box<dyn Iterator<Item = io::Result<TarSplitPiece>>>;

impl Engine {
    /// Returns the data root of an engine with the overlay2 driver, if that directory exists on this machine. It may
    /// belong to a different engine; that is excluded only when an image of the engine is found in it.
    pub(crate) async fn data_root(&self) -> Result<Option<DataRoot>, EngineError> {
        let info = self.info().await?;
        let root = info.docker_root_dir.filter(|_| info.driver.as_deref() == Some(DRIVER));
        Ok(root.map(PathBuf::from).filter(|root| root.join("image").join(DRIVER).is_dir()).map(DataRoot))
    }
}

impl DataRoot {
    pub(crate) fn config(&self, hex: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join("image").join(DRIVER).join("imagedb/content/sha256").join(hex))
    }

    /// Returns the size of the files of the layer with the chain id `chain` (hex digits), in bytes.
    pub(crate) fn layer_size(&self, chain: &str) -> io::Result<u64> {
        let layer = self.0.join("image").join(DRIVER).join("layerdb/sha256").join(chain);
        fs::read_to_string(layer.join("size"))?.trim().parse().map_err(io::Error::other)
    }

    /// Opens the uncompressed archive of the layer with the chain id `chain` (hex digits). Returns it with its size in
    /// bytes.
    pub(crate) fn layer(&self, chain: &str) -> io::Result<(LayerReader, u64)> {
        let layer = self.0.join("image").join(DRIVER).join("layerdb/sha256").join(chain);
        let directory = fs::read_to_string(layer.join("cache-id"))?;
        let files = self.0.join(DRIVER).join(directory.trim()).join("diff");
        let files = Dir::open_ambient_dir(files, ambient_authority())?;
        let split = layer.join("tar-split.json.gz");
        let mut size = 0;
        for piece in tar_split_pieces(&split)? {
            size += match piece? {
                TarSplitPiece::Segment(bytes) => bytes.len() as u64,
                TarSplitPiece::File(_, size) => size,
            };
        }
        let pieces = tar_split_pieces(&split)?;
        Ok((LayerReader { pieces, files, current: Box::new(io::empty()) }, size))
    }
}

fn tar_split_pieces(path: &Path) -> io::Result<TarSplitPieces> {
    let text = BufReader::new(GzDecoder::new(BufReader::new(File::open(path)?)));
    let lines = serde_json::Deserializer::from_reader(text).into_iter();
    Ok(Box::new(lines.map(|line| tar_split_piece(line?))))
}

fn tar_split_piece(line: TarSplitLine) -> io::Result<TarSplitPiece> {
    let decode = |text: &str| STANDARD.decode(text).map_err(io::Error::other);
    match line.kind {
        1 => {
            let name = match (line.name_raw, line.name) {
                (Some(raw), _) => decode(&raw)?,
                (None, name) => name.unwrap_or_default().into_bytes(),
            };
            Ok(TarSplitPiece::File(PathBuf::from(OsString::from_vec(name)), line.size))
        }
        2 => Ok(TarSplitPiece::Segment(decode(line.payload.as_deref().unwrap_or_default())?)),
        kind => Err(io::Error::other(format!("unknown tar-split entry type {kind}"))),
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.current = match self.pieces.next().transpose()? {
                None => return Ok(0),
                Some(TarSplitPiece::Segment(bytes)) => Box::new(Cursor::new(bytes)),
                // Directories, links and devices have only a header in the archive.
                Some(TarSplitPiece::File(_, 0)) => Box::new(io::empty()),
                Some(TarSplitPiece::File(path, size)) => Box::new(self.files.open(path)?.take(size)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    const CHAIN: &str = "c0ffee";

    /// Creates a data root with one layer and these lines of tar-split; returns it with the directory of the layer's
    /// files.
    fn root(lines: &[serde_json::Value]) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let layer = root.path().join("image/overlay2/layerdb/sha256").join(CHAIN);
        let files = root.path().join("overlay2/own/diff");
        fs::create_dir_all(&layer).unwrap();
        fs::create_dir_all(&files).unwrap();
        fs::write(layer.join("cache-id"), "own").unwrap();
        let mut split = GzEncoder::new(Vec::new(), Compression::fast());
        for line in lines {
            writeln!(split, "{line}").unwrap();
        }
        fs::write(layer.join("tar-split.json.gz"), split.finish().unwrap()).unwrap();
        (root, files)
    }

    fn read(root: &tempfile::TempDir) -> io::Result<(Vec<u8>, u64)> {
        let (mut reader, size) = DataRoot(root.path().to_owned()).layer(CHAIN)?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok((bytes, size))
    }

    fn segment(bytes: &[u8]) -> serde_json::Value {
        json!({ "type": 2, "payload": STANDARD.encode(bytes), "position": 0 })
    }

    #[test]
    fn a_layer_archive_is_assembled_from_its_headers_and_files() {
        let (root, files) = root(&[
            segment(b"[header of d]"),
            json!({ "type": 1, "name": "d/", "payload": null }),
            segment(b"[header of d/a]"),
            json!({ "type": 1, "name": "d/a", "size": 5, "payload": "AAAAAAAAAAA=" }),
            segment(b"[padding, header of \xff]"),
            json!({ "type": 1, "name_raw": STANDARD.encode(b"\xff"), "size": 3 }),
            segment(b"[end]"),
        ]);
        fs::create_dir(files.join("d")).unwrap();
        fs::write(files.join("d/a"), "hello and more").unwrap();
        fs::write(files.join(std::ffi::OsStr::from_bytes(b"\xff")), "raw").unwrap();
        let expected = b"[header of d][header of d/a]hello[padding, header of \xff]raw[end]";
        assert_eq!(read(&root).unwrap(), (expected.to_vec(), expected.len() as u64));
    }

    #[test]
    fn files_outside_the_layer_and_damaged_metadata_are_refused() {
        let file = |name: &str| json!({ "type": 1, "name": name, "size": 5 });
        for lines in
            [file("missing"), file("../../secret"), file("/etc/passwd"), file("link"), json!({"type": 3})]
        {
            let (root, files) = root(std::slice::from_ref(&lines));
            fs::write(root.path().join("overlay2/secret"), "12345").unwrap();
            std::os::unix::fs::symlink("../../secret", files.join("link")).unwrap();
            assert!(read(&root).is_err(), "{lines}");
        }
        let (root, _) = root(&[segment(b"x")]);
        let split = root.path().join("image/overlay2/layerdb/sha256").join(CHAIN).join("tar-split.json.gz");
        fs::write(split, "not gzip").unwrap();
        assert!(read(&root).is_err());
    }
}
