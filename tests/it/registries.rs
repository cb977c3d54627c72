//! Private registries: pushes, base images that need a login, and inline caches.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::engines::engines;
use crate::polling::await_true;
use crate::support::{BUSYBOX, TestContext};

/// The user `ci` with the password `s3cret`, as a line of an htpasswd file.
const HTPASSWD: &str = "ci:$2y$05$eMVP7W8u8y0O/wcjhqIBzObBv4hhlXTP4R9C0Ls/uj8f5ytoWsoU6\n";
/// The same user as an `auth` value in Docker's configuration.
pub(crate) const LOGIN: &str = "Y2k6czNjcmV0";

/// A registry process that belongs to one test. It ends when it is dropped.
pub(crate) struct Registry {
    process: Child,
    pub(crate) host: String,
    directory: TempDir,
    has_own_disk: bool,
}

impl Registry {
    /// Starts a registry that requires a login.
    pub(crate) fn start() -> Self {
        Self::with(&htpasswd_auth, None)
    }

    /// Starts a registry that requires no login.
    pub(crate) fn open() -> Self {
        Self::with(&|_| String::new(), None)
    }

    /// Starts a registry that uses TLS and requires a login. Also returns the certificate of its authority.
    pub(crate) fn tls() -> (Self, String) {
        // One certificate serves as the authority and as the server's, as with `openssl req -x509`.
        let mut parameters = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&key).unwrap().pem();
        let pair = (authority.clone(), key.serialize_pem());
        (Self::with(&htpasswd_auth, Some(pair)), authority)
    }

    /// Starts a registry that requires no login and whose disk has this many bytes.
    pub(crate) fn on_disk_of(bytes: u64) -> Self {
        let mut registry = Self::open();
        let data = registry.data();
        std::fs::create_dir_all(&data).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "larder-test"])
            .arg(data)
            .status()
            .expect("mount");
        assert!(mount.success(), "this test needs root, as the engines do");
        registry.has_own_disk = true;
        registry
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn with(auth: &dyn Fn(&Path) -> String, pair: Option<(String, String)>) -> Self {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        // The port was free a moment ago, and no other program requests this particular port.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        std::fs::write(at("htpasswd"), HTPASSWD).unwrap();
        let tls = pair.map(|(certificate, key)| {
            std::fs::write(at("tls.crt"), certificate).unwrap();
            std::fs::write(at("tls.key"), key).unwrap();
            format!(", tls: {{ certificate: {}, key: {} }}", at("tls.crt").display(), at("tls.key").display())
        });
        let config = format!(
            "version: 0.1\nstorage: {{ filesystem: {{ rootdirectory: {} }}, delete: {{ enabled: true }} }}\nhttp: {{ addr: 127.0.0.1:{port}{} }}\n{}",
            at("data").display(),
            tls.unwrap_or_default(),
            auth(&at("htpasswd"))
        );
        std::fs::write(at("config.yml"), config).unwrap();
        let log = std::fs::File::create(at("access.log")).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(at("config.yml"))
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        await_true(Duration::from_secs(20), "the registry listens", listens);
        Self { process, host: format!("127.0.0.1:{port}"), directory, has_own_disk: false }
    }

    /// Returns the registry's own log of requests, in the combined log format.
    pub(crate) fn access_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("access.log")).unwrap()
    }

    /// Returns the body of the response to a GET request.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let accept = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
        let head = format!("GET {path} HTTP/1.0\r\nHost: {}\r\nAccept: {accept}\r\n\r\n", self.host);
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }

    /// Returns the manifest of a tag.
    pub(crate) fn manifest(&self, repository: &str, tag: &str) -> String {
        self.get(&format!("/v2/{repository}/manifests/{tag}"))
    }

    /// Returns the config of the image of a tag.
    pub(crate) fn config(&self, repository: &str, tag: &str) -> String {
        let manifest: serde_json::Value = serde_json::from_str(&self.manifest(repository, tag)).unwrap();
        self.get(&format!("/v2/{repository}/blobs/{}", manifest["config"]["digest"].as_str().unwrap()))
    }

    /// Returns `true` if a repository contains a blob.
    pub(crate) fn has_blob(&self, repository: &str, digest: &str) -> bool {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let root = self.data().join("docker/registry/v2");
        let link = root.join("repositories").join(repository).join("_layers/sha256").join(hex).join("link");
        let data = root.join("blobs/sha256").join(&hex[..2]).join(hex).join("data");
        link.exists() && data.exists()
    }

    /// Flips a bit in the middle of each blob that is not JSON.
    pub(crate) fn damage_layers(&self) {
        let blobs = self.data().join("docker/registry/v2/blobs");
        for entry in
            walkdir::WalkDir::new(blobs).into_iter().flatten().filter(|entry| entry.file_name() == "data")
        {
            let mut bytes = std::fs::read(entry.path()).unwrap();
            if bytes.first() != Some(&b'{') {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                std::fs::write(entry.path(), bytes).unwrap();
            }
        }
    }

    /// Returns the path of the file with the digest of a tag.
    fn link(&self, repository: &str, tag: &str) -> PathBuf {
        let repositories = self.data().join("docker/registry/v2/repositories");
        repositories.join(repository).join("_manifests/tags").join(tag).join("current/link")
    }

    pub(crate) fn remove_tag(&self, repository: &str, tag: &str) {
        let link = self.link(repository, tag);
        std::fs::remove_dir_all(link.ancestors().nth(2).unwrap()).unwrap();
    }

    /// Makes a tag refer to the image of a different tag.
    pub(crate) fn move_tag(&self, repository: &str, tag: &str, to: &str) {
        std::fs::copy(self.link(repository, to), self.link(repository, tag)).unwrap();
    }

    /// Removes a blob from the storage. The repositories still refer to it.
    pub(crate) fn remove_blob(&self, digest: &str) {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let blobs = self.data().join("docker/registry/v2/blobs/sha256");
        std::fs::remove_dir_all(blobs.join(&hex[..2]).join(hex)).unwrap();
    }

    /// Writes a Docker configuration with this login for the registry.
    pub(crate) fn log_in(&self, docker_config: &Path, login: &str) {
        let config = serde_json::json!({ "auths": { &self.host: { "auth": login } } });
        std::fs::create_dir_all(docker_config).unwrap();
        std::fs::write(docker_config.join("config.json"), config.to_string()).unwrap();
    }
}

