//! The engines that `make test` started.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::image::{self, Entry};
use crate::support::is_full;

/// An engine under test, with the docker client of the same version.
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

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// The engines for special tests. Ordinary tests do not use them.
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

/// Returns every engine for ordinary tests: one for each version and image store.
pub(crate) fn every_engine() -> Vec<Engine> {
    all().into_iter().filter(|engine| !SPECIAL.contains(&engine.name.as_str())).collect()
}

/// Returns the engines for tests that do not depend on the combination of version and image store. They cover all
/// versions and both stores. `make test-full` uses every combination.
pub(crate) fn engines() -> Vec<Engine> {
    let every = every_engine();
    let is_covered = |engine: &Engine| {
        let same_version = every.iter().filter(|other| other.version == engine.version);
        !engine.is_containerd() && same_version.clone().any(Engine::is_containerd)
    };
    every.iter().filter(|engine| is_full() || !is_covered(engine)).cloned().collect()
}

/// Returns one engine of each version, for tests of the builder, which does not depend on the image store.
pub(crate) fn builders() -> Vec<Engine> {
    every_engine().into_iter().filter(|engine| !engine.is_containerd()).collect()
}

/// Returns the engines that larder connects to by upgrading an HTTP/1 request (Docker before 29.2).
pub(crate) fn upgraded_engines() -> Vec<Engine> {
    let (upgraded, direct): (Vec<_>, Vec<_>) = every_engine().into_iter().partition(Engine::is_upgraded);
    for engine in direct {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "SKIPPED on {}: it has the direct transport", engine.name).expect("stdout");
    }
    upgraded
}

/// Returns one engine, for tests that do not depend on its version or image store.
pub(crate) fn any_engine() -> Engine {
    engines().swap_remove(0)
}

/// Returns a special engine, or `None` if the tests run only on one given engine.
pub(crate) fn special(name: &str) -> Option<Engine> {
    let engines = all();
    let found = engines.iter().find(|engine| engine.name == name).cloned();
    assert!(
        found.is_some() || engines.iter().any(|engine| engine.name == "given"),
        "the engine `{name}` is not running"
    );
    found
}

impl Engine {
    /// Returns the address of an engine that does not exist, for tests that need no engine.
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

    /// Returns `true` if it stores images in containerd.
    pub(crate) fn is_containerd(&self) -> bool {
        self.store == "containerd"
    }

    fn is_upgraded(&self) -> bool {
        let minor = self.version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0_u32);
        (self.major(), minor) < (29, 2)
    }

    /// Returns the major version, such as 20 or 28.
    pub(crate) fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|major| major.parse().ok()).expect("a version")
    }

    /// Returns the same engine with a different name and address, such as that of a proxy.
    pub(crate) fn at(&self, name: &str, host: &str) -> Self {
        Self { name: name.to_owned(), host: host.to_owned(), ..self.clone() }
    }

    /// Returns the directory with `ca.pem`, `cert.pem` and `key.pem`, if the engine uses TLS.
    pub(crate) fn certificates(&self) -> Option<PathBuf> {
        Some(PathBuf::from(&self.certs)).filter(|path| !path.as_os_str().is_empty())
    }

    /// Returns the environment variables that a client needs to connect to it.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![("DOCKER_HOST", self.host.clone())];
        if let Some(certs) = self.certificates() {
            variables.push(("DOCKER_TLS_VERIFY", "1".to_owned()));
            variables.push(("DOCKER_CERT_PATH", certs.to_string_lossy().into_owned()));
        }
        variables
    }

    /// Returns a command of the engine's docker client, which builds with BuildKit. Tests compare larder with it.
    pub(crate) fn docker(&self) -> Command {
        let mut command = Command::new(&self.docker);
        command.env("DOCKER_CONFIG", &self.docker_config).env("DOCKER_BUILDKIT", "1");
        command.envs(self.environment());
        command
    }

    /// Returns the response body of a GET request to the API, or `None` if the status is not 200. Does not support TLS.
    ///
    /// This is much faster than a docker process for each request.
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let mut response = Vec::new();
        let mut exchange = |mut stream: Box<dyn ReadWrite>| {
            write!(stream, "GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n")?;
            stream.read_to_end(&mut response)
        };
        let sent = match self.host.split_once("://").expect("an address") {
            ("unix", path) => UnixStream::connect(path).and_then(|stream| exchange(Box::new(stream))),
            (_, host) => TcpStream::connect(host).and_then(|stream| exchange(Box::new(stream))),
        };
        sent.expect("the engine answers");
        let end = response.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        let body = response.split_off(end);
        response.starts_with(b"HTTP/1.0 200").then_some(body)
    }

    /// Returns the output of `docker inspect` for an image, or null if the image does not exist.
    pub(crate) fn inspect(&self, image: &str) -> serde_json::Value {
        if self.certificates().is_some() {
            let output = self.docker().args(["image", "inspect", image]).output().expect("docker runs");
            return serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default()[0].take();
        }
        self.get(&format!("/images/{image}/json"))
            .map_or_else(Default::default, |json| serde_json::from_slice(&json).expect("JSON"))
    }

    /// Returns the tar archive of an image, as `docker save` writes it.
    #[track_caller]
    pub(crate) fn save(&self, image: &str) -> Vec<u8> {
        self.get(&format!("/images/{image}/get"))
            .unwrap_or_else(|| panic!("{} cannot save {image}", self.name))
    }

    /// Returns the entries of an image below `path`, which is a file or a directory.
    ///
    /// It does not run a program in the image, because an engine under load may lose the end of a program's output.
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

    /// Returns the content of a file in an image.
    #[track_caller]
    pub(crate) fn read(&self, image: &str, path: &str) -> Vec<u8> {
        self.entries(image, path).swap_remove(0).content
    }
}
