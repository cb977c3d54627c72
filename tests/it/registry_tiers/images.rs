//! Whole images that a registry has.

use super::front::{Fault, Front};
use super::{Agent, tags};
use crate::engines::{any_engine, engines, every_engine};
use crate::registries::Registry;
use crate::support::{BUSYBOX, json};

/// More than any manifest or config here, less than the one layer of the base image.
const NO_LAYER: usize = 20_000;

#[test]
fn a_pushed_image_is_named_in_its_registry_and_no_layer_moves() {
    let all = engines();
    for (index, engine) in all.iter().enumerate() {
        let registry = Registry::open();
        let front = Front::before(&registry.host);
        let agent = Agent::new(engine);
        let name = |tag: &str| format!("{}/app:{tag}", front.host);
        let first = agent.build(&["--push", "-t", &name("1")]);
        assert_eq!(first.record["outcome"], "built");
        let kept = if engine.is_containerd() { vec!["1", "buildcache"] } else { vec!["1"] };
        assert_eq!(tags(&registry, "app"), [&kept[..], &["cache", "larder-KEY"]].concat(), "{}", engine.name);

        let (told, what) =
            (|run: &str| run.contains("only the last stage's layers are kept"), &first.run.stderr);
        assert_eq!(told(what), !engine.is_containerd(), "{}: {what}", engine.name);

        let other = agent.other(&all[(index + 1) % all.len()], "b");
        front.seen();
        let second = other.build(&["--push", "-t", &name("2"), "-t", &name("3")]);
        assert!(second.is_hit_in_registry(), "{}: {}", engine.name, second.run.stderr);
        let moved = front.seen();
        let largest = moved.iter().map(|call| call.answered.max(call.sent)).max().unwrap();
        assert!(largest < NO_LAYER, "{moved:?}");
        let changed: Vec<&str> =
            moved.iter().filter(|call| call.method != "GET").map(|call| call.path.as_str()).collect();
        assert_eq!(changed, ["/v2/app/manifests/2", "/v2/app/manifests/3"]);
        // An index with its attestations is taken over as a whole.
        for tag in ["2", "3"] {
            assert_eq!(registry.manifest("app", tag), registry.manifest("app", "1"), "{}", engine.name);
        }
        let here = other.context.engine.docker().args(["images", "-q", &name("2")]).output().unwrap();
        assert!(here.stdout.is_empty(), "it was not asked for here");
        agent.context.write("app.py", "2\n");
        let third = agent.build(&["--push", "-t", &name("4")]);
        assert!(!told(&third.run.stderr), "it is told once: {}", third.run.stderr);
    }
}

#[test]
fn a_fresh_agent_is_told_what_its_registry_has() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "-t", &name]);
    let fresh = agent.other(&any_engine(), "b");
    let cache = fresh.path("cache");
    let why = |flags: &[&str]| {
        let all = [&["why", "--cache-dir", &cache, "-t", &name], flags, &["."]].concat();
        fresh.context.larder(&all).success().stdout
    };
    let said = why(&["--push"]);
    assert!(said.contains("a build takes it from the registry tier"), "{said}");
    let said = why(&[]);
    assert!(said.contains("in a registry where a build looks with --push or --cache-repo"), "{said}");
    fresh.context.write("app.py", "2\n");
    let said = why(&["--push"]);
    assert!(said.contains("no cache has an image of it\nno other build of"), "{said}");
    assert!(said.contains(&format!("the last image in the registry is {name}, built on ")), "{said}");
    assert_eq!(
        tags(&registry, "app").iter().filter(|tag| *tag == "larder-KEY").count(),
        1,
        "nothing is left there"
    );
}

