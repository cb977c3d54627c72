//! An engine that is not running, not permitted or not healthy, and servers that are not engines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use crate::engines::any_engine;
use crate::support::{Run, TestContext, run_to_end};

fn context() -> TestContext {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    context
}

fn build(context: &TestContext, host: &str) -> Run {
    run_to_end(context.command(&["build", "."]).env("DOCKER_HOST", host), None)
}

#[test]
fn the_error_for_an_unreachable_engine_contains_its_address() {
    let context = context();
    let start = "start the engine, or select a different one with --host, --context or DOCKER_HOST";
    build(&context, "unix:///nonexistent/docker.sock")
        .failure(5, "there is no socket at /nonexistent/docker.sock")
        .hint(start);
    let stale = context.path("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let stale = format!("unix://{}", stale.display());
    build(&context, &stale).failure(5, &format!("nothing listens at {stale}")).hint(start);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    build(&context, &format!("tcp://{free}"))
        .failure(5, &format!("nothing listens at tcp://{free}"))
        .hint(start);
    build(&context, "tcp://engine.invalid:2375")
        .failure(5, "cannot connect to tcp://engine.invalid:2375: ")
        .hint("check the address");
    for command in ["key", "build"] {
        let run = run_to_end(context.command(&[command, "."]).env("DOCKER_HOST", &stale), None);
        run.failure(5, "nothing listens").hint(start);
    }
}

#[test]
fn larder_can_wait_for_the_engine_to_start() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let socket = context.path("late.sock");
    let host = format!("unix://{}", socket.display());
    let target = context.engine.host.strip_prefix("unix://").expect("a socket").to_owned();
    let command = |wait: &str| {
        let mut command = context.command(&["build", "--wait-for-engine", wait, "."]);
        command.env("DOCKER_HOST", &host);
        command
    };
    let build = |wait: &str| run_to_end(&mut command(wait), None);
    build("1s").failure(5, "there is no socket at ");
    let mut waiting = command("50s").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert!(line.starts_with("waiting up to 50s for the engine: there is no socket at "), "{line}");
    std::os::unix::fs::symlink(target, socket).unwrap();
    assert!(lines.all(|line| !line.unwrap().contains("waiting")));
    assert!(waiting.wait().unwrap().success());
    build("soon")
        .failure(2, "--wait-for-engine: `soon` is not a duration")
        .hint("--wait-for-engine <DURATION>");
    // An invalid address will not become valid, so larder does not wait.
    let wrong = ["build", "--wait-for-engine", "50s", "--host", "weird", "."];
    context.larder(&wrong).failure(2, "`weird` is not an engine address");
}

#[test]
fn missing_permission_on_the_socket_is_not_reported_as_a_missing_socket() {
    let context = context();
    let socket = context.path("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let open = |path: &std::path::Path, mode: u32| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    open(&socket, 0o600);
    open(&context.path(""), 0o755);
    let larder = context.path("larder");
    std::fs::copy(env!("CARGO_BIN_EXE_larder"), &larder).unwrap();
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&larder);
        command
    } else {
        open(&socket, 0);
        Command::new(&larder)
    };
    command.args(["build", "."]).current_dir(context.project()).env("HOME", context.path("home"));
    let run = run_to_end(command.env("DOCKER_HOST", format!("unix://{}", socket.display())), None);
    run.failure(5, &format!("permission denied on the socket {}", socket.display())).hint("usually docker");
}

/// Starts a server that handles each connection with `serve`. Returns its address.
fn server(serve: fn(&mut dyn ReadWrite)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("tcp://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || serve(&mut stream));
        }
    });
    host
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

/// Reads a request and writes the response that `reply` returns.
fn answer(stream: &mut dyn ReadWrite, reply: impl Fn(&str) -> String) {
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap_or_default();
    // The client may have closed the connection.
    drop(stream.write_all(reply(&String::from_utf8_lossy(&request[..read])).as_bytes()));
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn an_engine_without_buildkit_is_refused() {
    let podman = server(|stream| {
        answer(stream, |request| {
            let headers =
                "Api-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\nServer: Libpod/4.3.1 (linux)\r\n";
            if request.contains("/_ping") {
                http("200 OK", headers, "OK")
            } else {
                http("404 Not Found", "", "Not Found\n")
            }
        });
    });
    let run = build(&context(), &podman).failure(2, &format!("Libpod/4.3.1 at {podman} has no BuildKit"));
    run.hint("Docker 20.10 or newer");
}

#[test]
fn the_error_for_a_server_that_is_not_an_engine_describes_its_response() {
    let context = context();
    for (serve, reason) in [
        (
            (|stream| answer(stream, |_| http("200 OK", "Server: nginx\r\n", "hello")))
                as fn(&mut dyn ReadWrite),
            "it responds to GET /_ping with 200 OK (nginx)",
        ),
        (
            |stream| answer(stream, |_| http("404 Not Found", "", "")),
            "it responds to GET /_ping with 404 Not Found",
        ),
        (
            |stream| {
                drop(stream.write_all(b"220 mail.example ESMTP\r\n"));
                answer(stream, |_| "500 what?\r\n".to_owned());
            },
            "it does not respond with HTTP",
        ),
        (|stream| answer(stream, |_| String::new()), "it closes the connection without a response"),
    ] {
        let host = server(serve);
        let cause = format!("the server at {host} is neither a Docker engine nor buildkitd: {reason}");
        let run = build(&context, &host).failure(2, &cause).hint("check the address");
        assert!(!run.stderr.contains("source:"), "{}", run.stderr);
    }
}

#[test]
fn an_engine_that_is_unhealthy_or_does_not_respond_is_reported_as_such() {
    let context = context();
    let unhealthy =
        server(|stream| answer(stream, |_| http("500 Internal Server Error", "Api-Version: 1.41\r\n", "")));
    build(&context, &unhealthy).failure(5, "is not healthy: it answered 500").hint("check the engine's log");
    let silent = server(|stream| {
        let mut all = Vec::new();
        drop(stream.read_to_end(&mut all));
    });
    build(&context, &silent).failure(5, "did not answer in 20s").hint("can be reached from here");
}
