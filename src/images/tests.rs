//! Tests with archives of every layout, complete and damaged.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::digest::Digest;
use crate::store::backend::DirectoryBackend;
use crate::store::{ChunkRef, Entry, EntryKind, Lane, Store, StoreOptions, Subject, Trust};

/// A size above the limit of files that are kept in memory, in bytes.
const LARGE: usize = 3 << 20;

/// The files of an archive, in order.
type Files = Vec<(String, Vec<u8>)>;

fn store(directory: &Path) -> Store {
    let lane = Lane::try_from("main".to_owned()).unwrap();
    Store::new(Arc::new(DirectoryBackend::new(directory)), None, StoreOptions::of(lane))
}

fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(size).collect()
}

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        if let Some((path, target)) = path.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder.append_link(&mut header, path, target).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, &content[..]).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        assert!(files.insert(path.clone(), content).is_none(), "{path} is in the archive twice");
    }
    files
}

/// Returns the content of the file at a path.
fn file<'a>(files: &'a mut Files, path: &str) -> &'a mut Vec<u8> {
    &mut files.iter_mut().find(|(known, _)| known == path).unwrap().1
}

fn id_of(bytes: &[u8]) -> Digest {
    Digest::of(bytes)
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| id_of(layer).to_string()).collect();
    let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    config.to_string().into_bytes()
}

fn layers() -> [Vec<u8>; 3] {
    [noise(1, LARGE), b"a small layer".to_vec(), noise(2, LARGE + 1)]
}

/// Returns an archive as written by engines before 25: layers first, descriptions last. The last layer is a link to the
/// first one.
fn docker_archive() -> (Digest, Files) {
    let [a, b, c] = layers();
    let config = config(&[&a, &b, &c, &a]);
    let id = id_of(&config);
    let manifest = json!([{ "Config": format!("{}.json", id.hex()), "RepoTags": ["app:1"],
        "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar", "4/layer.tar"] }]);
    let files = vec![
        ("1/VERSION".to_owned(), b"1.0".to_vec()),
        ("1/layer.tar".to_owned(), a),
        ("3/layer.tar".to_owned(), c),
        ("2/layer.tar".to_owned(), b),
        ("4/layer.tar -> ../1/layer.tar".to_owned(), Vec::new()),
        (format!("{}.json", id.hex()), config),
        ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
    ];
    (id, files)
}

/// Returns an archive as written by containerd's store: compressed layers, a nested index, an attestation, and the
/// manifest of a different platform without its content.
fn containerd_archive() -> (Digest, Files) {
    let [a, b, c] = layers();
    let config = config(&[b"plain a", b"plain b", b"plain c"]);
    let descriptor = |kind: &str, bytes: &[u8]| json!({ "mediaType": format!("application/vnd.oci.image.{kind}+json"), "digest": id_of(bytes), "size": bytes.len() });
    let manifest = |config: &[u8], layers: &[&[u8]]| {
        let layers: Vec<Value> = layers.iter().map(|layer| descriptor("layer", layer)).collect();
        json!({ "schemaVersion": 2, "config": descriptor("config", config), "layers": layers })
            .to_string()
            .into_bytes()
    };
    let image = manifest(&config, &[&a, &b, &c]);
    let statement = b"{\"_type\":\"statement\"}".to_vec();
    let attestation = manifest(b"{}", &[&statement]);
    let manifests = json!([
        descriptor("manifest", &image),
        descriptor("manifest", &attestation),
        descriptor("manifest", b"elsewhere")
    ]);
    let nested = json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes();
    let id = id_of(&nested);
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor("index", &nested)] });
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", id_of(bytes).hex());
    let docker =
        json!([{ "Config": path(&config), "RepoTags": null, "Layers": [path(&a), path(&b), path(&c)] }]);
    let mut files: Files =
        [a, b, c, config, image, statement, attestation, b"{}".to_vec(), nested, b"of no image".to_vec()]
            .into_iter()
            .map(|blob| (path(&blob), blob))
            .collect();
    files.extend([
        ("index.json".to_owned(), index.to_string().into_bytes()),
        ("manifest.json".to_owned(), docker.to_string().into_bytes()),
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
    ]);
    (id, files)
}