fn htpasswd_auth(htpasswd: &Path) -> String {
    format!("auth: {{ htpasswd: {{ realm: tests, path: {} }} }}\n", htpasswd.display())
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if self.has_own_disk {
            drop(Command::new("umount").arg(self.data()).status());
        }
    }
}

#[test]
fn pushes_and_base_images_of_a_private_registry_use_the_users_login() {
    for engine in engines() {
        let registry = Registry::start();
        let context = TestContext::new(&engine);
        let pushed = format!("{}/app:1", registry.host);
        context
            .write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY mark /mark\n"))
            .write("mark", context.tag("mark"));
        let refused = context.larder(&["build", "--push", "-t", &pushed, "."]);
        refused.failure(1, "cannot push").hint("logged in to");
        registry.log_in(&context.path("docker"), LOGIN);
        let run = context.larder(&["build", "--push", "-t", &pushed, "."]).success();
        assert!(run.stderr.contains(&format!("pushed {pushed}")), "{}", run.stderr);

        // The image of a hit is pushed, too. The registry already has its layers.
        let again = format!("{}/app:again", registry.host);
        let run = context.larder(&["build", "--push", "-t", &again, "."]).success();
        assert!(
            run.stderr.contains("image hit (engine)")
                && run.stderr.contains(&format!("pushed {again}: the registry already has all layers")),
            "{}",
            run.stderr
        );

        assert!(
            engine.docker().args(["rmi", &pushed, &again]).stdout(Stdio::null()).status().unwrap().success()
        );
        context.write("Dockerfile", format!("FROM {pushed}\nRUN test -s /mark\n"));
        registry.log_in(&context.path("docker"), "bm9ib2R5Om5vYm9keQ==");
        context.larder(&["build", "--no-cache", "."]).failure(1, &pushed).hint("log in");
        registry.log_in(&context.path("docker"), LOGIN);
        let built = context.build(&["--no-cache", "."]);
        assert_eq!(built["outcome"], "built", "{}", engine.name);
        assert_eq!(
            context.build(&["."])["outcome"],
            "image-hit",
            "the base image is pinned to its digest in the registry"
        );
    }
}

#[test]
fn a_push_counts_each_layer_once_and_only_layers() {
    for engine in engines() {
        let registry = Registry::open();
        let context = TestContext::new(&engine);
        let mark = context.tag("mark");
        // On most engines the last two steps make the same layer. Attestations are not layers.
        let lower = format!("FROM {BUSYBOX}\nRUN echo {mark} > /a\nRUN true\nRUN true\n");
        let counted = |dockerfile: &str, tag: &str| {
            context.write("Dockerfile", dockerfile);
            let name = format!("{}/app:{tag}", registry.host);
            let run = context.larder(&["build", "--push", "--tiers", "engine", "-t", &name, "."]).success();
            let line = run.stderr.lines().find(|line| line.starts_with("pushed ")).unwrap().to_owned();
            (line.split_once(": ").unwrap().1.to_owned(), layers_in(&registry, "app", tag))
        };
        let (summary, layers) = counted(&lower, "1");
        assert_eq!(summary, format!("{layers} layers sent, 0 already there"), "{}", engine.name);
        let (summary, layers) = counted(&format!("{lower}RUN echo {mark} > /b\n"), "2");
        assert_eq!(summary, format!("1 layer sent, {} already there", layers - 1), "{}", engine.name);
    }
}

/// Returns the number of different layers of the image of a tag, without attestations.
fn layers_in(registry: &Registry, repository: &str, tag: &str) -> usize {
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let mut manifest = parse(registry.manifest(repository, tag));
    if let Some(image) = manifest["manifests"][0]["digest"].as_str() {
        manifest = parse(registry.manifest(repository, image));
    }
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["digest"].as_str().unwrap()).collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn a_push_to_a_registry_that_is_down_fails_with_a_hint() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY Dockerfile /\n"));
        // Nothing listens on this port.
        let run = context.larder(&["build", "--push", "-t", "127.0.0.1:9/app:1", "."]);
        run.failure(1, "cannot push").hint("127.0.0.1:9 is up");
    }
}

#[test]
fn layers_of_an_inline_cache_are_imported_from_the_registry() {
    for engine in engines() {
        let registry = Registry::start();
        let context = TestContext::new(&engine);
        registry.log_in(&context.path("docker"), LOGIN);
        let cache = format!("{}/app:cache", registry.host);
        let dockerfile = format!("FROM {BUSYBOX}\nRUN echo {} > /made\n", context.tag("inline"));
        context.write("Dockerfile", dockerfile);
        context.larder(&["build", "--cache-to", "type=inline", "--push", "-t", &cache, "."]).success();
        let run = context.larder(&["build", "--cache-from", &cache, "--key-extra", "again=1", "."]).success();
        assert!(run.stderr.contains(&format!("importing cache manifest from {cache}")), "{}", run.stderr);
        assert!(run.stderr.contains("1 of 1 cached"), "{}: {}", engine.name, run.stderr);
    }
}