#[test]
fn a_pushed_image_is_pulled_where_it_is_wanted() {
    // Docker 28 with containerd's store does not fetch a layer that it has unpacked already, from an imported base for
    // instance, and does not describe the image then: nothing goes from the oldest engine to that one here.
    let all = every_engine();
    for (index, engine) in all.iter().enumerate() {
        let registry = Registry::open();
        let agent = Agent::new(engine);
        let name = format!("{}/app:1", registry.host);
        agent.build(&["--push", "-t", &name]);
        // The other kinds of engines know the image by another id, and have none of its layers.
        let other = agent.other(&all[(index + 1) % all.len()], "b");
        let pulled = other.build(&["--push", "--load", "-t", &name]);
        assert!(pulled.is_hit_in_registry(), "{}", pulled.run.stderr);
        let here = other.context.engine.docker().args(["image", "inspect", "-f", "{{.Id}}", &name]).output();
        let here = String::from_utf8(here.unwrap().stdout).unwrap();
        assert_eq!(here.trim(), pulled.record["image_id"], "{}", other.context.engine.name);
        let again = other.build(&["-t", &name]);
        assert_eq!(again.record["hit_tier"], "engine", "{}", again.run.stderr);

        // An older image of that name is replaced, as a build would.
        let stale = agent.other(&all[(index + 1) % all.len()], "d");
        let docker = |arguments: &[&str]| stale.context.engine.docker().args(arguments).output().unwrap();
        assert!(docker(&["tag", BUSYBOX, &name]).status.success());
        let pulled = stale.build(&["--push", "-t", &name]);
        assert!(pulled.is_hit_in_registry(), "{}", pulled.run.stderr);
        let here = String::from_utf8(docker(&["image", "inspect", "-f", "{{.Id}}", &name]).stdout).unwrap();
        assert_eq!(here.trim(), pulled.record["image_id"], "{}", stale.context.engine.name);

        // Without a push, where the repository is named.
        let third = agent.other(&all[(index + 1) % all.len()], "c");
        let repository = format!("{}/app", registry.host);
        let tag = agent.context.tag("here");
        let pulled = third.build(&["--cache-repo", &repository, "-t", &tag]);
        assert!(pulled.is_hit_in_registry(), "{}", pulled.run.stderr);
        let here = third.context.engine.docker().args(["images", "-q", &tag]).output().unwrap();
        assert!(!here.stdout.is_empty());
    }
}

#[test]
fn an_image_that_its_registry_serves_is_archived_only_if_that_is_typed() {
    let registry = Registry::open();
    let front = Front::before(&registry.host);
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", front.host);
    let push = |key: &str, more: &[&str]| {
        agent.build(&[&["--push", "-t", &name, "--key-extra", key], more].concat()).record["kept"].clone()
    };
    let remote = agent.path("remote");
    std::fs::create_dir(&remote).unwrap();
    let remote = ["--remote", &format!("file://{remote}")];
    assert!(push("a=1", &[]).is_null());
    assert!(push("a=2", &remote).is_null(), "its registry serves every machine");
    assert!(push("a=3", &["--enable-cache"]).is_object());
    front.fail("PUT", "/manifests/larder-", Fault::Answer("403 Forbidden", "{}"), usize::MAX);
    assert!(push("a=4", &[]).is_null());
    assert!(push("a=5", &remote).is_object(), "it has no tag of its key");
    let metadata = agent.path("refused.json");
    let down = ["build", "--push", "-t", "127.0.0.1:9/app:1", "--metadata-file", &metadata, "."];
    let down = [&down[..], &remote].concat();
    agent.context.larder(&down).failure(1, "cannot push");
    assert!(json(metadata.as_ref())["kept"].is_object(), "its registry has refused it");
}

#[test]
fn an_image_that_was_pulled_is_pushed_again_as_it_was() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = Agent::new(&engine);
        let name = |tag: &str| format!("{}/app:{tag}", registry.host);
        agent.build(&["--push", "-t", &name("1")]);
        // As on another agent: what was built is gone.
        drop(engine.docker().args(["rmi", "-f", &name("1")]).output().unwrap());
        let other = agent.other(&engine, "b");
        let pulled = other.build(&["--push", "--load", "-t", &name("2")]);
        assert!(pulled.is_hit_in_registry(), "{}", pulled.run.stderr);
        let again = other.build(&["--push", "-t", &name("3")]);
        assert_eq!(again.record["hit_tier"], "engine", "{}", again.run.stderr);
        assert!(!again.run.stderr.contains("warning"), "{}: {}", engine.name, again.run.stderr);
        assert_eq!(registry.manifest("app", "3"), registry.manifest("app", "1"), "{}", engine.name);
        // Elsewhere it is pushed by the engine, which may have less than an index.
        let elsewhere = Registry::open();
        let moved = other.build(&["--push", "-t", &format!("{}/app:4", elsewhere.host)]);
        assert!(!moved.run.stderr.contains("warning"), "{}: {}", engine.name, moved.run.stderr);
        assert!(tags(&elsewhere, "app").contains(&"larder-KEY".to_owned()), "{}", engine.name);
    }
}

