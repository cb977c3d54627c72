//! Docker's `config.json`: credential helpers that are missing, fail or hang, proxies for one engine, invalid files.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::engines::any_engine;
use crate::registries::{LOGIN, Registry};
use crate::support::{BUSYBOX, Run, TestContext, run_to_end};

fn context() -> TestContext {
    let context = TestContext::new(&any_engine());
    context
        .write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY mark /mark\n"))
        .write("mark", context.tag("mark"));
    context
}

fn configure(context: &TestContext, config: &str) {
    std::fs::create_dir_all(context.path("docker")).unwrap();
    std::fs::write(context.path("docker/config.json"), config).unwrap();
}

/// Writes a credential helper `docker-credential-NAME` into the test's `bin`. It records each request in
/// `NAME.requests`.
fn helper(context: &TestContext, name: &str, script: &str) {
    let path = context.path(&format!("bin/docker-credential-{name}"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let requests = context.path(&format!("{name}.requests"));
    std::fs::write(
        &path,
        format!("#!/bin/sh\nread host; echo \"$1 $host\" >>{}\n{script}\n", requests.display()),
    )
    .unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn helper_requests(context: &TestContext, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(context.path(&format!("{name}.requests"))).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn larder(context: &TestContext, arguments: &[&str]) -> Command {
    let mut command = context.command(arguments);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", context.path("bin").display()));
    command
}

fn push(context: &TestContext, name: &str) -> Run {
    run_to_end(&mut larder(context, &["build", "--push", "-t", name, "."]), None)
}

#[test]
fn every_request_to_the_engine_has_the_configured_http_headers() {
    let context = context();
    configure(&context, r#"{"HttpHeaders":{"X-Team":"blue","Host":"elsewhere","not a header":"x"}}"#);
    let engine = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", engine.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut heads = Vec::new();
        // Answer the ping like an engine, and every later request with an error.
        for stream in engine.incoming().take(2) {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let status = if head.contains("/_ping") { "200 OK" } else { "404 Not Found" };
            let response = format!(
                "HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nOSType: linux\r\nBuilder-Version: 2\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(response.as_bytes()).unwrap();
            heads.push(head);
        }
        heads
    });
    context.larder(&["build", "--host", &address, "."]);
    for head in server.join().unwrap() {
        assert!(head.contains("x-team: blue\r\n") && head.contains("host: docker\r\n"), "{head}");
    }
}

#[test]
fn a_missing_helper_causes_only_a_warning_if_the_registry_needs_no_login() {
    let (context, registry) = (context(), Registry::open());
    let host = &registry.host;
    configure(&context, &format!(r#"{{"auths":{{"{host}":{{}}}},"credsStore":"absent"}}"#));
    let expected = "docker-credential-absent is not in PATH; going on without it";
    let local = context.larder(&["build", "."]).success();
    assert!(!local.stderr.contains("warning"), "no registry is used: {}", local.stderr);
    let run = push(&context, &format!("{host}/app:1")).success();
    assert_eq!(run.stderr.matches(expected).count(), 1, "{}", run.stderr);
    let agent = context.path("agent");
    let mut again = larder(&context, &["build", "--push", "-t", &format!("{host}/app:2"), "."]);
    let again = run_to_end(again.env("LARDER_CACHE_DIR", agent), None).success();
    assert!(again.stderr.contains("image hit (registry)"), "{}", again.stderr);
}

#[test]
fn credentials_are_read_from_the_same_sources_as_docker() {
    let (context, registry) = (context(), Registry::start());
    let host = &registry.host;
    let credentials =
        |user: &str| format!(r#"echo '{{"ServerURL":"x","Username":"{user}","Secret":"s3cret"}}'"#);
    helper(&context, "good", &credentials("ci"));
    helper(&context, "other", &credentials("nobody"));
    helper(&context, "empty", "echo 'credentials not found in native keychain'; exit 1");
    helper(&context, "locked", "echo 'the keychain is locked' >&2; exit 1");
    let file = format!(r#""auths":{{"{host}":{{"auth":"{LOGIN}"}}}}"#);
    let url_key = format!(r#""auths":{{"https://{host}/v2/":{{"auth":"{LOGIN}"}}}}"#);
    for (config, is_pushed, warning) in [
        (format!("{{{url_key}}}"), true, None),
        (r#"{"credsStore":"good"}"#.to_owned(), true, None),
        (format!(r#"{{"credHelpers":{{"{host}":"good"}},"credsStore":"other"}}"#), true, None),
        // An empty helper name selects the file. Otherwise a helper takes precedence over the file.
        (format!(r#"{{{file},"credHelpers":{{"{host}":""}},"credsStore":"other"}}"#), true, None),
        (format!(r#"{{{file},"credsStore":"other"}}"#), false, None),
        (format!(r#"{{{file},"credsStore":"empty"}}"#), false, None),
        // If the helper fails, the file is used.
        (
            format!(r#"{{{file},"credsStore":"absent"}}"#),
            true,
            Some("docker-credential-absent is not in PATH"),
        ),
        (
            format!(r#"{{{file},"credsStore":"locked"}}"#),
            true,
            Some("-locked failed: the keychain is locked"),
        ),
        (r#"{"credsStore":"locked"}"#.to_owned(), false, Some("-locked failed: the keychain is locked")),
    ] {
        configure(&context, &config);
        let run = push(&context, &format!("{host}/app:1"));
        assert_eq!(run.code, i32::from(!is_pushed), "{config}\n{}", run.stderr);
        let warned = run.stderr.contains(&format!("no login for {host}: "));
        assert!(
            warned == warning.is_some() && run.stderr.contains(warning.unwrap_or_default()),
            "{}",
            run.stderr
        );
    }
    assert_eq!(helper_requests(&context, "good")[0], format!("get {host}"));
    configure(&context, "{}");
    let given = format!(r#"{{"auths":{{"{host}":{{"auth":"{LOGIN}"}}}}}}"#);
    let mut command = larder(&context, &["build", "--push", "-t", &format!("{host}/app:1"), "."]);
    run_to_end(command.env("DOCKER_AUTH_CONFIG", given), None).success();
}

#[test]
fn a_helper_is_run_once_and_only_if_a_registry_is_used() {
    let context = context();
    helper(&context, "slow", "exec sleep 300");
    configure(&context, r#"{"credsStore":"slow"}"#);
    run_to_end(&mut larder(&context, &["build", "-t", &context.tag("app"), "."]), None).success();
    assert_eq!(helper_requests(&context, "slow"), [""; 0]);
    let registry = Registry::open();
    let clock = Instant::now();
    let run = push(&context, &format!("{}/app:1", registry.host)).success();
    assert_eq!(helper_requests(&context, "slow"), [format!("get {}", registry.host)]);
    assert!(run.stderr.contains("docker-credential-slow did not answer in 15s"), "{}", run.stderr);
    assert!(clock.elapsed() < Duration::from_mins(1), "{:?}", clock.elapsed());
}

#[test]
fn a_run_step_gets_the_proxies_configured_for_its_engine() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN env | grep -i _proxy= | sort\n"));
    let host = &context.engine.host;
    let default = r#""default":{"httpProxy":"http://default.example"}"#;
    for (proxies, expected) in [
        (format!("{{{default}}}"), "HTTP_PROXY=http://default.example"),
        (
            format!(r#"{{{default},"{host}":{{"httpsProxy":"http://own.example"}}}}"#),
            "HTTPS_PROXY=http://own.example",
        ),
    ] {
        configure(&context, &format!(r#"{{"proxies":{proxies}}}"#));
        let run = context.larder(&["build", "--no-cache", "--progress", "plain", "."]).success();
        let seen = run.stderr.lines().filter(|line| line.contains("_PROXY=http")).collect::<Vec<_>>();
        assert!(seen.len() == 1 && seen[0].ends_with(expected), "{seen:?}");
    }
}

#[test]
fn an_invalid_configuration_causes_a_warning() {
    let context = context();
    for (config, warning) in [
        ("{", "config.json is not JSON: "),
        ("[]", "config.json is not a JSON object; going on without"),
        (r#"{"credHelpers":["x"]}"#, "`credHelpers` in "),
    ] {
        configure(&context, config);
        let run = context.larder(&["build", "."]).success();
        assert_eq!(run.stderr.matches("warning: ").count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains(warning), "{}", run.stderr);
    }
    configure(
        &context,
        r#"{"psFormat":3,"HttpHeaders":null,"plugins":{},"experimental":"enabled","auths":null}"#,
    );
    assert!(!context.larder(&["build", "."]).success().stderr.contains("warning"));
    let mut command = context.command(&["build", "."]);
    let run = run_to_end(command.env("DOCKER_AUTH_CONFIG", "s3cret"), None).success();
    assert!(run.stderr.contains("DOCKER_AUTH_CONFIG is not a JSON object") && !run.stderr.contains("s3cret"));
    let mut command = context.command(&["build", "--progress", "json", "."]);
    let run = run_to_end(command.env("DOCKER_AUTH_CONFIG", "s3cret"), None).success();
    assert!(run.stderr.lines().all(|line| line.starts_with('{')), "{}", run.stderr);
}

#[test]
fn the_configuration_is_read_from_docker_config_or_the_home_directory() {
    let context = context();
    let write_invalid = |directory: &str| {
        std::fs::create_dir_all(context.path(directory)).unwrap();
        std::fs::write(context.path(directory).join("config.json"), "{").unwrap();
    };
    write_invalid("home/.docker");
    write_invalid("relative");
    let below_home = "home/.docker/config.json";
    for (value, path) in [
        (None, Some(below_home)),
        (Some(""), Some(below_home)),
        (Some("../relative"), Some("../relative/config.json")),
        (Some("../missing"), None),
    ] {
        let mut command = context.command(&["build", "."]);
        match value {
            Some(value) => command.env("DOCKER_CONFIG", value),
            None => command.env_remove("DOCKER_CONFIG"),
        };
        let run = run_to_end(&mut command, None).success();
        let warned = run.stderr.lines().find(|line| line.starts_with("warning: Docker's configuration"));
        assert_eq!(warned.is_some(), path.is_some(), "{value:?}: {}", run.stderr);
        assert!(warned.unwrap_or_default().contains(path.unwrap_or_default()), "{warned:?}");
    }
}

#[test]
fn the_error_for_a_missing_context_names_it_and_where_it_was_set() {
    let context = TestContext::new(&any_engine().at("none", ""));
    context.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    configure(&context, r#"{"currentContext":"gone"}"#);
    let expected = "there is no Docker context named `gone`";
    context.larder(&["build", "."]).failure(2, expected).hint("currentContext");
    context.larder(&["build", "--context", "gone", "."]).failure(2, &format!("--context: {expected}"));
    let mut command = context.command(&["build", "."]);
    run_to_end(command.env("DOCKER_CONTEXT", "gone"), None)
        .failure(2, &format!("DOCKER_CONTEXT: {expected}"));
}

#[test]
fn an_unknown_larder_variable_causes_a_warning() {
    let context = context();
    let run = run_to_end(context.command(&["build", "."]).env("LARDER_CACHEDIR", "/x"), None).success();
    let expected =
        "warning: LARDER_CACHEDIR is not a variable that larder reads; did you mean LARDER_CACHE_DIR?";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}
