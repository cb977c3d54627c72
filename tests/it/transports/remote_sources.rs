//! Contexts that the engine fetches itself, from git and over HTTP.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::engines::engines;
use crate::polling::await_true;
use crate::support::{BUSYBOX, TestContext};

fn dockerfile() -> String {
    format!("FROM {BUSYBOX}\nCOPY file /\nRUN grep -q remote /file\n")
}

/// Asserts that a build succeeds twice, and that it reports why it cannot be a hit.
fn assert_builds_each_time(context: &TestContext, address: &str) {
    let tag = context.tag("remote");
    for _ in ["first", "second"] {
        let metadata = context.build(&["-t", &tag, address]);
        assert_eq!(
            (&metadata["outcome"], &metadata["image_key"]),
            (&Value::from("built"), &Value::Null),
            "{address}"
        );
        let tier = &metadata["tiers"][0];
        assert_eq!((&tier["tier"], &tier["outcome"]), (&Value::from("engine"), &Value::from("skipped")));
        assert!(tier["reason"].as_str().unwrap().contains("the context is remote"), "{tier}");
    }
    let names = &context.engine.inspect(&tag)["RepoTags"];
    assert!(names.as_array().unwrap().contains(&Value::from(tag.as_str())), "{names}");
    let run = context.larder(&["build", "-t", &tag, address]).success();
    assert!(run.stderr.contains("the context is remote"), "{}", run.stderr);
}

/// A `git daemon` on a free port. It ends when it is dropped.
struct GitDaemon {
    daemon: Child,
    port: u16,
}

impl GitDaemon {
    fn serve(context: &TestContext) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // The program itself: `git daemon` starts it as a child, which would still run after `git` was killed.
        let programs = Command::new("git").arg("--exec-path").output().expect("git is installed").stdout;
        let programs = String::from_utf8(programs).unwrap();
        let daemon = Command::new(format!("{}/git-daemon", programs.trim()))
            .args(["--listen=127.0.0.1", &format!("--port={port}"), "--reuseaddr", "--export-all"])
            .arg(format!("--base-path={}", context.path("").display()))
            .stderr(Stdio::null())
            .spawn()
            .expect("git is installed");
        let daemon = Self { daemon, port };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        await_true(Duration::from_secs(10), "git daemon listens", listens);
        daemon
    }
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

fn git(context: &TestContext, arguments: &[&str]) {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=larder",
            "-c",
            "user.email=larder@example.org",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(arguments)
        .current_dir(context.path("repository"))
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_git_context_is_fetched_by_the_engine_and_is_never_a_hit() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let repository = context.path("repository");
        for directory in [repository.clone(), repository.join("sub")] {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("Dockerfile"), dockerfile()).unwrap();
            std::fs::write(directory.join("file"), "remote").unwrap();
        }
        git(&context, &["init", "-q"]);
        git(&context, &["add", "."]);
        git(&context, &["commit", "-q", "-m", "example"]);
        let daemon = GitDaemon::serve(&context);
        // Subdirectories of a repository need BuildKit 0.11.
        let directory = if engine.major() < 23 { "" } else { ":sub" };
        assert_builds_each_time(
            &context,
            &format!("git://127.0.0.1:{}/repository#main{directory}", daemon.port),
        );
    }
}

/// Serves one file in response to every request and returns its URL.
fn serve_over_http(content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/context.tar.gz", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or_default();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nContent-Type: application/gzip\r\nETag: \"1\"\r\nConnection: close\r\n\r\n",
                content.len()
            );
            let body: &[u8] = if request[..read].starts_with(b"HEAD") { &[] } else { &content };
            // A client that has read enough may close the connection.
            drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)));
        }
    });
    address
}

#[test]
fn a_tar_archive_over_http_is_fetched_by_the_engine_and_is_never_a_hit() {
    let mut archive =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in [("Dockerfile", dockerfile()), ("file", "remote".to_owned())] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let address = serve_over_http(archive.into_inner().unwrap().finish().unwrap());
    for engine in engines() {
        assert_builds_each_time(&TestContext::new(&engine), &address);
    }
}
