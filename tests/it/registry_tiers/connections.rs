//! Connections to registries: TLS, logins, mirrors, proxies.

use super::Agent;
use super::front::RegistryProxy;
use crate::engines::{any_engine, engines};
use crate::registries::{LOGIN, Registry};
use crate::support::{Run, json, run_to_end};

/// Builds with these environment variables.
fn build(agent: &Agent, variables: &[(&str, &str)], arguments: &[&str]) -> (serde_json::Value, Run) {
    let (cache, metadata) = (agent.path("cache"), agent.path("metadata.json"));
    let own = ["build", "--cache-dir", &cache, "--metadata-file", &metadata];
    let mut command = agent.context.command(&[&own[..], arguments, &["."]].concat());
    let run = run_to_end(command.envs(variables.iter().copied()), None).success();
    (json(metadata.as_ref()), run)
}

#[test]
fn the_certificate_of_a_registry_is_verified_with_the_configured_ca() {
    for engine in engines() {
        let (registry, authority) = Registry::tls();
        let agent = Agent::new(&engine);
        registry.log_in(&agent.context.path("docker"), LOGIN);
        let (right, wrong) = (agent.path("right"), agent.path("wrong"));
        for (directory, authority) in [(&right, authority), (&wrong, Registry::tls().1)] {
            let directory = std::path::Path::new(directory).join(&registry.host);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("ca.crt"), authority).unwrap();
        }
        let name = format!("{}/app:1", registry.host);
        let arguments = ["--push", "-t", &name];
        let (first, run) = build(&agent, &[("LARDER_CERTS_DIR", &right)], &arguments);
        assert!(first["kept_layers"]["references"].is_array(), "{}: {}", engine.name, run.stderr);
        assert!(!run.stderr.contains("warning"), "{}", run.stderr);
        let other = agent.other_agent(&engine, "b");
        let (hit, run) = build(&other, &[("LARDER_CERTS_DIR", &right)], &arguments);
        assert_eq!(hit["hit_tier"], "registry", "{}", run.stderr);
        let stranger = agent.other_agent(&engine, "c");
        let (built, run) = build(&stranger, &[("LARDER_CERTS_DIR", &wrong)], &arguments);
        assert_eq!(built["outcome"], "built", "{}", run.stderr);
        assert!(run.stderr.contains("certificate") && run.stderr.contains("certs.d"), "{}", run.stderr);
        // As Docker does for a registry on its own machine, larder accepts the certificate without a CA.
        let trusting = agent.other_agent(&engine, "d");
        let (hit, run) = build(&trusting, &[], &arguments);
        assert_eq!(hit["hit_tier"], "registry", "{}", run.stderr);
    }
}

#[test]
fn remote_registries_are_queried_through_the_proxy() {
    let agent = Agent::new(&any_engine());
    // This proxy answers no calls. It only records them.
    let proxy = RegistryProxy::before("127.0.0.1:9");
    let address = format!("http://{}", proxy.host);
    let tag = agent.context.tag("proxy");
    let arguments = ["--cache-repo", "registry.invalid/app", "-t", &tag];
    let (built, run) = build(&agent, &[("HTTPS_PROXY", &address)], &arguments);
    assert_eq!(built["outcome"], "built", "{}", run.stderr);
    let calls = proxy.begun();
    assert!(
        calls.iter().any(|line| line.starts_with("CONNECT registry.invalid:443")),
        "{calls:?}: {}",
        run.stderr
    );
    let direct = agent.other_agent(&any_engine(), "b");
    build(&direct, &[("HTTPS_PROXY", &address), ("NO_PROXY", "registry.invalid")], &arguments);
    assert!(proxy.begun().is_empty());
}
