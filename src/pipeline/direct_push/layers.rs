//! Reads the layers of an image from an engine with a graph driver: one by one from its data root, or all of them from
//! `docker save`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use tar::{Archive, EntryType};

use crate::digest::Digest;
use crate::engine::{ArchiveReader, DataRoot};
use crate::images::chain_ids;

const MAX_CONFIG_SIZE: u64 = 8 << 20;

/// A callback that receives a layer, and its diff id if that is known before the layer is read. Returns the actual diff
/// id.
pub(super) type LayerSink<'a> = dyn FnMut(Option<Digest>, &mut dyn Read) -> io::Result<Digest> + 'a;

pub(super) struct RootLayers {
    root: DataRoot,
    /// The original bytes of the config.
    pub(super) config: Vec<u8>,
    /// Chain ids and sizes by diff id. The sizes are those of the files alone, in bytes.
    layers: BTreeMap<Digest, (Digest, u64)>,
}

impl RootLayers {
    /// Finds the image in a data root. Returns `None` if the directory cannot be read or belongs to a different engine.
    pub(super) fn find(root: DataRoot, id: Digest, diff_ids: &[String]) -> Option<Self> {
        let config = root.config(&id.hex()).ok().filter(|config| Digest::of(config) == id)?;
        let mut layers = BTreeMap::new();
        for (diff_id, chain) in diff_ids.iter().zip(chain_ids(diff_ids)) {
            layers.insert(diff_id.parse().ok()?, (chain, root.layer_size(&chain.hex()).ok()?));
        }
        Some(Self { root, config, layers })
    }

    pub(super) fn size(&self, diff_id: &Digest) -> u64 {
        self.layers.get(diff_id).map_or(0, |(_, size)| *size)
    }

    pub(super) fn read(&self, wanted: &BTreeSet<Digest>, take: &mut LayerSink<'_>) -> io::Result<()> {
        for diff_id in wanted {
            let (chain, _) = self.layers.get(diff_id).ok_or(io::ErrorKind::NotFound)?;
            let (mut layer, _) = self.root.layer(&chain.hex())?;
            take(Some(*diff_id), &mut layer)?;
        }
        Ok(())
    }
}

/// Reads the wanted layers and the config of the image `id` from its archive, as `docker save` writes it. Returns the
/// original bytes of the config.
///
/// Before Docker 25, layers in the archive are not named by their diff ids. Then all of them are passed to `take` until
/// none is missing.
pub(super) fn read_saved(
    archive: ArchiveReader,
    id: Digest,
    wanted: &BTreeSet<Digest>,
    take: &mut LayerSink<'_>,
) -> io::Result<Vec<u8>> {
    let mut missing = wanted.clone();
    let mut config = None;
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let path = entry.path()?.into_owned();
        let digest = named_digest(&path);
        if digest == Some(id) {
            let mut bytes = Vec::new();
            entry.by_ref().take(MAX_CONFIG_SIZE).read_to_end(&mut bytes)?;
            config = Some(bytes).filter(|bytes| Digest::of(bytes) == id);
        } else if digest.is_some_and(|digest| missing.remove(&digest)) {
            take(digest, &mut entry)?;
        } else if digest.is_none() && path.ends_with("layer.tar") && !missing.is_empty() {
            missing.remove(&take(None, &mut entry)?);
        }
    }
    match config {
        Some(config) if missing.is_empty() => Ok(config),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "a part of the image is missing from its archive")),
    }
}

/// Returns the digest in the path `blobs/sha256/HEX` or `HEX.json`.
fn named_digest(path: &Path) -> Option<Digest> {
    let name = path.to_str()?;
    let hex = name.strip_prefix("blobs/sha256/").or_else(|| name.strip_suffix(".json"))?;
    format!("sha256:{hex}").parse().ok()
}