fn saved(store: &Store, id: Digest, archive: &[u8]) -> Result<Entry, SaveImageError> {
    saved_with(store, id, archive, (&[], true))
}

/// Saves an image with layers of which the engine has reported the digests.
fn saved_with(
    store: &Store,
    id: Digest,
    archive: &[u8],
    known: (&[String], bool),
) -> Result<Entry, SaveImageError> {
    save(store, archive, destination(id, known)).map(|saved| saved.saved.entry)
}

fn destination(id: Digest, (diff_ids, plain): (&[String], bool)) -> ImageDestination {
    ImageDestination {
        key: Digest::of(b"key"),
        id,
        platform: "linux/amd64".to_owned(),
        subject: Subject { title: "app:1".to_owned(), ..Subject::default() },
        diff_ids: diff_ids.to_vec(),
        plain,
    }
}

fn sent(store: &Store, entry: &Entry, form: ArchiveLayout, present: usize) -> BTreeMap<String, Vec<u8>> {
    let listing = read_listing(store, entry).unwrap();
    let archive = Mutex::new(Vec::new());
    let layers = present..listing.layers.len();
    let parcel = if form == ArchiveLayout::Docker {
        LoadArchive::docker(&listing, layers)
    } else {
        LoadArchive::oci(&listing, present)
    };
    let faults = parcel
        .send(store, entry, |part| {
            archive.lock().unwrap().extend_from_slice(&part);
            Ok(())
        })
        .unwrap();
    assert!(faults.is_empty());
    files(&archive.into_inner().unwrap())
}

fn text(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
    serde_json::from_slice(&files[path]).unwrap()
}

#[test]
fn an_archive_in_dockers_layout_is_restored_with_the_missing_layers() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path());
    let (id, archive) = docker_archive();
    let entry = saved(&store, id, &tar(&archive)).unwrap();
    let subject = &entry.manifest.subject;
    assert_eq!((subject.files, entry.manifest.address.family.as_str()), (4, "linux/amd64"));
    assert!(subject.bytes > 2 * LARGE as u64 && subject.bytes < 2 * LARGE as u64 + 1000, "{}", subject.bytes);

    let [a, b, c] = layers();
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", id_of(bytes).hex());
    let layers = [path(&a), path(&b), path(&c), path(&a)];
    for (present, there) in [(0, vec![&a, &b, &c]), (1, vec![&a, &b, &c]), (3, vec![&a]), (4, vec![])] {
        let files = sent(&store, &entry, ArchiveLayout::Docker, present);
        assert_eq!(files.len(), there.len() + 2, "without {present}");
        for layer in there {
            assert!(files[&path(layer)] == *layer, "without {present}");
        }
        assert_eq!(id_of(&files[&format!("blobs/sha256/{}", id.hex())]), id);
        let manifest = text(&files, "manifest.json");
        assert_eq!(manifest[0]["Layers"], json!(layers));
        assert_eq!(manifest[0]["RepoTags"], Value::Null, "a load must not take names from other images");
    }
    // containerd's store requires a manifest, which such an archive lacks.
    let files = sent(&store, &entry, ArchiveLayout::Oci, 0);
    let root = text(&files, "index.json")["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let manifest = text(&files, &format!("blobs/{root}"));
    assert_eq!(manifest["config"]["digest"], json!(id));
    assert_eq!(
        manifest["layers"][3],
        json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": id_of(&a), "size": LARGE })
    );
}

#[test]
fn an_archive_of_containerds_store_is_restored_unchanged() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path());
    let (id, archive) = containerd_archive();
    let entry = saved(&store, id, &tar(&archive)).unwrap();
    let files = sent(&store, &entry, ArchiveLayout::Oci, 0);
    assert_eq!(text(&files, "index.json")["manifests"][0]["digest"], json!(id));
    for (path, content) in archive.iter().filter(|(path, _)| path.starts_with("blobs/")) {
        let is_wanted = content != b"of no image";
        assert!((files.get(path) == Some(content)) == is_wanted, "{path}");
    }
    // Layers that the engine has are not sent.
    let lower = sent(&store, &entry, ArchiveLayout::Oci, 2);
    assert_eq!(lower.len(), files.len() - 2);
    assert_eq!(lower["index.json"], files["index.json"]);
    // A graph driver accepts the layers as they are.
    let files = sent(&store, &entry, ArchiveLayout::Docker, 0);
    assert_eq!(files.len(), 3 + 2);
}