#[test]
fn an_image_is_taken_over_from_another_repository_of_its_registry() {
    let all = engines();
    for (index, engine) in all.iter().enumerate() {
        let registry = Registry::open();
        let front = Front::before(&registry.host);
        let agent = Agent::new(engine);
        let name = |name: &str| format!("{}/{name}", front.host);
        agent.build(&["--push", "-t", &name("app:1")]);
        let other = agent.other(&all[(index + 1) % all.len()], "b");
        front.seen();
        let second = other.build(&["--push", "-t", &name("app:2"), "-t", &name("mirror/app:2")]);
        assert!(second.is_hit_in_registry(), "{}: {}", engine.name, second.run.stderr);
        let moved = front.seen();
        assert!(moved.iter().all(|call| call.answered.max(call.sent) < NO_LAYER), "{moved:?}");
        assert_eq!(registry.manifest("mirror/app", "2"), registry.manifest("app", "1"), "{}", engine.name);
    }
}

#[test]
fn a_pull_request_takes_what_the_trunk_has_and_leaves_it_nothing() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let push = |agent: &Agent, repository: &str, lane: &str| {
        let name = format!("{}/{repository}:{lane}", registry.host);
        agent.build(&["--push", "-t", &name, "--lane", lane, "--trunk", "main"])
    };
    push(&agent, "a", "pr-7");
    let of_lane = ["cache-pr-7", "larder-KEY-pr-7", "pr-7"];
    assert_eq!(tags(&registry, "a"), of_lane);
    let trunk = push(&agent.other(&any_engine(), "b"), "a", "main");
    assert_eq!(trunk.record["outcome"], "built", "{}", trunk.run.stderr);
    assert!(!trunk.run.stderr.contains("cache-pr-7@"), "{}", trunk.run.stderr);
    let request = push(&agent.other(&any_engine(), "c"), "a", "pr-8");
    assert!(request.is_hit_in_registry(), "{}", request.run.stderr);
    let own = push(&agent.other(&any_engine(), "d"), "a", "pr-7");
    assert!(own.is_hit_in_registry(), "{}", own.run.stderr);
    assert!(!tags(&registry, "a").contains(&"larder-KEY-pr-8".to_owned()));
}

#[test]
fn a_job_that_only_reads_pushes_its_image_and_nothing_else() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "-t", &name, "--read-only"]);
    assert_eq!(tags(&registry, "app"), ["1"]);
    agent.build(&["--push", "-t", &format!("{}/other:1", registry.host), "--tiers", "engine,archive"]);
    assert_eq!(tags(&registry, "other"), ["1"], "the tiers were not asked for");
}

#[test]
fn where_signatures_are_demanded_the_store_must_know_the_image() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    let cache = agent.path("cache");
    let (shared, empty) = (agent.path("shared"), agent.path("empty"));
    std::fs::create_dir(&shared).unwrap();
    std::fs::create_dir(&empty).unwrap();
    let (url, key) = (format!("file://{shared}"), "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=");
    let sign = |agent: &Agent, remote: &str| {
        let metadata = agent.path("metadata.json");
        let cache = agent.path("cache");
        let arguments = ["build", "--cache-dir", &cache, "--metadata-file", &metadata, "--remote", remote];
        let more = ["--require-signature", "--push", "-t", &name, "."];
        let mut command = agent.context.command(&[&arguments[..], &more].concat());
        crate::support::finish(command.env("LARDER_SIGNING_KEY", key), None).success();
        crate::support::json(metadata.as_ref())
    };
    sign(&agent, &url);
    std::fs::remove_dir_all(&cache).unwrap();
    // The engine's notes are gone with the cache; the registry and the shared store are left.
    let known = sign(&agent.other(&any_engine(), "b"), &url);
    assert_eq!(known["hit_tier"], "registry", "{known}");
    let unknown = sign(&agent.other(&any_engine(), "c"), &format!("file://{empty}"));
    assert_eq!(unknown["outcome"], "built", "{unknown}");
    assert!(unknown["tiers"].to_string().contains("vouches"), "{unknown}");
    assert!(unknown["tiers"].to_string().contains("caches of layers have no signatures"), "{unknown}");
    assert_eq!(unknown["steps"]["imported"], 0, "{unknown}");
}

#[test]
fn an_image_that_is_too_old_is_no_hit_in_a_registry_either() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "-t", &name]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let other = agent.other(&any_engine(), "b");
    let built = other.build(&["--push", "-t", &name, "--max-age", "1s"]);
    assert_eq!(built.record["outcome"], "built", "{}", built.run.stderr);
    assert!(built.tier("registry").1.contains("--max-age"), "{}", built.run.stderr);
    assert_eq!(built.steps()[1], 0, "{}", built.run.stderr);
}
