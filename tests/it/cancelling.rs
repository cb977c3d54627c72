//! Builds that end early: because of the user, a timeout, or a broken connection.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::direct_server::{DirectServer, Product};
use crate::engines::{Engine, any_engine, engines, upgraded_engines};
use crate::polling::await_true;
use crate::proxy::Proxy;
use crate::running::Running;
use crate::support::{BUSYBOX, TestContext, json};

/// The time limit for larder to end a build after the engine has stopped the step.
const SOON: Duration = Duration::from_secs(10);
/// The time limit for larder to detect that the engine has disappeared.
const LATE: Duration = Duration::from_secs(30);

/// A build whose only step sleeps almost forever.
struct Sleeper {
    context: TestContext,
    /// The duration of the sleep. It is unique, so that the process can be found.
    seconds: String,
}

impl Sleeper {
    fn new(engine: &Engine) -> Self {
        let context = TestContext::new(engine);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seconds = format!("1{:09}", now.as_nanos() % 1_000_000_000);
        context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN sleep {seconds}\n"));
        Self { context, seconds }
    }

    /// Starts the build with the engine at `host` and waits until the step runs.
    fn start(&self, host: &str, flags: &[&str]) -> Running {
        let arguments = [&["build", "--metadata-file", "../metadata.json"], flags, &["."]].concat();
        let running = Running::start(self.context.command(&arguments).env("DOCKER_HOST", host));
        await_true(Duration::from_mins(1), "the step runs", || self.is_running());
        running
    }

    /// Returns `true` if a process on this machine, which also runs the engine, runs the step.
    fn is_running(&self) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes.map(|process| std::fs::read(process.path().join("cmdline")).unwrap_or_default()).any(
            |line| {
                let mut arguments = line.split(|byte| *byte == 0);
                arguments.next().is_some_and(|name| name.ends_with(b"sleep"))
                    && arguments.any(|argument| argument == self.seconds.as_bytes())
            },
        )
    }

    fn assert_stopped(&self) {
        await_true(SOON, "the step is stopped", || !self.is_running());
    }

    fn assert_recorded_as(&self, outcome: &str) {
        assert_eq!(json(&self.context.path("metadata.json"))["outcome"], outcome);
        let stats = self.context.larder(&["stats", "--format", "json"]).success();
        let stats: Value = serde_json::from_str(&stats.stdout).unwrap();
        let counts = ["builds", "built", "failed", "interrupted"].map(|name| &stats["sums"][name]);
        let expected = [1, 0, u8::from(outcome == "failed"), u8::from(outcome == "interrupted")];
        assert_eq!(counts, expected.map(Value::from).each_ref());
    }
}

#[test]
fn an_interrupt_stops_the_step_in_the_engine_and_exits_130() {
    for engine in engines() {
        for signal in [Signal::INT, Signal::TERM] {
            let sleeper = Sleeper::new(&engine);
            let running = sleeper.start(&engine.host, &[]);
            running.signal(signal);
            let run = running.end(SOON).failure(130, "interrupted");
            assert!(run.stderr.contains("interrupt again to exit immediately"), "{}", run.stderr);
            sleeper.assert_stopped();
            sleeper.assert_recorded_as("interrupted");
        }
    }
}

#[test]
fn an_interrupt_also_stops_the_step_over_the_direct_transport() {
    let engine = any_engine();
    let server = DirectServer::start(Product::Docker, &engine.host);
    let sleeper = Sleeper::new(&engine);
    let running = sleeper.start(server.host(), &[]);
    running.signal(Signal::INT);
    running.end(SOON).failure(130, "interrupted");
    sleeper.assert_stopped();
}

#[test]
fn a_second_interrupt_exits_at_once() {
    let engine = any_engine();
    let proxy = Proxy::unix(&engine.host);
    let sleeper = Sleeper::new(&engine);
    let running = sleeper.start(proxy.host(), &[]);
    proxy.freeze();
    running.signal(Signal::INT);
    running.await_stderr("interrupt again");
    let clock = Instant::now();
    running.signal(Signal::INT);
    running.end(SOON).failure(130, "interrupted");
    assert!(clock.elapsed() < Duration::from_secs(1), "it took {:?}", clock.elapsed());
    drop(proxy);
    sleeper.assert_stopped();
}

#[test]
fn a_timeout_stops_the_step_and_is_reported() {
    for engine in engines() {
        let sleeper = Sleeper::new(&engine);
        let running = sleeper.start(&engine.host, &["--timeout", "6s"]);
        running.end(SOON).failure(1, "took longer than 6s").hint("--timeout");
        sleeper.assert_stopped();
        sleeper.assert_recorded_as("failed");
    }
}

#[test]
fn an_interrupt_while_a_large_context_is_read_exits_130() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", "FROM scratch\nCOPY large /\n").write("large", "");
    let large = context.project().join("large");
    // The file is sparse: it uses no disk space, but takes minutes to read.
    std::fs::File::options().write(true).open(&large).unwrap().set_len(256 << 30).unwrap();
    let is_read = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let files =
            processes.filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok()).flatten();
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|path| path == large))
    };
    for signal in [Signal::INT, Signal::TERM] {
        let arguments = ["build", "--metadata-file", "../metadata.json", "."];
        let running = Running::start(&mut context.command(&arguments));
        await_true(Duration::from_mins(1), "the file is read", is_read);
        running.signal(signal);
        running.end(SOON).failure(130, "interrupted");
        assert_eq!(json(&context.path("metadata.json"))["outcome"], "interrupted");
    }
}

