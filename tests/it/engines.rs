//! The engines that the test command started.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::image::{self, Entry};
use crate::support::is_full;

/// An engine under test and the client that is its peer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) host: String,
    pub(crate) store: String,
    docker: PathBuf,
    docker_config: PathBuf,
    certs: String,
}

/// A connection.
trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// Engines for special tests; no ordinary build runs on them.
const SPECIAL: [&str; 3] = ["tls", "small", "guarded"];

fn all() -> Vec<Engine> {
    let path = std::env::var_os("LARDER_TEST_ENGINES")
        .expect("LARDER_TEST_ENGINES is not set: these tests need engines, run `make test`");
    let text = std::fs::read_to_string(&path).expect("LARDER_TEST_ENGINES names a file");
    let engines: Vec<Engine> =
        text.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect();
    assert!(!engines.is_empty(), "{} names no engine", path.display());
    engines
}

/// Every engine that ordinary builds are tested on: one for each version and image store.
pub(crate) fn every_engine() -> Vec<Engine> {
    all().into_iter().filter(|engine| !SPECIAL.contains(&engine.name.as_str())).collect()
}

/// The engines for tests of which neither version nor image store is the subject. They cover both versions and both stores.
/// `make test-full` takes every combination.
pub(crate) fn engines() -> Vec<Engine> {
    let every = every_engine();
    let is_covered = |engine: &Engine| {
        let same_version = every.iter().filter(|other| other.version == engine.version);
        !engine.is_containerd() && same_version.clone().any(Engine::is_containerd)
    };
    every.iter().filter(|engine| is_full() || !is_covered(engine)).cloned().collect()
}

/// One engine of each version, for tests of the builder alone: the image store, which costs time, does not matter to it.
pub(crate) fn builders() -> Vec<Engine> {
    every_engine().into_iter().filter(|engine| !engine.is_containerd()).collect()
}

/// The engines that are reached by upgrading an HTTP/1 request (Docker before 29.2).
pub(crate) fn upgraded_engines() -> Vec<Engine> {
    let (upgraded, direct): (Vec<_>, Vec<_>) = every_engine().into_iter().partition(Engine::is_upgraded);
    for engine in direct {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "SKIPPED on {}: it is spoken to directly", engine.name).expect("stdout");
    }
    upgraded
}

/// One engine, for what does not depend on which.
pub(crate) fn any_engine() -> Engine {
    engines().swap_remove(0)
}

/// A special engine; `None` when the tests run on one given engine only.
pub(crate) fn special(name: &str) -> Option<Engine> {
    let engines = all();
    let found = engines.iter().find(|engine| engine.name == name).cloned();
    assert!(
        found.is_some() || engines.iter().any(|engine| engine.name == "given"),
        "no engine `{name}` runs"
    );
    found
}

impl Engine {
    /// No engine, for what needs none.
    pub(crate) fn none() -> Self {
        Self {
            name: "none".to_owned(),
            version: String::new(),
            host: "unix:///nonexistent/docker.sock".to_owned(),
            store: String::new(),
            docker: PathBuf::new(),
            docker_config: PathBuf::new(),
            certs: String::new(),
        }
    }

    /// Whether it keeps images in containerd's store.
    pub(crate) fn is_containerd(&self) -> bool {
        self.store == "containerd"
    }

    fn is_upgraded(&self) -> bool {
        let minor = self.version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0_u32);
        (self.major(), minor) < (29, 2)
    }

    /// Major version of the product: 20, 28, ….
    pub(crate) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).expect("a version")
    }

    /// The same under another name and address: an engine behind a proxy, or one with its tools.
    pub(crate) fn at(&self, name: &str, host: &str) -> Self {
        Self { name: name.to_owned(), host: host.to_owned(), ..self.clone() }
    }

    /// The folder with `ca.pem`, `cert.pem` and `key.pem`, for an engine with TLS.
    pub(crate) fn certificates(&self) -> Option<PathBuf> {
        Some(PathBuf::from(&self.certs)).filter(|path| !path.as_os_str().is_empty())
    }

    /// What a client needs in its environment to reach it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![("DOCKER_HOST", self.host.clone())];
        if let Some(certs) = self.certificates() {
            variables.push(("DOCKER_TLS_VERIFY", "1".to_owned()));
            variables.push(("DOCKER_CERT_PATH", certs.to_string_lossy().into_owned()));
        }
        variables
    }

    /// The engine's own client, set to build with BuildKit: the peer.
    pub(crate) fn docker(&self) -> Command {
        let mut command = Command::new(&self.docker);
        command.env("DOCKER_CONFIG", &self.docker_config).env("DOCKER_BUILDKIT", "1");
        command.envs(self.environment());
        command
    }

    /// Returns the body of the API's answer to a GET, or `None` if the engine refuses. Not for an engine with TLS.
    ///
    /// A process of docker's for each would take a good part of the suite's time.
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let mut answer = Vec::new();
        let mut ask = |mut stream: Box<dyn ReadWrite>| {
            write!(stream, "GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n")?;
            stream.read_to_end(&mut answer)
        };
        let asked = match self.host.split_once("://").expect("an address") {
            ("unix", path) => UnixStream::connect(path).and_then(|stream| ask(Box::new(stream))),
            (_, host) => TcpStream::connect(host).and_then(|stream| ask(Box::new(stream))),
        };
        asked.expect("the engine answers");
        let end = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        let body = answer.split_off(end);
        answer.starts_with(b"HTTP/1.0 200").then_some(body)
    }

    /// `docker inspect` of an image; null when there is none.
    pub(crate) fn inspect(&self, image: &str) -> serde_json::Value {
        if self.certificates().is_some() {
            let output = self.docker().args(["image", "inspect", image]).output().expect("docker runs");
            return serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default()[0].take();
        }
        self.get(&format!("/images/{image}/json"))
            .map_or_else(Default::default, |json| serde_json::from_slice(&json).expect("JSON"))
    }

    /// `docker save` of an image: a tar archive.
    #[track_caller]
    pub(crate) fn save(&self, image: &str) -> Vec<u8> {
        self.get(&format!("/images/{image}/get"))
            .unwrap_or_else(|| panic!("{} does not save {image}", self.name))
    }

    /// What an image has at `path`, a file or a folder. The output of a program run in it would not
    /// do: an engine under load gives up on that two seconds after the program's end.
    #[track_caller]
    pub(crate) fn entries(&self, image: &str, path: &str) -> Vec<Entry> {
        let docker = |arguments: &[&str]| {
            let output = self.docker().args(arguments).output().expect("docker runs");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {image} {path}: {errors}", self.name);
            output.stdout
        };
        let container = String::from_utf8(docker(&["create", image, "never-run"])).expect("an id");
        let archive = docker(&["cp", &format!("{}:{path}", container.trim()), "-"]);
        docker(&["rm", container.trim()]);
        image::entries(&archive)
    }

    /// The content of a file in an image.
    #[track_caller]
    pub(crate) fn read(&self, image: &str, path: &str) -> Vec<u8> {
        self.entries(image, path).swap_remove(0).content
    }
}
