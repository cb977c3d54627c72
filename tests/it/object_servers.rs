//! Object stores (S3 and WebDAV), each a child process of one test that ends when it is dropped.
//!
//! `scripts/object-stores.sh` installs them. `scripts/test.sh` sets the variables with their paths.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::polling::await_true;

/// The user name on every server, and the id of the access key.
pub(crate) const USER: &str = "ci-user";
/// The password of [`USER`], and the secret access key.
pub(crate) const PASSWORD: &str = "s3cret+pass/word";

pub(crate) struct ObjectServer {
    process: Child,
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// The URL of a store on the server, with the placeholder `{port}`.
    url: &'static str,
    _directory: TempDir,
}

fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set: run `make test`, or see scripts/object-stores.sh"))
        .into()
}

/// Returns a free port below the ephemeral range, so that no other test gets it before the server listens.
pub(crate) fn free_port() -> u16 {
    loop {
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        let port = 12_000 + u16::from_le_bytes(random) % 8_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl ObjectServer {
    /// Starts s3s-fs, an S3 server on a directory that verifies signatures.
    pub(crate) fn s3s_fs() -> Self {
        let (port, directory) = (free_port(), TempDir::with_prefix("larder-s3-").unwrap());
        std::fs::create_dir(directory.path().join("bucket")).unwrap();
        let mut command = Command::new(program("LARDER_TEST_S3S_FS"));
        command
            .args(["--host", "127.0.0.1", "--access-key", USER, "--secret-key", PASSWORD])
            .args(["--port", &port.to_string()])
            .arg(directory.path());
        Self::start(
            "s3s-fs",
            "s3://bucket/a/prefix?endpoint=http://127.0.0.1:{port}",
            port,
            directory,
            command,
        )
    }

    /// Starts ministack, an independent implementation of S3 in memory.
    pub(crate) fn ministack() -> Self {
        let (port, directory) = (free_port(), TempDir::with_prefix("larder-s3-").unwrap());
        let mut command = Command::new(program("LARDER_TEST_MINISTACK"));
        command
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .current_dir(directory.path());
        let server = Self::start(
            "ministack",
            "s3://bucket?endpoint=http://127.0.0.1:{port}",
            port,
            directory,
            command,
        );
        let made = server.send("PUT /bucket HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        server
    }

    /// Starts wsgidav, a WebDAV server on a directory, with a password.
    pub(crate) fn wsgidav() -> Self {
        let (port, directory) = (free_port(), TempDir::with_prefix("larder-dav-").unwrap());
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let config = serde_json::json!({
            "host": "127.0.0.1",
            "port": port,
            "server_args": { "numthreads": 32 },
            "provider_mapping": { "/dav": root },
            "http_authenticator": { "accept_basic": true, "accept_digest": false, "default_to_digest": false },
            "simple_dc": { "user_mapping": { "*": { USER: { "password": PASSWORD } } } },
            "logging": { "enable": false },
        });
        let path = directory.path().join("config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new(program("LARDER_TEST_WSGIDAV"));
        command.arg("--config").arg(&path).arg("-qq");
        Self::start("wsgidav", "webdav://127.0.0.1:{port}/dav/a/prefix", port, directory, command)
    }

    fn start(
        name: &'static str,
        url: &'static str,
        port: u16,
        directory: TempDir,
        mut command: Command,
    ) -> Self {
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let server = Self { process, name, port, url, _directory: directory };
        let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        await_true(Duration::from_secs(30), "the server listens", listens);
        server
    }

    /// Returns the URL of an empty store on the server.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// Returns the same URL with the port of a proxy in front of the server.
    pub(crate) fn url_at(&self, port: u16) -> String {
        self.url.replace("{port}", &port.to_string())
    }

    /// Sends a raw HTTP request and returns the response.
    fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