#[test]
fn a_timeout_starts_with_larder_and_includes_waiting_for_the_engine() {
    let engine = any_engine();
    let sleeper = Sleeper::new(&engine);
    let socket = sleeper.context.path("late.sock");
    let (timeout, absent, limit) = (Duration::from_secs(10), Duration::from_secs(6), Duration::from_secs(15));
    for engine_starts in [true, false] {
        let clock = Instant::now();
        let arguments = ["build", "--wait-for-engine", "1m", "--timeout", &format!("{timeout:?}"), "."];
        let mut command = sleeper.context.command(&arguments);
        let running = Running::start(command.env("DOCKER_HOST", format!("unix://{}", socket.display())));
        running.await_stderr("waiting up to");
        if engine_starts {
            await_true(timeout, "time passes", || clock.elapsed() >= absent);
            std::os::unix::fs::symlink(engine.host.trim_start_matches("unix://"), &socket).unwrap();
            await_true(timeout, "the step runs", || sleeper.is_running());
        }
        running.end(limit).failure(1, "took longer than 10s").hint("--timeout");
        assert!(clock.elapsed() < limit, "it took {:?}", clock.elapsed());
        sleeper.assert_stopped();
        drop(std::fs::remove_file(&socket));
    }
}

#[test]
fn a_build_whose_session_or_control_connection_breaks_fails_with_that_cause() {
    for engine in upgraded_engines() {
        for (connection, cause) in [
            ("POST /session", "the engine closed the session in the middle of the build"),
            ("POST /grpc", "the connection to the engine broke in the middle of the build"),
        ] {
            let proxy = Proxy::unix(&engine.host);
            let sleeper = Sleeper::new(&engine);
            let running = sleeper.start(proxy.host(), &[]);
            proxy.cut(connection);
            running.end(LATE).failure(1, cause).hint("check the engine's log");
            sleeper.assert_stopped();
            sleeper.assert_recorded_as("failed");
        }
    }
}

#[test]
fn idle_tcp_connections_are_probed_to_detect_a_lost_network() {
    let engine = any_engine();
    let proxy = Proxy::tcp(&engine.host);
    let sleeper = Sleeper::new(&engine);
    let running = sleeper.start(proxy.host(), &[]);
    let (_, port) = proxy.host().rsplit_once(':').unwrap();
    let remote = format!("0100007F:{:04X}", port.parse::<u16>().unwrap());
    // The columns are number, local address, remote address, state, queues and timer. Timer 02 is keepalive.
    let probed = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let of_larder = table.lines().filter(|line| line.split_whitespace().nth(2) == Some(&remote));
        let timers = of_larder.filter_map(|line| line.split_whitespace().nth(5));
        timers.filter(|timer| timer.starts_with("02:")).count()
    };
    await_true(SOON, "control and session connection are probed", || probed() >= 2);
    running.signal(Signal::INT);
    running.end(SOON).failure(130, "interrupted");
}

#[test]
fn a_build_whose_engine_dies_fails() {
    let engine = any_engine();
    let server = DirectServer::start(Product::Docker, &engine.host);
    for host in [&engine.host, server.host()] {
        let proxy = Proxy::unix(host);
        let sleeper = Sleeper::new(&engine);
        let running = sleeper.start(proxy.host(), &[]);
        proxy.die();
        running.end(LATE).failure(1, "in the middle of the build").hint("may have been stopped");
        sleeper.assert_stopped();
    }
}

#[test]
fn an_interrupt_ends_a_wait_for_the_engine_or_for_standard_input() {
    // It accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\n"));
    for arguments in [&["build", "."][..], &["key", "."], &["why", "."], &["mount", "restore", "."]] {
        let mut command = context.command(arguments);
        let running =
            Running::start(command.env("DOCKER_HOST", format!("tcp://{}", silent.local_addr().unwrap())));
        await_true(SOON, "larder connects", || is_connected_to(&silent));
        running.signal(Signal::INT);
        running.end(SOON).failure(130, "interrupted");
    }
    let mut command = context.command(&["build", "-"]);
    let running = Running::start(command.stdin(std::process::Stdio::piped()));
    // Before larder has installed its signal handlers, a signal would kill the process without a message.
    await_true(SOON, "larder handles signals", || running.handles_interrupts());
    running.signal(Signal::INT);
    running.end(SOON).failure(130, "interrupted");
}

/// Returns `true` if a client has connected, and keeps that connection open.
fn is_connected_to(listener: &std::net::TcpListener) -> bool {
    listener.set_nonblocking(true).unwrap();
    match listener.accept() {
        Ok((stream, _)) => {
            std::mem::forget(stream);
            true
        }
        Err(_) => false,
    }
}