#[test]
fn a_large_image_is_split_into_two_large_parts() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path());
    let (id, archive) = docker_archive();
    let entry = saved(&store, id, &tar(&archive)).unwrap();
    let listing = read_listing(&store, &entry).unwrap();
    // The layers are large, small, large, and the first one again.
    assert_eq!(listing.split_index(0, 1), Some(2));
    assert_eq!(listing.split_index(1, 1), Some(3));
    assert_eq!(listing.split_index(0, 2 * LARGE as u64 + 100), None);
    assert_eq!(listing.split_index(3, 1), None);
    assert_eq!(listing.split_index(4, 1), None);
    let archive = Mutex::new(Vec::new());
    LoadArchive::docker(&listing, 1..3)
        .send(&store, &entry, |part| {
            archive.lock().unwrap().extend_from_slice(&part);
            Ok(())
        })
        .unwrap();
    let files = files(&archive.into_inner().unwrap());
    assert_eq!(files.len(), 4);
    let manifest = text(&files, "manifest.json");
    assert_eq!(manifest[0]["Layers"].as_array().unwrap().len(), 3);
    let config = text(&files, manifest[0]["Config"].as_str().unwrap());
    assert_eq!(config["rootfs"]["diff_ids"], json!(listing.diff_ids[..3]));
    assert_eq!((&config["os"], &config["architecture"]), (&json!("linux"), &json!("amd64")));
}

#[test]
fn shared_layers_are_stored_once() {
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path());
    let [a, b, _] = layers();
    let mut stored = Vec::new();
    for number in 0..5_u64 {
        let own = noise(10 + number, 100_000);
        let config = config(&[&a, &b, &own]);
        let id = id_of(&config);
        let manifest = json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["a", "b", "own"] }]);
        let files = [
            ("a".to_owned(), a.clone()),
            ("b".to_owned(), b.clone()),
            ("own".to_owned(), own),
            ("c.json".to_owned(), config),
            ("manifest.json".to_owned(), manifest.to_string().into_bytes()),
        ];
        let destination = ImageDestination {
            key: Digest::of(&number.to_le_bytes()),
            id,
            platform: "linux/amd64".to_owned(),
            subject: Subject::default(),
            diff_ids: Vec::new(),
            plain: true,
        };
        stored.push(save(&store, &tar(&files)[..], destination).unwrap().saved.added_bytes);
    }
    assert!(stored[0] > LARGE as u64, "{stored:?}");
    assert!(stored[1..].iter().all(|added| *added < 150_000), "{stored:?}");
}

#[test]
fn an_archive_that_is_damaged_or_of_a_different_image_is_refused() {
    type Harm = fn(&mut Files);
    let place = tempfile::tempdir().unwrap();
    let store = store(place.path());
    let docker: [(Harm, &str); 7] = [
        (|files| files.retain(|(path, _)| path != "manifest.json"), "manifest.json is missing"),
        (|files| files.retain(|(path, _)| path != "2/layer.tar"), "a layer is missing"),
        (|files| file(files, "2/layer.tar").push(1), "does not match its digest"),
        (
            |files| files.iter_mut().filter(|file| file.0.len() > 60).for_each(|file| file.1.push(b' ')),
            "a different image",
        ),
        (|files| *file(files, "manifest.json") = b"[]".to_vec(), "does not describe exactly one image"),
        (
            |files| {
                *file(files, "manifest.json") = br#"[{"Config":"../../etc/passwd","Layers":[]}]"#.to_vec();
            },
            "the config is missing",
        ),
        (
            |files| files.iter_mut().for_each(|file| file.0 = file.0.replace(" -> ../1", " -> ../../1")),
            "a layer is missing",
        ),
    ];
    for (harm, reason) in docker {
        let (id, mut files) = docker_archive();
        harm(&mut files);
        let error = saved(&store, id, &tar(&files)).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}: {reason}");
    }
    let (id, mut files) = containerd_archive();
    let path = files[1].0.clone();
    *file(&mut files, &path) = b"another layer".to_vec();
    let error = saved(&store, id, &tar(&files)).unwrap_err().to_string();
    assert!(error.contains("digest in its name"), "{error}");
    let (_, files) = containerd_archive();
    let error = saved(&store, Digest::of(b"another"), &tar(&files)).unwrap_err().to_string();
    assert!(error.contains("a different image"), "{error}");
    // A truncated archive is invalid, wherever it is cut.
    let (id, files) = docker_archive();
    let whole = tar(&files);
    for part in [0, 100, 2000, LARGE / 2, LARGE + 5000, 2 * LARGE + 6000] {
        assert!(saved(&store, id, &whole[..part]).is_err(), "{part} bytes");
    }
    assert!(store.find(EntryKind::Image, "linux/amd64", Digest::of(b"key"), true).entry.is_none());
}

