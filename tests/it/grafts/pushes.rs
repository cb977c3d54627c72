//! The requests of a graft to registries, and the state of the registry after interrupted and concurrent grafts.

use std::collections::BTreeSet;
use std::time::Duration;

use filetime::FileTime;
use rustix::process::Signal;
use serde_json::Value;

use super::equality::graft_of;
use crate::engines::{Engine, engines, every_engine};
use crate::polling::await_true;
use crate::registries::Registry;
use crate::registry_tiers::front::{Fault, RecordedCall, RegistryProxy, longest_sequence};
use crate::running::Running;
use crate::support::{BUSYBOX, Run, TestContext, json};

/// A project whose prefix is in a registry, and whose code has changed since the push.
struct Project {
    registry: Registry,
    front: RegistryProxy,
    context: TestContext,
}

impl Project {
    fn published(engine: &Engine) -> Self {
        Self::with(engine, |mark| {
            format!(
                "FROM {BUSYBOX}\nRUN echo {mark} > /installed\nCOPY large /large\nCOPY app.py /\nCMD [\"one\"]\n"
            )
        })
    }

    fn with(engine: &Engine, dockerfile: impl Fn(&str) -> String) -> Self {
        let registry = Registry::open();
        let front = RegistryProxy::before(&registry.host);
        let context = TestContext::new(engine);
        let mark = context.tag("mark");
        context.write("Dockerfile", dockerfile(&mark)).write("app.py", "1\n").write("large/some", "some\n");
        let project = Self { registry, front, context };
        project.push("first", &[]).success();
        project.context.write("app.py", "2\n");
        project
    }

    fn name(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.front.host)
    }

    /// Returns the arguments of a build that pushes this tag, on an agent with an empty cache.
    fn arguments(&self, tag: &str) -> Vec<String> {
        let path = |name: &str| self.context.path(&format!("{tag}-{name}")).to_string_lossy().into_owned();
        let (cache, metadata, name) = (path("cache"), path("metadata.json"), self.name("app", tag));
        let arguments = ["build", "--push", "-t", &name, "--cache-dir", &cache, "--metadata-file", &metadata];
        arguments.map(str::to_owned).to_vec()
    }

    fn push(&self, tag: &str, more: &[&str]) -> Run {
        let arguments = self.arguments(tag);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.context.larder(&[&arguments[..], more, &["."]].concat())
    }

    fn record(&self, tag: &str) -> Value {
        json(&self.context.path(&format!("{tag}-metadata.json")))
    }

    #[track_caller]
    fn assert_grafted(&self, tag: &str, run: &Run) {
        assert_eq!(run.code, 0, "{}", run.stderr);
        let (outcome, reason) = graft_of(&self.record(tag));
        assert_eq!(outcome, "hit", "{reason}: {}", run.stderr);
    }

    fn manifest(&self, repository: &str, reference: &str) -> Value {
        serde_json::from_str(&self.registry.manifest(repository, reference)).unwrap()
    }

    fn tags(&self, repository: &str) -> Vec<String> {
        let list: Value =
            serde_json::from_str(&self.registry.get(&format!("/v2/{repository}/tags/list"))).unwrap();
        list["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().unwrap().to_owned()).collect()
    }

    /// Asserts that all tags name complete images.
    #[track_caller]
    fn assert_whole(&self, repository: &str) {
        let mut references = self.tags(repository);
        while let Some(reference) = references.pop() {
            let manifest = self.manifest(repository, &reference);
            let parts = |field: &str| manifest[field].as_array().cloned().unwrap_or_default();
            let digest = |part: &Value| part["digest"].as_str().unwrap().to_owned();
            references.extend(parts("manifests").iter().map(digest));
            for part in parts("layers").iter().chain(manifest.get("config")) {
                assert!(self.registry.has_blob(repository, &digest(part)), "{reference}: {part} is missing");
            }
        }
    }
}

/// Returns the same project with the address of an engine that is not running.
fn without_engine(context: &TestContext, engine: &Engine) -> TestContext {
    let nowhere = format!("unix://{}", context.path("no.sock").display());
    context.on_engine(&engine.at("none", &nowhere))
}

