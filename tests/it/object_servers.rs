//! Servers that keep objects, each a test's own; they end when dropped.
//!
//! `scripts/object-stores.sh` installs them, `scripts/test.sh` says where they are.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::waiting::await_true;

/// The user of every server, and the id of its access key.
pub(crate) const USER: &str = "ci-user";
/// Its password, and its secret access key.
pub(crate) const PASSWORD: &str = "s3cret+pass/word";

/// A running server.
pub(crate) struct ObjectServer {
    process: Child,
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// The address of a store in it, for a server at `{port}`.
    url: &'static str,
    _directory: TempDir,
}

fn program(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} is not set: run `make test`, or see scripts/object-stores.sh"))
        .into()
}

/// A port that is free now. Kernels hand out higher ones, so that no other test listens there before the server does.
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
    /// S3 on a directory, with real signatures.
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

    /// S3 in memory, by other hands.
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
        let made = server.ask("PUT /bucket HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(made.starts_with("HTTP/1.1 200"), "{made}");
        server
    }

    /// WebDAV on a directory, with a password.
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

    /// The address of an empty store in it.
    pub(crate) fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// The same for who is between it and the test at another port.
    pub(crate) fn url_at(&self, port: u16) -> String {
        self.url.replace("{port}", &port.to_string())
    }

    /// Sends this and answers what comes back.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