#[test]
fn layers_of_earlier_entries_are_reused_without_reading_the_archive() {
    for (plain, (id, mut files)) in [(true, docker_archive()), (false, containerd_archive())] {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let first = saved(&store, id, &tar(&files)).unwrap();
        let whole = sent(&store, &first, ArchiveLayout::Docker, 0);
        let diff_ids = read_listing(&store, &first).unwrap().diff_ids;
        // These layers are invalid, so that reading them would be noticed.
        for (_, content) in files.iter_mut().filter(|(_, content)| content.len() > LARGE - 1) {
            content.fill(0);
        }
        let second = saved_with(&store, id, &tar(&files), (&diff_ids, plain)).unwrap();
        assert_eq!(sent(&store, &second, ArchiveLayout::Docker, 0), whole);
        assert_eq!(second.manifest.added_bytes, 0);
        // The layers come from the second entry as well as from the first.
        let third = saved_with(&store, id, &tar(&files), (&diff_ids, plain)).unwrap();
        assert_eq!(sent(&store, &third, ArchiveLayout::Docker, 0), whole);
        // Layers of other images and layers in a different form are not reused.
        for known in [(&["another".to_owned()][..], plain), (&diff_ids[..], !plain)] {
            let own = saved_with(&store, id, &tar(&files), known).unwrap();
            assert_ne!(sent(&store, &own, ArchiveLayout::Docker, 0), whole);
            let bytes = |entry: &Entry| entry.chunk_offsets().pop().unwrap();
            assert!(bytes(&own) <= bytes(&first) + 100, "it contains only its own layers");
            saved_with(&store, id, &tar(&files), (&diff_ids, plain)).unwrap();
        }
    }
}

#[test]
fn a_layer_that_differs_from_the_earlier_entry_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path());
    let (id, mut files) = docker_archive();
    let first = saved(&store, id, &tar(&files)).unwrap();
    let diff_ids = read_listing(&store, &first).unwrap().diff_ids;
    let whole = sent(&store, &first, ArchiveLayout::Docker, 0);
    // A chunk of the layer is missing.
    std::fs::remove_file(directory.path().join(ChunkRef::path(&first.manifest.chunks[0].digest))).unwrap();
    let second = saved_with(&store, id, &tar(&files), (&diff_ids, true)).unwrap();
    assert_eq!(sent(&store, &second, ArchiveLayout::Docker, 0), whole);
    // The layer has a different size.
    file(&mut files, "1/layer.tar").push(0);
    let third = saved_with(&store, id, &tar(&files), (&diff_ids, true)).unwrap();
    assert_ne!(sent(&store, &third, ArchiveLayout::Docker, 0), whole);
}

