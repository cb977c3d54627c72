//! Docker contexts: named addresses in Docker's configuration.

use serde_json::json;

use crate::engines::{any_engine, special};
use crate::support::{BUSYBOX, Run, TestContext, run_to_end, sha256};

/// Creates a project with an engine that is reachable only through Docker contexts.
fn project() -> TestContext {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
    write_context(&context, "ci", &context.engine.host);
    write_context(&context, "gone", "unix:///nonexistent/docker.sock");
    context
}

fn write_context(context: &TestContext, name: &str, host: &str) {
    let id = sha256(name.as_bytes());
    let directory = context.path(&format!("docker/contexts/meta/{id}"));
    std::fs::create_dir_all(&directory).unwrap();
    let metadata = json!({ "Name": name, "Metadata": {}, "Endpoints": { "docker": { "Host": host, "SkipTLSVerify": false } } });
    std::fs::write(directory.join("meta.json"), metadata.to_string()).unwrap();
}

fn build(context: &TestContext, flags: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = context.command(&[&["build", "-q"], flags, &["."]].concat());
    command.env_remove("DOCKER_HOST").envs(variables.iter().copied());
    run_to_end(&mut command, None)
}

#[test]
fn a_context_is_selected_by_flag_then_variable_then_configuration() {
    let context = project();
    build(&context, &["--context", "ci"], &[]).success();
    build(&context, &[], &[("DOCKER_CONTEXT", "ci")]).success();
    build(&context, &["--context", "ci"], &[("DOCKER_CONTEXT", "gone")]).success();
    build(&context, &["--context", "ci"], &[("DOCKER_HOST", "tcp://127.0.0.1:1")]).success();
    let select = |name: &str| {
        std::fs::write(context.path("docker/config.json"), json!({ "currentContext": name }).to_string())
            .unwrap();
    };
    select("ci");
    build(&context, &[], &[]).success();
    build(&context, &[], &[("DOCKER_CONTEXT", "gone")])
        .failure(5, "no socket at /nonexistent/docker.sock")
        .hint("start");
    select("gone");
    build(&context, &[], &[]).failure(5, "no socket at /nonexistent/docker.sock").hint("start the engine");
    build(&context, &[], &[("DOCKER_CONTEXT", "ci")]).success();
}

#[test]
fn a_context_uses_its_own_certificates() {
    let Some(engine) = special("tls") else { return };
    let context = TestContext::new(&engine);
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
    write_context(&context, "secured", &engine.host);
    let tls = context.path(&format!("docker/contexts/tls/{}/docker", sha256(b"secured")));
    std::fs::create_dir_all(&tls).unwrap();
    for name in ["ca.pem", "cert.pem", "key.pem"] {
        std::fs::copy(engine.certificates().unwrap().join(name), tls.join(name)).unwrap();
    }
    let mut command = context.command(&["build", "-q", "--context", "secured", "."]);
    for variable in ["DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"] {
        command.env_remove(variable);
    }
    run_to_end(&mut command, None).success();
}

#[test]
fn an_unknown_context_is_an_error_that_lists_the_known_contexts() {
    let context = project();
    let run = build(&context, &["--context", "staging"], &[]);
    run.failure(2, "no Docker context named `staging` (available: default, ci, gone)").hint("--context");
}
