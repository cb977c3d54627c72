//! How base images are pinned to digests: from the engine, from the registry, or not at all.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::direct_server::{DirectServer, Product};
use crate::engines::{Engine, any_engine, engines};
use crate::registries::Registry;
use crate::support::{TestContext, json as json_file, sha256};

/// The media types of a manifest, an index, a config and a layer.
const OCI: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar+gzip",
];
const DOCKER: [&str; 4] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// Pushes images to a registry without an engine.
struct Pusher<'a> {
    registry: &'a Registry,
    types: [&'static str; 4],
    client: reqwest::Client,
    runtime: Runtime,
}

impl<'a> Pusher<'a> {
    fn new(registry: &'a Registry, types: [&'static str; 4]) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { registry, types, client, runtime: Runtime::new().unwrap() }
    }

    fn blob(&self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = format!("sha256:{}", sha256(&bytes));
        let size = bytes.len();
        self.runtime.block_on(async {
            let uploads = format!("http://{}/v2/base/blobs/uploads/", self.registry.host);
            let started = self.client.post(uploads).send().await.unwrap().error_for_status().unwrap();
            let url = started.headers()[LOCATION].to_str().unwrap();
            let url = format!("{url}&digest={digest}");
            self.client.put(url).body(bytes).send().await.unwrap().error_for_status().unwrap();
        });
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    fn manifest(&self, tag: &str, media_type: &str, manifest: &Value) -> Value {
        let bytes = manifest.to_string().into_bytes();
        let (digest, size) = (format!("sha256:{}", sha256(&bytes)), bytes.len());
        let reference = if tag.is_empty() { &digest } else { tag };
        self.runtime.block_on(async {
            let url = format!("http://{}/v2/base/manifests/{reference}", self.registry.host);
            let put = self.client.put(url).header(CONTENT_TYPE, media_type).body(bytes);
            put.send().await.unwrap().error_for_status().unwrap();
        });
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    /// Pushes an image that consists of one file with this content. Returns its descriptor.
    fn image(&self, tag: &str, architecture: &str, content: &str, triggers: &[&str]) -> Value {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "content", content.as_bytes()).unwrap();
        let layer = tar.into_inner().unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &layer).unwrap();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": { "Env": ["PATH=/bin"], "WorkingDir": "/", "Labels": { "a": "b" }, "OnBuild": triggers,
                "Volumes": { "/data": {} }, "ExposedPorts": { "80/tcp": {} }, "Cmd": ["x"], "Entrypoint": null,
                "Healthcheck": { "Test": ["CMD", "x"], "Interval": 1_000_000_000 } },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
            "history": [{ "created": "2024-01-01T00:00:00Z", "created_by": "by hand" }],
        });
        let [manifest, _, config_type, layer_type] = self.types;
        let config = self.blob(config_type, config.to_string().into_bytes());
        let layer = self.blob(layer_type, packed.finish().unwrap());
        let value = json!({ "schemaVersion": 2, "mediaType": manifest, "config": config, "layers": [layer] });
        let mut descriptor = self.manifest(tag, manifest, &value);
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    }

    /// Pushes an index of an image for this machine's platform and one for a different platform, with these contents.
    fn index(&self, tag: &str, native: &str, foreign: &str) {
        let (here, elsewhere) = architectures();
        let entries = [self.image("", elsewhere, foreign, &[]), self.image("", here, native, &[])];
        let [_, index, ..] = self.types;
        self.manifest(tag, index, &json!({ "schemaVersion": 2, "mediaType": index, "manifests": entries }));
    }
}

/// Returns this machine's architecture and a different one.
fn architectures() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") }
}

/// Creates a project whose image has this base image.
fn project(engine: &Engine, base: &str) -> TestContext {
    let context = TestContext::new(engine);
    context.write("Dockerfile", format!("FROM {base}\nCOPY mark /mark\n")).write("mark", "mark\n");
    context
}