/// Returns the digests of the uploaded blobs.
fn uploaded(calls: &[RecordedCall]) -> BTreeSet<String> {
    let digest = |call: &RecordedCall| {
        call.path.split(['?', '&']).find_map(|part| part.strip_prefix("digest=").map(str::to_owned))
    };
    calls.iter().filter(|call| call.method == "PUT").filter_map(digest).collect()
}

#[test]
fn a_graft_after_a_small_change_needs_few_requests_and_bytes() {
    for engine in engines() {
        let project = Project::published(&engine);
        // Requests that are sent at the same time overlap even if the machine is busy.
        project.front.delay(Duration::from_millis(100));
        let (with_base, no_engine) =
            (project.context.on_engine(&engine), without_engine(&project.context, &engine));
        // Without an engine, the base image is looked up in its registry.
        let base = project.name("base", "1");
        let push = |arguments: &[&str]| assert!(engine.docker().args(arguments).status().unwrap().success());
        push(&["tag", BUSYBOX, &base]);
        push(&["push", "--quiet", &base]);
        let text = std::fs::read_to_string(project.context.project().join("Dockerfile")).unwrap();
        project.context.write("Dockerfile", text.replace(BUSYBOX, &base));
        project.push("moved", &[]).success();
        for (number, (agent, change)) in [
            (&with_base, "the code"),
            (&with_base, "a late line"),
            (&no_engine, "the code"),
            (&no_engine, "a late line"),
        ]
        .into_iter()
        .enumerate()
        {
            let tag = format!("change-{number}");
            if change == "the code" {
                project.context.write("app.py", format!("{tag}\n"));
            } else {
                let text = std::fs::read_to_string(project.context.project().join("Dockerfile")).unwrap();
                project.context.write("Dockerfile", format!("{text}CMD [\"{tag}\"]\n"));
            }
            project.front.seen();
            let arguments = project.arguments(&tag);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let run = agent.larder(&[&arguments[..], &["."]].concat());
            project.assert_grafted(&tag, &run);
            let is_without_engine = std::ptr::eq(agent, &raw const no_engine);
            assert_eq!(
                run.stderr.contains("looking for the image in its registry"),
                is_without_engine,
                "{}",
                run.stderr
            );
            // The last builds are read while the image is looked for, and written when it is complete.
            let is_of_builds = |call: &RecordedCall| call.path.contains("/manifests/larder-builds");
            let (builds, calls): (Vec<_>, Vec<_>) = project.front.seen().into_iter().partition(is_of_builds);
            let methods: Vec<&str> = builds.iter().map(|call| call.method.as_str()).collect();
            let label = format!("{}, {tag}: {change}", engine.name);
            assert_eq!(methods, ["GET", "PUT"], "{label}");
            let paths: Vec<String> =
                calls.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
            assert!(calls.len() <= 20, "{label}: {} requests: {paths:#?}", calls.len());
            assert!(
                longest_sequence(&calls) <= 8,
                "{label}: {} in sequence: {paths:#?}",
                longest_sequence(&calls)
            );
            let bytes: usize = calls.iter().map(|call| call.sent + call.answered).sum();
            assert!(bytes <= 1_000_000, "{label}: {bytes} bytes");
        }
    }
}

#[test]
fn without_an_engine_a_build_that_needs_one_fails_with_the_usual_message() {
    let engine = &engines()[0];
    let project = Project::published(engine);
    let no_engine = without_engine(&project.context, engine);
    let arguments = project.arguments("first");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The base image is only in the engine, so the key differs from that of a build with the engine.
    for more in [&["--key-extra", "a=1"][..], &["--load"], &["--no-cache"]] {
        let run = no_engine.larder(&[&arguments[..], more, &["."]].concat());
        run.failure(5, "there is no socket");
    }
}

