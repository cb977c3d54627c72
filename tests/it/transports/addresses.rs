//! TCP and TLS addresses, and the precedence of flags and variables.

use crate::engines::{any_engine, special};
use crate::proxy::Proxy;
use crate::support::{BUSYBOX, Run, TestContext, run_to_end};

fn project(context: &TestContext) {
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY file /\nRUN cat /file\n")).write("file", "x");
}

/// Runs `larder build -q` with these variables set or, where empty, unset.
fn build(context: &TestContext, flags: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = context.command(&[&["build", "-q"], flags, &["."]].concat());
    for (name, value) in variables {
        match *value {
            "" => command.env_remove(name),
            value => command.env(name, value),
        };
    }
    run_to_end(&mut command, None)
}

const UNUSED_ADDRESS: &str = "tcp://127.0.0.1:1";

#[test]
fn a_build_works_over_a_plain_tcp_port() {
    let engine = any_engine();
    let proxy = Proxy::tcp(&engine.host);
    let context = TestContext::new(&engine);
    project(&context);
    let built = build(&context, &[], &[("DOCKER_HOST", proxy.host())]).success();
    assert_eq!(engine.inspect(built.stdout.trim())["Id"], built.stdout.trim());
    assert!(proxy.seen().iter().any(|line| line.starts_with("POST /session")), "{:?}", proxy.seen());
}

#[test]
fn the_host_flag_overrides_all_variables_and_conflicts_with_the_context_flag() {
    let engine = any_engine();
    let context = TestContext::new(&engine);
    project(&context);
    let good = engine.host.as_str();
    build(&context, &["--host", good], &[("DOCKER_HOST", UNUSED_ADDRESS)]).success();
    build(&context, &["-H", good], &[("DOCKER_HOST", UNUSED_ADDRESS), ("DOCKER_CONTEXT", "nonesuch")])
        .success();
    build(&context, &["--host", UNUSED_ADDRESS], &[("DOCKER_HOST", good)])
        .failure(5, "nothing listens")
        .hint("--host");
    build(&context, &[], &[("DOCKER_HOST", good), ("DOCKER_CONTEXT", "nonesuch")]).success();
    let both = build(&context, &["--host", good, "--context", "nonesuch"], &[]);
    both.failure(2, "cannot be used with").hint("--help");
}

#[test]
fn mutual_tls_works_with_dockers_variables() {
    let Some(engine) = special("tls") else { return };
    let context = TestContext::new(&engine);
    project(&context);
    let built = build(&context, &[], &[]).success();
    assert_eq!(engine.inspect(built.stdout.trim())["Id"], built.stdout.trim());
}

#[test]
fn tls_without_verification_accepts_any_server_and_sends_the_client_certificate() {
    let Some(engine) = special("tls") else { return };
    let certificates = engine.certificates().unwrap();
    let context = TestContext::new(&engine);
    project(&context);
    let mixed = context.path("mixed");
    std::fs::create_dir(&mixed).unwrap();
    for (from, name) in [("wrong/ca.pem", "ca.pem"), ("cert.pem", "cert.pem"), ("key.pem", "key.pem")] {
        std::fs::copy(certificates.join(from), mixed.join(name)).unwrap();
    }
    let mixed = mixed.to_string_lossy();
    let path = ("DOCKER_CERT_PATH", mixed.as_ref());
    build(&context, &[], &[path, ("DOCKER_TLS_VERIFY", ""), ("DOCKER_TLS", "1")]).success();
    build(&context, &[], &[path]).failure(2, "cannot establish a TLS connection").hint("ca.pem");
}
