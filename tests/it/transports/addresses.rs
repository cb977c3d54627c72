//! TCP and TLS, and which address counts.

use crate::engines::{any_engine, special};
use crate::proxy::Proxy;
use crate::support::{BUSYBOX, Run, TestContext, finish};

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
    finish(&mut command, None)
}

const NOBODY: &str = "tcp://127.0.0.1:1";

#[test]
fn a_tcp_port_in_the_clear_is_an_engine_like_any() {
    let engine = any_engine();
    let proxy = Proxy::tcp(&engine.host);
    let context = TestContext::new(&engine);
    project(&context);
    let built = build(&context, &[], &[("DOCKER_HOST", proxy.host())]).success();
    assert_eq!(engine.inspect(built.stdout.trim())["Id"], built.stdout.trim());
    assert!(proxy.seen().iter().any(|line| line.starts_with("POST /session")), "{:?}", proxy.seen());
}

#[test]
fn the_host_flag_goes_before_the_context_flag_and_both_before_every_variable() {
    let engine = any_engine();
    let context = TestContext::new(&engine);
    project(&context);
    let good = engine.host.as_str();
    build(&context, &["--host", good], &[("DOCKER_HOST", NOBODY)]).success();
    build(&context, &["-H", good], &[("DOCKER_HOST", NOBODY), ("DOCKER_CONTEXT", "nonesuch")]).success();
    build(&context, &["--host", NOBODY], &[("DOCKER_HOST", good)])
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
fn tls_without_verifying_takes_any_server_but_still_shows_the_clients_certificate() {
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
    build(&context, &[], &[path]).failure(2, "no TLS connection").hint("ca.pem");
}