#[test]
fn a_job_that_is_killed_at_any_request_leaves_only_complete_images() {
    let project = Project::published(&engines()[0]);
    let mut number = 0;
    loop {
        let tag = format!("killed-{number}");
        project.context.write("app.py", format!("{tag}\n"));
        project.front.begun();
        let begun = project.front.begun_handle();
        let arguments = project.arguments(&tag);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = project.context.command(&[&arguments[..], &["."]].concat());
        project.front.delay(Duration::from_millis(5));
        let running = Running::start(&mut command);
        let mut has_ended = false;
        await_true(Duration::from_mins(1), "the request", || {
            has_ended = running.stderr_so_far().contains("as 127.0.0.1");
            has_ended || begun.lock().unwrap().len() > number
        });
        if !has_ended {
            running.signal(Signal::KILL);
        }
        drop(running);
        project.front.seen();
        project.assert_whole("app");
        project.front.delay(Duration::ZERO);
        let run = project.push(&format!("{tag}-again"), &[]);
        assert_eq!(run.code, 0, "{number}: {}", run.stderr);
        let again = project.record(&format!("{tag}-again"));
        let is_hit = again["hit_tier"] == "registry";
        assert!(is_hit || graft_of(&again).0 == "hit", "{number}: {}", run.stderr);
        if has_ended {
            break;
        }
        number += 1;
    }
    assert!(number > 8, "{number}");
}

#[test]
fn concurrent_grafts_of_the_same_commit_all_succeed() {
    for engine in every_engine() {
        let project = Project::published(&engine);
        for round in 0..3 {
            project.context.write("app.py", format!("round {round}\n"));
            std::thread::scope(|scope| {
                for job in ["a", "b", "c"] {
                    let (project, tag) = (&project, format!("{job}-{round}"));
                    scope.spawn(move || {
                        let run = project.push(&tag, &[]);
                        assert_eq!(run.code, 0, "{}", run.stderr);
                        let record = project.record(&tag);
                        // A later job may find the image of an earlier one.
                        let is_hit = record["hit_tier"] == "registry";
                        assert!(is_hit || graft_of(&record).0 == "hit", "{}", run.stderr);
                    });
                }
            });
            project.assert_whole("app");
            let hit = project.push(&format!("hit-{round}"), &[]).success();
            assert_eq!(project.record(&format!("hit-{round}"))["hit_tier"], "registry", "{}", hit.stderr);
        }
    }
}