#[test]
fn a_signing_job_reuses_signed_layers_only() {
    let directory = tempfile::tempdir().unwrap();
    let unsigned = store(directory.path());
    let seed = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let lane = Lane::try_from("main".to_owned()).unwrap();
    let terms = StoreOptions { trust: Trust::new(Some(seed), &[], false).unwrap(), ..StoreOptions::of(lane) };
    let signing = Store::new(Arc::new(DirectoryBackend::new(directory.path())), None, terms);
    let (id, mut files) = docker_archive();
    let archive = tar(&files);
    let first = saved(&unsigned, id, &archive).unwrap();
    let diff_ids = read_listing(&unsigned, &first).unwrap().diff_ids;
    let whole = sent(&unsigned, &first, ArchiveLayout::Docker, 0);
    for (_, content) in files.iter_mut().filter(|(_, content)| content.len() > LARGE - 1) {
        content.fill(0);
    }
    let own = saved_with(&signing, id, &tar(&files), (&diff_ids, true)).unwrap();
    assert_ne!(sent(&signing, &own, ArchiveLayout::Docker, 0), whole, "the archive was read");
    saved(&signing, id, &archive).unwrap();
    let own = saved_with(&signing, id, &tar(&files), (&diff_ids, true)).unwrap();
    assert_eq!(sent(&signing, &own, ArchiveLayout::Docker, 0), whole);
}

#[test]
fn only_layers_that_are_not_in_earlier_entries_are_opened() {
    let [a, b, c] = layers();
    let config = config(&[&a, &b, &c, &a]);
    let id = id_of(&config);
    let diff_ids: Vec<String> = [&a, &b, &c, &a].map(|layer| id_of(layer).to_string()).into();
    let contents = [a, b, c];
    let assembled = |store: &Store, config: &[u8], contents: &[Vec<u8>; 3]| {
        let mut opened = Vec::new();
        let saved = assemble(store, destination(id, (&diff_ids, true)), config, |place| {
            opened.push(place);
            let content = &contents[place % 3];
            Ok(LayerArchive { reader: Box::new(&content[..]), size: content.len() as u64 })
        });
        (saved.map(|saved| saved.saved.entry), opened)
    };
    let directory = tempfile::tempdir().unwrap();
    let (assembling, saving) = (store(directory.path()), tempfile::tempdir().unwrap());
    let other = [contents[0].clone(), contents[1].clone(), noise(3, LARGE + 1)];
    assert!(matches!(assembled(&assembling, &config, &other).0, Err(SaveImageError::Unusable(_))));
    assert!(matches!(assembled(&assembling, b"{}", &contents).0, Err(SaveImageError::Unusable(_))));
    assert!(assembling.recent(EntryKind::Image, "linux/amd64", 1).is_empty(), "nothing was saved");

    let (first, opened) = assembled(&assembling, &config, &contents);
    assert_eq!(opened, [0, 1, 2], "the last layer is the same as the first");
    let peer = store(saving.path());
    let (_, archive) = docker_archive();
    let saved = saved(&peer, id, &tar(&archive)).unwrap();
    let whole = sent(&peer, &saved, ArchiveLayout::Docker, 0);
    assert_eq!(sent(&assembling, &first.unwrap(), ArchiveLayout::Docker, 0), whole);

    let (second, opened) = assembled(&assembling, &config, &contents);
    assert_eq!(opened, [1], "small layers are read again");
    let second = second.unwrap();
    assert_eq!(sent(&assembling, &second, ArchiveLayout::Docker, 0), whole);
    assert!(second.manifest.added_bytes < 1000, "{}", second.manifest.added_bytes);
}

#[test]
fn an_image_in_an_earlier_entry_is_copied_without_reading_it() {
    for (id, archive) in [docker_archive(), containerd_archive()] {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        let again = ImageDestination { key: Digest::of(b"another key"), ..destination(id, (&[], true)) };
        assert!(copy_earlier(&store, &again).unwrap().is_none());
        let first = saved(&store, id, &tar(&archive)).unwrap();
        let copy = copy_earlier(&store, &again).unwrap().expect("an earlier entry").saved.entry;
        assert_eq!((copy.manifest.address.key, copy.manifest.added_bytes), (again.key, 0));
        assert_eq!(sent(&store, &copy, ArchiveLayout::Oci, 0), sent(&store, &first, ArchiveLayout::Oci, 0));
        let other = ImageDestination { id: Digest::of(b"another image"), ..again };
        assert!(copy_earlier(&store, &other).unwrap().is_none());
    }
}
