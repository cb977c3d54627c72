//! Runs on several engines: an image is built once, loaded into every engine, and run on all of them.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::engines::{Engine, engines};
use crate::running::Running;
use crate::support::{BUSYBOX, Run, TestContext};

fn project(context: &TestContext) {
    let mut noise = vec![0; 1_000_000];
    getrandom::fill(&mut noise).unwrap();
    context
        .write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY noise own /\nRUN touch /built\n"))
        .write("noise", noise)
        .write("own", context.tag("own"));
}

/// Runs larder with a `--host` for each of these engines.
fn larder(context: &TestContext, hosts: &[&str], arguments: &[&str]) -> Run {
    let hosts: Vec<&str> = hosts.iter().flat_map(|host| ["--host", host]).collect();
    context.larder(&[arguments[..1].to_vec(), hosts, arguments[1..].to_vec()].concat())
}

fn info(context: &TestContext, image: &str) -> Value {
    let list = context.larder(&["cache", "list", "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let entries = list["entries"].as_array().unwrap();
    let id = entries.iter().find(|entry| entry["image"] == image).unwrap()["id"].as_str().unwrap();
    let info = context.larder(&["cache", "info", id, "--format", "json"]).success();
    serde_json::from_str(&info.stdout).unwrap()
}

/// Returns the lines that start with this host's name, without the name.
fn lines_of(text: &str, host: &str) -> Vec<String> {
    let prefix = format!("{host} | ");
    text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

#[test]
fn an_image_is_built_once_and_run_on_every_engine() {
    let engines: Vec<Engine> = engines();
    let hosts: Vec<&str> = engines.iter().map(|engine| engine.host.as_str()).collect();
    let context = TestContext::new(&engines[0]);
    project(&context);
    let (tag, rows) = (context.tag("app"), context.path("rows.csv"));
    let output = rows.to_str().unwrap();
    let command = [
        "run",
        "-t",
        &tag,
        "--output",
        output,
        "-e",
        "WHO=me",
        ".",
        "--",
        "sh",
        "-c",
        "echo $WHO; cat /own; echo; echo err >&2",
    ];
    let first = larder(&context, &hosts, &command).success();
    for engine in &engines {
        assert_eq!(lines_of(&first.stdout, &engine.host), ["me", &context.tag("own")], "{}", first.stdout);
        let lines = lines_of(&first.stderr, &engine.host);
        assert!(lines.contains(&"err".to_owned()), "{}", first.stderr);
        assert!(lines.iter().any(|line| line.contains("exit status 0")), "{}", first.stderr);
        assert_eq!(
            engine.read(&tag, "/own"),
            context.tag("own").as_bytes(),
            "the image has its name on every engine"
        );
    }
    assert_eq!(first.stderr.matches("built in ").count(), 1, "{}", first.stderr);
    let text = std::fs::read_to_string(&rows).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|row| row.split(',').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[9]).collect::<Vec<_>>(), hosts, "{text}");
    assert_eq!(
        rows.iter().map(|row| row[3]).collect::<Vec<_>>()[1..],
        vec!["archive"; hosts.len() - 1],
        "{text}"
    );
    let entry = info(&context, &tag);
    assert_eq!(entry["nodes"], hosts.len(), "{entry:#}");
    let shown = context.larder(&["cache", "info", entry["id"].as_str().unwrap()]).success().stdout;
    assert!(shown.contains(&format!("nodes      {}", hosts.len())), "{shown}");
    // An engine that already has the image receives nothing.
    let again = larder(&context, &hosts, &command).success();
    assert!(!again.stderr.contains("loaded the image"), "{}", again.stderr);
    assert_eq!(again.stderr.matches("is in the engine already").count(), hosts.len() - 1, "{}", again.stderr);
}

#[test]
fn an_image_in_the_first_engine_is_archived_to_load_it_into_the_others() {
    let engines = engines();
    let hosts: Vec<&str> = engines[..2].iter().map(|engine| engine.host.as_str()).collect();
    let context = TestContext::new(&engines[0]);
    project(&context);
    let tag = context.tag("app");
    context.larder(&["build", "-t", &tag, "--tiers", "engine", "."]).success();
    let run = larder(&context, &hosts, &["run", "-t", &tag, ".", "--", "cat", "/own"]).success();
    assert!(
        run.stderr.contains("image hit (engine)") && run.stderr.contains("archived the image as entry "),
        "{}",
        run.stderr
    );
    for host in &hosts {
        assert_eq!(lines_of(&run.stdout, host), [context.tag("own")], "{}", run.stdout);
    }
    // Settings that prevent the transfer to other engines are reported before anything is built.
    for (flags, cause) in
        [(["--tiers", "engine"], "archive tier is off"), (["--read-only", "--strict"], "read-only")]
    {
        let arguments = [&["run", "-t", &tag][..], &flags, &["."]].concat();
        larder(&context, &hosts, &arguments).failure(2, cause).hint("use a single engine");
    }
    let mut off = context.command(&["run", "-H", hosts[0], "-H", hosts[1], "-t", &tag, "."]);
    let off = off.env("LARDER_ENABLED", "0").output().unwrap();
    let stderr = String::from_utf8_lossy(&off.stderr);
    assert!(off.status.code() == Some(2) && stderr.contains("caching is switched off"), "{stderr}");
    // The image is too large for the archive: only the engine that has it can run it.
    context.write("own", context.tag("other"));
    let arguments = ["run", "-t", &tag, "--cache-max-size-gb", "0.0001", ".", "--", "cat", "/own"];
    let run =
        larder(&context, &hosts, &arguments).failure(1, &format!("1 of 2 engines failed: {}", hosts[1]));
    assert_eq!(lines_of(&run.stdout, hosts[0]), [context.tag("other")], "{}", run.stderr);
}

#[test]
fn an_interrupt_stops_the_containers_on_all_engines() {
    let engines = engines();
    let hosts: Vec<&str> = engines[..2].iter().map(|engine| engine.host.as_str()).collect();
    let context = TestContext::new(&engines[0]);
    project(&context);
    let (tag, name) = (context.tag("app"), context.tag("run").replace(['/', ':'], "-"));
    let flags: Vec<&str> = hosts.iter().flat_map(|host| ["--host", host]).collect();
    let script = "trap 'echo stopped; exit 5' TERM; echo ready >&2; while :; do sleep 0.1; done";
    let command = ["--name", &name, "-t", &tag, ".", "--", "sh", "-c", script];
    let running = Running::start(&mut context.command(&[&["run"][..], &flags, &command].concat()));
    for host in hosts {
        running.await_stderr(&format!("{host} | ready\n"));
    }
    running.signal(Signal::INT);
    let run = running.end(Duration::from_mins(1));
    assert_eq!((run.code, run.stdout.matches(" | stopped\n").count()), (130, 2), "{}", run.stderr);
    for engine in &engines[..2] {
        let filter = format!("name={name}");
        let containers =
            engine.docker().args(["ps", "--all", "--quiet", "--filter", &filter]).output().unwrap();
        assert_eq!(containers.stdout, b"", "{}", engine.name);
    }
}

#[test]
fn an_engine_that_is_down_is_reported_and_does_not_stop_the_others() {
    let engines = engines();
    let down = "tcp://127.0.0.1:9";
    for position in [0, 1] {
        let context = TestContext::new(&engines[0]);
        project(&context);
        let tag = context.tag("app");
        let mut hosts: Vec<&str> = engines[..2].iter().map(|engine| engine.host.as_str()).collect();
        hosts.insert(position, down);
        let run = larder(&context, &hosts, &["run", "-t", &tag, ".", "--", "cat", "/own"]);
        let run = run.failure(1, &format!("1 of 3 engines failed: {down}"));
        for engine in &engines[..2] {
            assert_eq!(lines_of(&run.stdout, &engine.host), [context.tag("own")], "{}", run.stderr);
        }
        assert!(lines_of(&run.stderr, down).iter().any(|line| line.starts_with("error: ")), "{}", run.stderr);
        // The exit code of the user's command takes precedence over the failure of an engine.
        let run = larder(&context, &hosts, &["run", "-t", &tag, ".", "--", "sh", "-c", "exit 7"]);
        assert_eq!(run.code, 7, "{}", run.stderr);
        assert!(run.stderr.contains(&format!("1 of 3 engines failed: {down}")), "{}", run.stderr);
    }
    let context = TestContext::new(&engines[0]);
    project(&context);
    larder(&context, &[down, "unix:///nonexistent"], &["run", "."])
        .failure(2, "none of the 2 engines can be reached");
    larder(&context, &["bad://x"], &["run", "."]).failure(2, "--host");
    for command in [&["build", "."][..], &["stats"], &["cache", "list"]] {
        larder(&context, &[down, down], command)
            .failure(2, "only larder run and larder cache load support several engines");
    }
}

#[test]
fn an_entry_is_loaded_into_every_engine() {
    let engines = engines();
    let context = TestContext::with_archiving(&engines[0]);
    project(&context);
    let tag = context.tag("app");
    context.larder(&["build", "-t", &tag, "."]).success();
    let id = info(&context, &tag)["id"].as_str().unwrap().to_owned();
    let hosts: Vec<&str> = engines.iter().map(|engine| engine.host.as_str()).collect();
    let load = |hosts: &[&str]| {
        let hosts: Vec<&str> = hosts.iter().flat_map(|host| ["--host", host]).collect();
        context.larder(&[vec!["cache", "load", &id], hosts].concat())
    };
    let loaded = load(&hosts).success();
    for (engine, line) in engines.iter().zip(loaded.stdout.lines()) {
        let image = engine.inspect(&tag);
        assert_eq!(line, format!("{} {}", engine.host, image["Id"].as_str().unwrap()), "{}", loaded.stderr);
    }
    let again = load(&hosts[..1]).success();
    assert!(
        again.stdout.starts_with("sha256:") && again.stderr.contains("is in the engine already"),
        "{}",
        again.stderr
    );
    let down = "unix:///nonexistent/docker.sock";
    let run = load(&[hosts[0], down]).failure(1, &format!("1 of 2 engines failed: {down}"));
    assert!(run.stdout.starts_with(hosts[0]), "{}", run.stdout);
    context.larder(&["cache", "load", "0000"]).failure(2, "there is no cache entry `0000`");
    // An entry that is run with `--from-cache` is loaded into every engine, too.
    let run = larder(&context, &hosts, &["run", "--from-cache", &id, "--", "cat", "/own"]).success();
    for host in hosts {
        assert_eq!(lines_of(&run.stdout, host), [context.tag("own")], "{}", run.stdout);
    }
}
