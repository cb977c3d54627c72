//! Builds whose caches, registry or engine are down, damaged or not allowed.

use super::record::{Scenario, recorded_engine};
use crate::registry_tiers::front::Fault;
use crate::support::BUSYBOX;

const OLD: &str = "docker-20.10";
/// An address on which nothing listens.
const DOWN: &str = "127.0.0.1:9";

#[test]
fn the_registry_is_down() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let (tag, cache) = (scenario.context.tag("app"), format!("{DOWN}/app"));
    scenario.larder(&["build", "--cache-repo", &cache, "-t", &tag, "."]);
    scenario.larder(&["build", "--cache-repo", &cache, "--strict", "--key-extra", "a=1", "-t", &tag, "."]);
    scenario.larder(&["build", "--push", "--key-extra", "a=2", "-t", &format!("{DOWN}/app:1"), "."]);
    scenario.compare("the_registry_is_down");
}

#[test]
fn the_registry_fails() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine).with_registry();
    let tag = scenario.name("1");
    scenario.front().fail("GET", "/manifests/", Fault::Answer("403 Forbidden", "{}"), 1000);
    scenario.larder(&["build", "--push", "-t", &tag, "."]);
    scenario.front().heal();
    scenario.front().fail("PUT", "/manifests/", Fault::Answer("403 Forbidden", "{}"), 1000);
    scenario.larder(&["build", "--push", "--key-extra", "a=1", "-t", &tag, "."]);
    scenario.compare("the_registry_fails");
}

#[test]
fn the_remote_store_is_down() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let tag = scenario.context.tag("app");
    let remote = format!("s3://bucket/x?endpoint=http://{DOWN}&region=us-east-1");
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    for more in [&[][..], &["--strict", "--key-extra", "a=1"]] {
        let arguments = [&["build", "--remote", &remote, "-t", &tag], more, &["."]].concat();
        let mut command = scenario.command(&arguments);
        let run = crate::support::run_to_end(command.envs(keys.map(|key| (key, "a"))), None);
        scenario.record(&arguments, &run);
    }
    scenario.compare("the_remote_store_is_down");
}

#[test]
fn the_cache_directory_cannot_be_used() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let mark = scenario.context.tag("mark");
    let mount = format!("--mount=type=cache,id={mark},target=/c");
    scenario.context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN {mount} echo {mark} > /c/a\n"));
    std::fs::write(scenario.context.path("a-cache"), "a file").unwrap();
    let tag = scenario.context.tag("app");
    for more in [&[][..], &["--enable-cache"], &["--strict"]] {
        let arguments = [&["build", "-t", &tag], more, &["."]].concat();
        scenario.larder(&arguments);
    }
    scenario.compare("the_cache_directory_cannot_be_used");
}

#[test]
fn the_engine_is_a_buildkitd_or_is_down() {
    use crate::direct_server::{DirectServer, Product};
    let Some(engine) = recorded_engine(OLD) else { return };
    let server = DirectServer::start(Product::Buildkitd, &engine.host);
    let mut scenario = Scenario::new(&engine.at("buildkitd", server.host()));
    scenario.larder(&["build", "-o", "../out", "."]);
    scenario.larder(&["build", "-t", "app", "."]);
    let mut scenario_down = Scenario::new(&engine.at("down", "tcp://127.0.0.1:9"));
    scenario_down.larder(&["build", "."]);
    scenario.compare("the_engine_is_a_buildkitd");
    scenario_down.compare("the_engine_is_down");
}