/// Returns the key that `larder key` prints, and `true` if the base was pinned.
fn key(context: &TestContext, arguments: &[&str]) -> (String, bool) {
    let arguments = [&["key", "--format", "json"], arguments, &["."]].concat();
    let output: Value = serde_json::from_str(&context.larder(&arguments).success().stdout).unwrap();
    let pinned = output["unpinned"].as_array().unwrap().is_empty();
    (output["image_key"].as_str().unwrap().to_owned(), pinned)
}

fn pinned_key(context: &TestContext, arguments: &[&str]) -> String {
    let (key, pinned) = key(context, arguments);
    assert!(pinned, "{}", context.engine.name);
    key
}

fn docker(engine: &Engine, arguments: &[&str]) {
    let done = engine.docker().args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(done.success(), "{arguments:?} on {}", engine.name);
}

#[test]
fn a_pulled_base_image_gives_the_same_key_as_one_in_the_registry() {
    for (types, what) in [(OCI, "index"), (DOCKER, "index"), (OCI, "manifest"), (DOCKER, "manifest")] {
        let registry = Registry::open();
        let base = format!("{}/base:1", registry.host);
        let pusher = Pusher::new(&registry, types);
        if what == "index" {
            pusher.index("1", "native", "foreign");
        } else {
            pusher.image("1", architectures().0, "native", &["COPY mark /triggered"]);
        }
        let mut keys = BTreeSet::new();
        for engine in engines() {
            let context = project(&engine, &base);
            keys.insert(pinned_key(&context, &[]));
            docker(&engine, &["pull", &base]);
            keys.insert(pinned_key(&context, &[]));
            // buildkitd has no image store, so the digest comes from the registry.
            let server = DirectServer::start(Product::Buildkitd, &engine.host);
            let buildkitd = engine.at(&format!("buildkitd before {}", engine.name), server.host());
            keys.insert(pinned_key(&project(&buildkitd, &base), &[]));
            docker(&engine, &["rmi", &base]);
        }
        assert_eq!(keys.len(), 1, "{what} of {}", types[0]);
    }
}

#[test]
fn the_key_depends_on_the_base_image_of_its_own_platform_only() {
    let registry = Registry::open();
    let pusher = Pusher::new(&registry, OCI);
    let context = project(&any_engine(), &format!("{}/base:1", registry.host));
    pusher.index("1", "native", "foreign");
    let first = pinned_key(&context, &[]);
    pusher.index("1", "native", "foreign, patched");
    assert_eq!(pinned_key(&context, &[]), first);
    let platform = format!("linux/{}", architectures().1);
    let foreign = pinned_key(&context, &["--platform", &platform]);
    pusher.index("1", "native, patched", "foreign, patched");
    assert_ne!(pinned_key(&context, &[]), first);
    assert_eq!(pinned_key(&context, &["--platform", &platform]), foreign);
}

#[test]
fn pull_uses_the_current_base_image_of_the_registry() {
    for engine in engines() {
        let registry = Registry::open();
        let base = format!("{}/base:1", registry.host);
        let pusher = Pusher::new(&registry, DOCKER);
        let context = project(&engine, &base);
        pusher.index("1", "old", "foreign");
        docker(&engine, &["pull", &base]);
        let old = pinned_key(&context, &[]);
        assert_eq!(pinned_key(&context, &["--pull"]), old, "{}", engine.name);
        pusher.index("1", "new", "foreign");
        assert_eq!(pinned_key(&context, &[]), old, "without --pull the engine uses its own image");
        assert_ne!(pinned_key(&context, &["--pull"]), old, "{}", engine.name);
        let tag = context.tag("pulled");
        assert_eq!(context.build(&["--pull", "-t", &tag, "."])["outcome"], "built");
        assert_eq!(context.build(&["--pull", "-t", &tag, "."])["outcome"], "image-hit");
    }
}

