//! Wrong certificates, and mismatches between TLS and plain connections.

use std::path::Path;

use crate::engines::{any_engine, special};
use crate::proxy::Proxy;
use crate::support::{Run, TestContext, run_to_end};

fn build(context: &TestContext, variables: &[(&str, &str)]) -> Run {
    let mut command = context.command(&["build", "."]);
    for (name, value) in variables {
        match *value {
            "" => command.env_remove(name),
            value => command.env(name, value),
        };
    }
    run_to_end(&mut command, None)
}

#[test]
fn each_certificate_problem_has_its_own_error() {
    let Some(engine) = special("tls") else { return };
    let valid = engine.certificates().unwrap();
    let invalid = valid.join("wrong");
    let context = TestContext::new(&engine);
    context.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    std::fs::write(context.path("junk"), "junk\n").unwrap();
    let junk = context.path("junk");
    let missing = Path::new("");
    let file = |directory: &Path, name: &str| directory.join(name);
    for (number, (ca, cert, key, cause, hint)) in [
        (
            file(&invalid, "ca.pem"),
            file(&valid, "cert.pem"),
            file(&valid, "key.pem"),
            "invalid peer certificate",
            "ca.pem",
        ),
        (
            missing.into(),
            file(&valid, "cert.pem"),
            file(&valid, "key.pem"),
            "invalid peer certificate",
            "ca.pem",
        ),
        (
            file(&valid, "ca.pem"),
            file(&invalid, "cert.pem"),
            file(&invalid, "key.pem"),
            "did not accept the client certificate",
            "cert.pem",
        ),
        (
            file(&valid, "ca.pem"),
            missing.into(),
            missing.into(),
            "did not accept the client certificate",
            "cert.pem",
        ),
        (
            file(&valid, "ca.pem"),
            file(&valid, "cert.pem"),
            file(&invalid, "key.pem"),
            "unusable certificate or key",
            "must contain matching",
        ),
        (
            file(&valid, "ca.pem"),
            file(&valid, "cert.pem"),
            missing.into(),
            "cannot read certificate or key",
            "must contain matching",
        ),
        (
            junk.clone(),
            file(&valid, "cert.pem"),
            file(&valid, "key.pem"),
            "there is no certificate in",
            "ca.pem",
        ),
        (
            file(&valid, "ca.pem"),
            junk.clone(),
            file(&valid, "key.pem"),
            "there is no certificate in",
            "cert.pem",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let directory = context.path(&format!("certs-{number}"));
        std::fs::create_dir(&directory).unwrap();
        for (from, name) in [(ca, "ca.pem"), (cert, "cert.pem"), (key, "key.pem")] {
            if from != missing {
                std::fs::copy(from, directory.join(name)).unwrap();
            }
        }
        let run = build(&context, &[("DOCKER_CERT_PATH", &directory.to_string_lossy())]);
        run.failure(2, &format!("cannot establish a TLS connection to {}: ", engine.host))
            .failure(2, cause)
            .hint(hint);
    }
    let nowhere = build(&context, &[("DOCKER_CERT_PATH", "/nonexistent")]);
    nowhere.failure(2, "DOCKER_CERT_PATH: /nonexistent is not a directory").hint("DOCKER_CERT_PATH");
}

#[test]
fn a_plain_connection_to_a_tls_port_suggests_tls() {
    let Some(engine) = special("tls") else { return };
    let context = TestContext::new(&engine);
    context.write("Dockerfile", "FROM scratch\n");
    let run = build(&context, &[("DOCKER_TLS_VERIFY", ""), ("DOCKER_CERT_PATH", "")]);
    run.failure(2, "accepts only TLS connections").hint("DOCKER_TLS_VERIFY=1");
}

#[test]
fn a_tls_connection_to_a_plain_port_suggests_to_disable_tls() {
    let engine = any_engine();
    let proxy = Proxy::tcp(&engine.host);
    let context = TestContext::new(&engine);
    context.write("Dockerfile", "FROM scratch\n");
    let run = build(&context, &[("DOCKER_HOST", proxy.host()), ("DOCKER_TLS_VERIFY", "1")]);
    run.failure(2, "the server does not speak TLS").hint("unset DOCKER_TLS_VERIFY");
}
