//! Whole images in a registry.

use super::front::{Fault, RegistryProxy};
use super::{Agent, tags};
use crate::engines::{any_engine, engines, every_engine};
use crate::registries::Registry;
use crate::support::{BUSYBOX, json};

/// A number of bytes that is larger than any manifest or config here, and smaller than the layer of the base image.
const BELOW_ANY_LAYER: usize = 20_000;

#[test]
fn a_hit_in_the_registry_is_tagged_there_and_no_layer_is_transferred() {
    let all = engines();
    for (index, engine) in all.iter().enumerate() {
        let registry = Registry::open();
        let front = RegistryProxy::before(&registry.host);
        let agent = Agent::new(engine);
        let name = |tag: &str| format!("{}/app:{tag}", front.host);
        let first = agent.build(&["--push", "-t", &name("1")]);
        assert_eq!(first.record["outcome"], "built");
        let kept = if engine.is_containerd() { vec!["1", "buildcache"] } else { vec!["1"] };
        assert_eq!(tags(&registry, "app"), [&kept[..], &["cache", "larder-KEY"]].concat(), "{}", engine.name);

        let (is_reported, stderr) =
            (|run: &str| run.contains("only the layers of the last stage were exported"), &first.run.stderr);
        assert_eq!(is_reported(stderr), !engine.is_containerd(), "{}: {stderr}", engine.name);

        let other = agent.other_agent(&all[(index + 1) % all.len()], "b");
        front.seen();
        let second = other.build(&["--push", "-t", &name("2"), "-t", &name("3")]);
        assert!(second.is_hit_in_registry(), "{}: {}", engine.name, second.run.stderr);
        let moved = front.seen();
        let largest = moved.iter().map(|call| call.answered.max(call.sent)).max().unwrap();
        assert!(largest < BELOW_ANY_LAYER, "{moved:?}");
        let mut changed: Vec<&str> =
            moved.iter().filter(|call| call.method != "GET").map(|call| call.path.as_str()).collect();
        changed.sort_unstable();
        let builds = "/v2/app/manifests/larder-builds";
        assert_eq!(changed, ["/v2/app/manifests/2", "/v2/app/manifests/3", builds]);
        // An index is copied as a whole, with its attestations.
        for tag in ["2", "3"] {
            assert_eq!(registry.manifest("app", tag), registry.manifest("app", "1"), "{}", engine.name);
        }
        let here = other.context.engine.docker().args(["images", "-q", &name("2")]).output().unwrap();
        assert!(here.stdout.is_empty(), "the build was without --load");
        agent.context.write("app.py", "2\n");
        let third = agent.build(&["--push", "-t", &name("4")]);
        assert!(!is_reported(&third.run.stderr), "it is reported once: {}", third.run.stderr);
    }
}

#[test]
fn why_reports_what_the_registry_has_for_a_fresh_agent() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "-t", &name]);
    let fresh = agent.other_agent(&any_engine(), "b");
    let cache = fresh.path("cache");
    let why = |flags: &[&str]| {
        let all = [&["why", "--cache-dir", &cache, "-t", &name], flags, &["."]].concat();
        fresh.context.larder(&all).success().stdout
    };
    let stdout = why(&["--push"]);
    assert!(stdout.contains("a build uses it from the registry tier"), "{stdout}");
    let stdout = why(&[]);
    assert!(
        stdout.contains("in a registry that a build searches only with --push or --cache-repo"),
        "{stdout}"
    );
    fresh.context.write("app.py", "2\n");
    let stdout = why(&["--push"]);
    assert!(stdout.contains("no cache contains an image for it\nno earlier build of"), "{stdout}");
    assert!(stdout.contains(&format!("the last image in the registry is {name}, built on ")), "{stdout}");
    assert_eq!(
        tags(&registry, "app").iter().filter(|tag| *tag == "larder-KEY").count(),
        1,
        "larder why writes no tags"
    );
}