#[test]
fn a_large_grafted_layer_becomes_a_prefix_for_a_fresh_checkout() {
    let project = Project::published(&engines()[0]);
    let large = project.context.project().join("large/data");
    let bytes: Vec<u8> =
        (0..1_500_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(&large, bytes).unwrap();
    let run = project.push("large", &[]);
    project.assert_grafted("large", &run);
    let prefixes = |project: &Project| {
        let tags = project.tags("app").into_iter();
        tags.filter(|tag| tag.starts_with("larder-prefix-")).count()
    };
    assert_eq!(prefixes(&project), 2, "{}", run.stderr);
    let layer = |tag: &str, index: usize| project.manifest("app", tag)["layers"][index]["digest"].clone();
    let count = project.manifest("app", "large")["layers"].as_array().unwrap().len();
    // In a fresh checkout, all files have new modification times.
    filetime::set_file_mtime(&large, FileTime::from_unix_time(1_700_000_000, 0)).unwrap();
    project.context.write("app.py", "3\n");
    project.front.seen();
    let run = project.push("fresh", &[]);
    project.assert_grafted("fresh", &run);
    let sent = uploaded(&project.front.seen());
    assert_eq!(layer("fresh", count - 2), layer("large", count - 2));
    assert!(!sent.contains(layer("large", count - 2).as_str().unwrap()), "{sent:?}");
    assert_eq!(prefixes(&project), 2, "{}", run.stderr);
    let (_, reason) = graft_of(&project.record("fresh"));
    assert!(reason.contains("line 3 (COPY large /large)"), "{reason}");
    project.assert_whole("app");
}

#[test]
fn a_prefix_without_all_layers_or_without_an_index_is_not_used_for_a_graft() {
    let project = Project::published(&engines()[0]);
    let prefix = project.tags("app").into_iter().find(|tag| tag.starts_with("larder-prefix-")).unwrap();
    let manifest = project.manifest("app", &prefix);
    let layer = manifest["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap().to_owned();
    let found = Box::leak(format!("/blobs/{layer}").into_boxed_str());
    project.front.fail("HEAD", found, Fault::Answer("404 Not Found", ""), 1);
    let run = project.push("lost", &[]).success();
    let (outcome, reason) = graft_of(&project.record("lost"));
    assert!(outcome == "skipped" && reason.contains("lost a layer"), "{reason}: {}", run.stderr);
    assert_eq!(project.record("lost")["outcome"], "built");
    project.assert_whole("app");

    // A prefix that was published with grafts disabled has no index.
    let without = ["--tiers", "engine,registry,prefix"];
    let other = Project::with(&engines()[0], |mark| {
        format!("FROM {BUSYBOX}\nRUN echo other {mark}\nCOPY app.py /\n")
    });
    let text = std::fs::read_to_string(other.context.project().join("Dockerfile")).unwrap();
    other.context.write("Dockerfile", text.replace("RUN echo", "RUN true; echo"));
    other.push("without", &without).success();
    other.context.write("app.py", "3\n");
    other.push("no-index", &[]).success();
    assert_eq!(graft_of(&other.record("no-index")).0, "");
}

#[test]
fn a_graft_applies_all_names_and_options_of_the_push() {
    for engine in every_engine() {
        let project = Project::published(&engine);
        let second = Registry::open();
        let elsewhere = format!("{}/elsewhere:1", second.host);
        let (other, beside) = (project.name("other", "1"), project.name("app", "beside"));
        let names = ["-t", &other, "-t", &beside, "-t", &elsewhere];
        let more = ["--annotation", "org.example.a=b", "--label", "l=m", "--iidfile"];
        let iid = project.context.path("iid").to_string_lossy().into_owned();
        let run = project.push("names", &[&names[..], &more, &[&iid]].concat());
        project.assert_grafted("names", &run);
        let bytes = |registry: &Registry, repository: &str, tag: &str| registry.manifest(repository, tag);
        let expected = bytes(&project.registry, "app", "names");
        assert_eq!(expected, bytes(&project.registry, "app", "beside"));
        assert_eq!(expected, bytes(&project.registry, "other", "1"));
        assert_eq!(expected, bytes(&second, "elsewhere", "1"));
        project.assert_whole("app");
        project.assert_whole("other");
        let record = project.record("names");
        let digest = |value: &str| record["containerimage.".to_owned() + value].as_str().unwrap().to_owned();
        let manifest: Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(digest("config.digest"), manifest["config"]["digest"].as_str().unwrap());
        let is_oci = manifest["mediaType"].as_str().unwrap().contains("oci");
        let annotations = is_oci.then(|| serde_json::json!({ "org.example.a": "b" }));
        assert_eq!(manifest.get("annotations"), annotations.as_ref(), "{}", engine.name);
        let config: Value = serde_json::from_str(&project.registry.config("app", "names")).unwrap();
        assert_eq!(config["config"]["Labels"]["l"], "m");
        // The pulled image has the reported id.
        let pulled = project.name("app", "names");
        assert!(engine.docker().args(["pull", "--quiet", &pulled]).status().unwrap().success());
        assert_eq!(engine.inspect(&pulled)["Id"], std::fs::read_to_string(&iid).unwrap(), "{}", engine.name);
        assert_eq!(engine.read(&pulled, "/app.py"), b"2\n");

        // A pull request grafts on the trunk's prefix and writes only its own tags.
        project.context.write("app.py", "pull request\n");
        let run = project.push("request", &["--lane", "pr-1", "--trunk", "main"]);
        project.assert_grafted("request", &run);
        let key = record_key(&project.record("request"));
        let tags = project.tags("app").into_iter().filter(|tag| tag.contains(&key)).collect::<Vec<_>>();
        assert_eq!(tags, [format!("larder-{key}-pr-1")], "{}", engine.name);

        // The prefix is in the cache repository. Its layers are mounted into the repository of the push.
        let caches = format!("{}/caches", project.front.host);
        project.push("cached", &["--cache-repo", &caches]).success();
        project.context.write("app.py", "cached\n");
        let run = project.push("cached-again", &["--cache-repo", &caches]);
        project.assert_grafted("cached-again", &run);
        project.assert_whole("app");
    }
}

fn record_key(record: &Value) -> String {
    record["image_key"].as_str().unwrap().to_owned()
}