#[test]
fn a_multi_platform_image_in_the_engine_is_pinned_only_if_it_equals_the_one_in_the_registry() {
    for engine in engines().into_iter().filter(Engine::is_containerd) {
        let registry = Registry::open();
        let base = format!("{}/base:1", registry.host);
        let pusher = Pusher::new(&registry, OCI);
        let context = project(&engine, &base);
        let platform = format!("linux/{}", architectures().1);
        pusher.index("1", "native", "foreign");
        let fresh = pinned_key(&context, &["--platform", &platform]);
        docker(&engine, &["pull", &base]);
        assert_eq!(pinned_key(&context, &["--platform", &platform]), fresh);
        pusher.index("1", "native", "foreign, patched");
        assert!(!key(&context, &["--platform", &platform]).1, "the engine could use either image");
        assert!(key(&context, &["--platform", &platform, "--pull"]).1);
    }
}

#[test]
fn if_the_registry_does_not_answer_in_time_the_base_is_unpinned_with_a_warning() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = Registry::open();
    let down = registry.host.clone();
    drop(registry);
    for host in [silent.local_addr().unwrap().to_string(), down] {
        let context = project(&any_engine(), &format!("{host}/base:1"));
        let clock = Instant::now();
        let run = context.larder(&["key", "."]).success();
        assert!(clock.elapsed() < Duration::from_secs(8), "{host}: {:?}", clock.elapsed());
        assert!(run.stderr.contains("the digest of the base image"), "{}", run.stderr);
    }
}

#[test]
fn pull_without_the_registry_is_never_a_hit_and_reports_why() {
    let engine = any_engine();
    let registry = Registry::open();
    let base = format!("{}/base:1", registry.host);
    Pusher::new(&registry, DOCKER).index("1", "native", "foreign");
    let context = project(&engine, &base);
    docker(&engine, &["pull", &base]);
    assert_eq!(context.build(&["."])["outcome"], "built");
    assert_eq!(context.build(&["."])["outcome"], "image-hit");
    drop(registry);
    assert_eq!(
        context.build(&["."])["outcome"],
        "image-hit",
        "without --pull the base is the engine's image"
    );
    let metadata = context.path("metadata.json");
    let run = context.larder(&["build", "--pull", "--metadata-file", metadata.to_str().unwrap(), "."]);
    assert_ne!(json_file(&metadata)["outcome"], "image-hit");
    let tiers = json_file(&metadata)["tiers"].to_string();
    assert!(tiers.contains("could not be looked up in its registry"), "{tiers}\n{}", run.stderr);
}

#[test]
fn the_onbuild_triggers_of_a_base_that_was_not_pulled_are_known() {
    let registry = Registry::open();
    let pusher = Pusher::new(&registry, OCI);
    let context = project(&any_engine(), &format!("{}/base:1", registry.host));
    context.write("Dockerfile", format!("FROM {}/base:1\n", registry.host)).write("other", "1\n");
    pusher.image("1", architectures().0, "native", &[]);
    let none = pinned_key(&context, &[]);
    context.write("other", "2\n");
    assert_eq!(pinned_key(&context, &[]), none, "no instruction reads the context");
    pusher.image("1", architectures().0, "native", &["COPY mark /mark"]);
    let triggered = pinned_key(&context, &[]);
    assert_ne!(triggered, none);
    context.write("other", "3\n");
    assert_eq!(pinned_key(&context, &[]), triggered);
    context.write("mark", "changed\n");
    assert_ne!(pinned_key(&context, &[]), triggered);
}

#[test]
fn the_syntax_frontend_is_pinned_like_a_base_image() {
    let registry = Registry::open();
    let pusher = Pusher::new(&registry, OCI);
    let context = project(&any_engine(), "scratch");
    let text = format!("# syntax={}/base:frontend\nFROM scratch\nCOPY mark /mark\n", registry.host);
    context.write("Dockerfile", text);
    pusher.index("frontend", "one", "foreign");
    let one = key(&context, &[]).0;
    pusher.index("frontend", "one", "foreign, patched");
    assert_eq!(key(&context, &[]).0, one);
    pusher.index("frontend", "two", "foreign, patched");
    assert_ne!(key(&context, &[]).0, one);
}