#[test]
fn a_hit_in_the_registry_is_pulled_into_the_engine_with_load_or_without_push() {
    // Docker 28 with containerd's store does not fetch a layer that it has already unpacked, for instance from an
    // imported base, and then does not describe the image. No image goes from the oldest engine to that one here.
    let all = every_engine();
    for (index, engine) in all.iter().enumerate() {
        let registry = Registry::open();
        let agent = Agent::new(engine);
        let name = format!("{}/app:1", registry.host);
        agent.build(&["--push", "-t", &name]);
        // Engines of the other kind have a different id for the image, and none of its layers.
        let other = agent.other_agent(&all[(index + 1) % all.len()], "b");
        let pulled = other.build(&["--push", "--load", "-t", &name]);
        assert!(pulled.is_hit_in_registry(), "{}", pulled.run.stderr);
        let here = other.context.engine.docker().args(["image", "inspect", "-f", "{{.Id}}", &name]).output();
        let here = String::from_utf8(here.unwrap().stdout).unwrap();
        assert_eq!(here.trim(), pulled.record["image_id"], "{}", other.context.engine.name);
        let again = other.build(&["-t", &name]);
        assert_eq!(again.record["hit_tier"], "engine", "{}", again.run.stderr);

        // An older image with that name is replaced, as by a build.
        let stale = agent.other_agent(&all[(index + 1) % all.len()], "d");
        let docker = |arguments: &[&str]| stale.context.engine.docker().args(arguments).output().unwrap();
        assert!(docker(&["tag", BUSYBOX, &name]).status.success());
        let pulled = stale.build(&["--push", "-t", &name]);
        assert!(pulled.is_hit_in_registry(), "{}", pulled.run.stderr);
        let here = String::from_utf8(docker(&["image", "inspect", "-f", "{{.Id}}", &name]).stdout).unwrap();
        assert_eq!(here.trim(), pulled.record["image_id"], "{}", stale.context.engine.name);

        // Without a push, the repository is named with `--cache-repo`.
        let third = agent.other_agent(&all[(index + 1) % all.len()], "c");
        let repository = format!("{}/app", registry.host);
        let tag = agent.context.tag("here");
        let pulled = third.build(&["--cache-repo", &repository, "-t", &tag]);
        assert!(pulled.is_hit_in_registry(), "{}", pulled.run.stderr);
        let here = third.context.engine.docker().args(["images", "-q", &tag]).output().unwrap();
        assert!(!here.stdout.is_empty());
    }
}

#[test]
fn an_image_that_its_registry_serves_is_archived_only_on_request() {
    let registry = Registry::open();
    let front = RegistryProxy::before(&registry.host);
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", front.host);
    let push = |key: &str, more: &[&str]| {
        agent.build(&[&["--push", "-t", &name, "--key-extra", key], more].concat()).record["kept"].clone()
    };
    let remote = agent.path("remote");
    std::fs::create_dir(&remote).unwrap();
    let remote = ["--remote", &format!("file://{remote}")];
    assert!(push("a=1", &[]).is_null());
    assert!(push("a=2", &remote).is_null(), "the registry serves every machine");
    assert!(push("a=3", &["--enable-cache"]).is_object());
    front.fail("PUT", "/manifests/larder-", Fault::Answer("403 Forbidden", "{}"), usize::MAX);
    assert!(push("a=4", &[]).is_null());
    assert!(push("a=5", &remote).is_object(), "the image has no tag with its key");
    let metadata = agent.path("refused.json");
    let down = ["build", "--push", "-t", "127.0.0.1:9/app:1", "--metadata-file", &metadata, "."];
    let down = [&down[..], &remote].concat();
    agent.context.larder(&down).failure(1, "cannot push");
    assert!(json(metadata.as_ref())["kept"].is_object(), "the registry refused the image");
}

#[test]
fn a_pulled_image_is_pushed_again_with_the_same_manifest() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = Agent::new(&engine);
        let name = |tag: &str| format!("{}/app:{tag}", registry.host);
        agent.build(&["--push", "-t", &name("1")]);
        // As on a different agent, the engine does not have the image that was built.
        drop(engine.docker().args(["rmi", "-f", &name("1")]).output().unwrap());
        let other = agent.other_agent(&engine, "b");
        let pulled = other.build(&["--push", "--load", "-t", &name("2")]);
        assert!(pulled.is_hit_in_registry(), "{}", pulled.run.stderr);
        let again = other.build(&["--push", "-t", &name("3")]);
        assert_eq!(again.record["hit_tier"], "engine", "{}", again.run.stderr);
        assert!(!again.run.stderr.contains("warning"), "{}: {}", engine.name, again.run.stderr);
        assert_eq!(registry.manifest("app", "3"), registry.manifest("app", "1"), "{}", engine.name);
        // To a different registry the engine pushes, which may have less than the whole index.
        let elsewhere = Registry::open();
        let moved = other.build(&["--push", "-t", &format!("{}/app:4", elsewhere.host)]);
        assert!(!moved.run.stderr.contains("warning"), "{}: {}", engine.name, moved.run.stderr);
        assert!(tags(&elsewhere, "app").contains(&"larder-KEY".to_owned()), "{}", engine.name);
    }
}

