//! Images for several platforms, which a registry stores as one index.

use serde_json::Value;

use super::front::RegistryProxy;
use super::{Agent, tags};
use crate::engines::{Engine, engines};
use crate::registries::Registry;
use crate::support::TestContext;

const BOTH: &str = "linux/arm64,linux/amd64";

/// Returns an agent on an engine that can build for several platforms, if there is one. Its project has no RUN steps.
fn agent() -> Option<Agent> {
    let engine = engines().into_iter().find(Engine::is_containerd)?;
    let context = TestContext::new(&engine);
    let mark = context.tag("mark");
    for platform in ["amd64", "arm64"] {
        context.write(&format!("app-{platform}"), format!("{mark} {platform}\n"));
    }
    context
        .write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY app-${TARGETARCH} /app\nCOPY app-* /all/\n");
    Some(Agent { context, name: "a".to_owned() })
}

/// Returns the architectures of an index, sorted.
fn architectures(index: &str) -> Vec<String> {
    let index: Value = serde_json::from_str(index).unwrap();
    let entries = index["manifests"].as_array().unwrap_or_else(|| panic!("no index: {index}"));
    let mut found: Vec<String> =
        entries.iter().map(|entry| entry["platform"]["architecture"].as_str().unwrap().to_owned()).collect();
    found.retain(|architecture| architecture != "unknown");
    found.sort();
    found
}

#[test]
fn an_image_for_several_platforms_is_found_and_tagged_as_one_index() {
    let Some(agent) = agent() else { return };
    let registry = Registry::open();
    let front = RegistryProxy::before(&registry.host);
    let name = |tag: &str| format!("{}/app:{tag}", front.host);
    let first = agent.build(&["--push", "--enable-cache", "--platform", BOTH, "-t", &name("1")]);
    assert_eq!(first.record["outcome"], "built", "{}", first.run.stderr);
    assert_eq!(first.tier("archive").1, "an image for several platforms is not archived");
    assert_eq!(architectures(&registry.manifest("app", "1")), ["amd64", "arm64"]);

    let engine = agent.context.engine.clone();
    let other = agent.other_agent(&engine, "b");
    front.seen();
    let second = other.build(&["--push", "--platform", "linux/amd64,linux/arm64", "-t", &name("2")]);
    assert!(second.is_hit_in_registry(), "{}", second.run.stderr);
    let changed = front.seen();
    let changed: Vec<&str> =
        changed.iter().filter(|call| call.method != "GET").map(|call| call.path.as_str()).collect();
    assert_eq!(changed, ["/v2/app/manifests/2", "/v2/app/manifests/larder-builds"]);
    assert_eq!(registry.manifest("app", "2"), registry.manifest("app", "1"));

    // The image for one of the platforms is a different image.
    let alone =
        agent.other_agent(&engine, "c").build(&["--push", "--platform", "linux/arm64", "-t", &name("3")]);
    assert_eq!(alone.record["outcome"], "built", "{}", alone.run.stderr);
    // A file for only one platform changes the key of the whole image.
    agent.context.write("app-arm64", "2");
    let changed = agent.build(&["--push", "--platform", BOTH, "-t", &name("4")]);
    assert_eq!(changed.record["outcome"], "built", "{}", changed.run.stderr);
    assert!(changed.tier("engine").1.ends_with("app-arm64 changed"), "{}", changed.run.stderr);
}

#[test]
fn an_image_for_several_platforms_is_rebuilt_with_load() {
    let Some(agent) = agent() else { return };
    let registry = Registry::open();
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "--platform", BOTH, "-t", &name]);
    let engine = agent.context.engine.clone();
    let built = agent.other_agent(&engine, "b").build(&["--push", "--load", "--platform", BOTH, "-t", &name]);
    assert_eq!(built.record["outcome"], "built", "{}", built.run.stderr);
    assert_eq!(built.tier("registry").1, "an engine cannot pull an image for several platforms");
    assert_eq!(architectures(&registry.manifest("app", "1")), ["amd64", "arm64"]);
}

#[test]
fn builds_for_different_architectures_have_separate_layer_caches_in_one_repository() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = Agent::new(&engine);
        let mark = agent.context.tag("mark");
        agent.context.write("app", mark).write("Dockerfile", "FROM scratch\nCOPY app /app\n");
        let build = |agent: &Agent, architecture: &str| {
            let (platform, name) =
                (format!("linux/{architecture}"), format!("{}/app:{architecture}", registry.host));
            let built = agent.build(&["--push", "--platform", &platform, "-t", &name, "--provenance=false"]);
            assert!(built.record["kept_layers"].is_object(), "{}: {}", engine.name, built.run.stderr);
            built
        };
        build(&agent, "amd64");
        build(&agent, "arm64");
        let caches: Vec<String> =
            tags(&registry, "app").into_iter().filter(|tag| tag.contains("cache")).collect();
        let expected = ["buildcache", "buildcache_linux.arm64", "cache", "cache_linux.arm64"];
        assert_eq!(caches, if engine.is_containerd() { &expected[..] } else { &expected[2..] });
        for (tag, architecture) in [("cache", "amd64"), ("cache_linux.arm64", "arm64")] {
            let config: Value = serde_json::from_str(&registry.config("app", tag)).unwrap();
            assert_eq!(config["architecture"], architecture, "{}: {tag}", engine.name);
        }
        // A build imports only the layers for its platform.
        let name = format!("{}/app:again", registry.host);
        for (platform, tag) in [("linux/amd64", "cache"), ("linux/arm64/v8", "cache_linux.arm64")] {
            let arguments = ["--push", "--platform", platform, "-t", &name, "--key-extra", "a=1"];
            let (_, reason) = agent.build(&arguments).tier("layers");
            let imported = reason.rsplit_once(&format!("{}/app:", registry.host)).unwrap().1;
            assert_eq!(imported.trim_start_matches("build"), tag, "{}: {reason}", engine.name);
        }
    }
}
