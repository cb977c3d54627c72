//! Reads images from an engine and compares them.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::engines::Engine;

/// The contents of an image, without its names.
#[derive(Debug, PartialEq)]
pub(crate) struct Image {
    /// The fields of `docker inspect` that describe the image.
    pub(crate) inspected: Value,
    /// The image config, or null if the engine cannot save the image.
    pub(crate) config: Value,
    /// The entries of each layer's archive.
    layers: Vec<Vec<Entry>>,
}

/// An entry of a tar archive: its time in seconds, its content, and its other attributes in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) time: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) attributes: String,
}

impl Image {
    /// Reads the image `name` from an engine.
    #[track_caller]
    pub(crate) fn from_engine(engine: &Engine, name: &str) -> Self {
        let inspected = engine.inspect(name);
        assert!(inspected.is_object(), "{} has no image {name}", engine.name);
        let fields = ["Architecture", "Author", "Config", "Os", "RootFS", "Size", "Variant"];
        let inspected: Value =
            fields.iter().map(|field| ((*field).to_owned(), inspected[field].clone())).collect();
        if inspected["RootFS"]["Layers"].is_null() {
            // Old engines cannot save an image without layers.
            return Self { inspected, config: Value::Null, layers: Vec::new() };
        }
        let archive = Archive::from_engine(engine, name);
        Self { inspected, config: archive.config(), layers: archive.layers() }
    }

    /// Removes the times after `start`, which depend on when the steps ran.
    ///
    /// The digest of a layer with such times is removed, too, and so are all sizes, because the sizes of compressed
    /// layers depend on times.
    pub(crate) fn without_build_times(mut self, start: SystemTime) -> Self {
        let start = start.duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs();
        self.inspected["Size"] = Value::Null;
        self.config["created"] = Value::Null;
        for entry in self.config["history"].as_array_mut().into_iter().flatten() {
            entry["created"] = Value::Null;
        }
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let recent = layer.iter_mut().filter(|entry| entry.time >= start);
            let recent = recent.map(|entry| entry.time = start).count();
            // For each step, the engine creates and removes mount points in /etc. Whether the new time of /etc becomes
            // part of the layer depends on timing.
            layer.retain(|entry| !(entry.time == start && entry.attributes.starts_with("etc Directory")));
            if recent > 0 || layer.is_empty() {
                self.inspected["RootFS"]["Layers"][index] = Value::Null;
                self.config["rootfs"]["diff_ids"][index] = Value::Null;
            }
        }
        self
    }

    /// Returns the lines of `self` that `other` does not have.
    fn without(&self, other: &Self) -> String {
        let lines = |image: &Self| -> Vec<String> {
            let json = serde_json::to_string_pretty(&[&image.inspected, &image.config]).expect("JSON");
            let entries = image.layers.iter().enumerate().flat_map(|(index, layer)| {
                layer.iter().map(move |Entry { time, content, attributes: rest }| {
                    let content = String::from_utf8_lossy(&content[..content.len().min(200)]).into_owned();
                    format!("layer {index}: {rest}, time {time}, {content:?}")
                })
            });
            json.lines().map(|line| line.trim().to_owned()).chain(entries).collect()
        };
        let others = lines(other);
        lines(self)
            .iter()
            .filter(|line| !others.contains(line))
            .fold(String::new(), |text, line| text + "    " + line + "\n")
    }

    /// Asserts that larder's image equals docker's. The failure message contains only the differences.
    #[track_caller]
    pub(crate) fn assert_equals(&self, peer: &Self, label: &str) {
        let (larder_only, docker_only) = (self.without(peer), peer.without(self));
        assert!(
            self == peer,
            "{label}: the images differ\n  larder has\n{larder_only}  docker has\n{docker_only}"
        );
    }
}

/// Returns the entries of a tar archive, which may be compressed with gzip, in their order.
pub(crate) fn entries(archive: &[u8]) -> Vec<Entry> {
    let mut unpacked = Vec::new();
    let archive = if archive.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(archive).read_to_end(&mut unpacked).expect("gzip");
        &unpacked
    } else {
        archive
    };
    let mut found = Vec::new();
    for entry in tar::Archive::new(archive).entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("the entry's content");
        let extensions: Vec<String> = (entry.pax_extensions().expect("extensions").into_iter().flatten())
            .map(|extension| {
                String::from_utf8_lossy(extension.expect("an extension").value_bytes()).into_owned()
            })
            .collect();
        let header = entry.header();
        let rest = format!(
            "{} {:?} {:o} {}:{} to {:?} with {extensions:?}, {} bytes",
            String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/'),
            header.entry_type(),
            header.mode().expect("a mode") & 0o7777,
            header.uid().expect("an owner"),
            header.gid().expect("a group"),
            entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned()),
            content.len()
        );
        found.push(Entry { time: header.mtime().expect("a time"), content, attributes: rest });
    }
    found
}

/// The files of an image archive, as written by `docker save` or by an output of `type=docker` or `type=oci`.
pub(crate) struct Archive(BTreeMap<String, Vec<u8>>);

impl Archive {
    pub(crate) fn read(tar: &[u8]) -> Self {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for entry in tar::Archive::new(tar).entries().expect("a tar archive") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("the entry's content");
            if entry.header().entry_type().is_symlink() {
                // Old engines save equal layers only once.
                let target =
                    entry.link_name().expect("a link").expect("a target").to_string_lossy().into_owned();
                content.clone_from(&files[target.trim_start_matches("../")]);
            }
            files.insert(path, content);
        }
        Self(files)
    }

    /// Returns the archive of an image in an engine.
    #[track_caller]
    pub(crate) fn from_engine(engine: &Engine, name: &str) -> Self {
        Self::read(&engine.save(name))
    }

    fn file(&self, path: &str) -> &[u8] {
        self.0.get(path).unwrap_or_else(|| panic!("{path} is not among {:?}", self.0.keys()))
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(self.file(path)).expect("JSON")
    }

    /// Returns the config of the image.
    pub(crate) fn config(&self) -> Value {
        self.json(self.json("manifest.json")[0]["Config"].as_str().expect("a config"))
    }

    fn layers(&self) -> Vec<Vec<Entry>> {
        let manifest = self.json("manifest.json");
        let layers = manifest[0]["Layers"].as_array().expect("layers").iter();
        layers.map(|layer| entries(self.file(layer.as_str().expect("a path")))).collect()
    }

    fn blob(&self, descriptor: &Value) -> Value {
        let digest = descriptor["digest"].as_str().expect("a digest");
        self.json(&format!("blobs/{}", digest.replace(':', "/")))
    }

    /// Returns the descriptors of all manifests, including attestations. The archive must be an OCI layout.
    pub(crate) fn descriptors(&self) -> Vec<Value> {
        let mut waiting = vec![self.json("index.json")];
        let mut found = Vec::new();
        while let Some(index) = waiting.pop() {
            for descriptor in index["manifests"].as_array().expect("manifests") {
                if descriptor["mediaType"].as_str().is_some_and(|kind| kind.contains("index")) {
                    waiting.push(self.blob(descriptor));
                } else {
                    found.push(descriptor.clone());
                }
            }
        }
        found
    }

    /// Returns the manifest of the image, which is the first one that is not an attestation. The archive must be an OCI
    /// layout.
    pub(crate) fn manifest(&self) -> Value {
        let unknown = json!("unknown");
        let descriptors = self.descriptors();
        let mut images = descriptors.iter().filter(|descriptor| descriptor["platform"]["os"] != unknown);
        self.blob(images.next().expect("a manifest"))
    }
}