#[test]
fn an_image_is_copied_from_a_different_repository_of_the_same_registry() {
    let all = engines();
    for (index, engine) in all.iter().enumerate() {
        let registry = Registry::open();
        let front = RegistryProxy::before(&registry.host);
        let agent = Agent::new(engine);
        let name = |name: &str| format!("{}/{name}", front.host);
        agent.build(&["--push", "-t", &name("app:1")]);
        let other = agent.other_agent(&all[(index + 1) % all.len()], "b");
        front.seen();
        let second = other.build(&["--push", "-t", &name("app:2"), "-t", &name("mirror/app:2")]);
        assert!(second.is_hit_in_registry(), "{}: {}", engine.name, second.run.stderr);
        let moved = front.seen();
        assert!(moved.iter().all(|call| call.answered.max(call.sent) < BELOW_ANY_LAYER), "{moved:?}");
        assert_eq!(registry.manifest("mirror/app", "2"), registry.manifest("app", "1"), "{}", engine.name);
    }
}

#[test]
fn a_pull_request_reads_images_of_the_trunk_and_the_trunk_reads_none_of_pull_requests() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let push = |agent: &Agent, repository: &str, lane: &str| {
        let name = format!("{}/{repository}:{lane}", registry.host);
        agent.build(&["--push", "-t", &name, "--lane", lane, "--trunk", "main"])
    };
    push(&agent, "a", "pr-7");
    let of_lane = ["cache-pr-7", "larder-KEY-pr-7", "pr-7"];
    assert_eq!(tags(&registry, "a"), of_lane);
    let trunk = push(&agent.other_agent(&any_engine(), "b"), "a", "main");
    assert_eq!(trunk.record["outcome"], "built", "{}", trunk.run.stderr);
    assert!(!trunk.run.stderr.contains("cache-pr-7@"), "{}", trunk.run.stderr);
    let request = push(&agent.other_agent(&any_engine(), "c"), "a", "pr-8");
    assert!(request.is_hit_in_registry(), "{}", request.run.stderr);
    let own = push(&agent.other_agent(&any_engine(), "d"), "a", "pr-7");
    assert!(own.is_hit_in_registry(), "{}", own.run.stderr);
    assert!(!tags(&registry, "a").contains(&"larder-KEY-pr-8".to_owned()));
}

#[test]
fn a_read_only_job_pushes_only_its_image() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "-t", &name, "--read-only"]);
    assert_eq!(tags(&registry, "app"), ["1"]);
    agent.build(&["--push", "-t", &format!("{}/other:1", registry.host), "--tiers", "engine,archive"]);
    assert_eq!(tags(&registry, "other"), ["1"], "the registry tiers are not enabled");
}

#[test]
fn with_required_signatures_the_store_must_have_a_signed_entry_for_the_image() {
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
        crate::support::run_to_end(command.env("LARDER_SIGNING_KEY", key), None).success();
        crate::support::json(metadata.as_ref())
    };
    sign(&agent, &url);
    std::fs::remove_dir_all(&cache).unwrap();
    // The engine's notes were removed with the cache. The registry and the shared store remain.
    let known = sign(&agent.other_agent(&any_engine(), "b"), &url);
    assert_eq!(known["hit_tier"], "registry", "{known}");
    let unknown = sign(&agent.other_agent(&any_engine(), "c"), &format!("file://{empty}"));
    assert_eq!(unknown["outcome"], "built", "{unknown}");
    assert!(unknown["tiers"].to_string().contains("no signed entry"), "{unknown}");
    assert!(unknown["tiers"].to_string().contains("layer caches have no signatures"), "{unknown}");
    assert_eq!(unknown["steps"]["imported"], 0, "{unknown}");
}

#[test]
fn an_image_older_than_max_age_is_not_a_hit_in_a_registry() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "-t", &name]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let other = agent.other_agent(&any_engine(), "b");
    let built = other.build(&["--push", "-t", &name, "--max-age", "1s"]);
    assert_eq!(built.record["outcome"], "built", "{}", built.run.stderr);
    assert!(built.tier("registry").1.contains("--max-age"), "{}", built.run.stderr);
    assert_eq!(built.steps()[1], 0, "{}", built.run.stderr);
}
