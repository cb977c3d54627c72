//! Layer caches in registries. `scripts/check-registry.sh` tests that engines import them after they were wiped.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::front::{Fault, RegistryProxy};
use super::{Agent, tags};
use crate::engines::{any_engine, engines, special, upgraded_engines};
use crate::polling::await_true;
use crate::proxy::Proxy;
use crate::registries::Registry;
use crate::running::Running;
use crate::support::BUSYBOX;

/// The time limit for a build to end, or to reach a push.
const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn a_second_engine_imports_the_layers_of_the_first() {
    // Both have the same version and image store. Others use different keys for steps or for base images.
    let (from, to) = (any_engine(), special("guarded"));
    if let (from, Some(to)) = (&from, &to) {
        let registry = Registry::open();
        let agent = Agent::new(from);
        let name = |tag: &str| format!("{}/app:{tag}", registry.host);
        let made = agent.build_of_layers(&["--push", "-t", &name("1")]);
        assert_eq!(
            made.tier("layers").1,
            format!("0 of 5 steps cached; {}/app has no cache yet", registry.host)
        );

        agent.context.write("app.py", "2\n");
        let taken = agent.other_agent(to, "b").build_of_layers(&["--push", "-t", &name("2")]);
        assert_eq!(taken.steps(), [5, 4, 4], "{} to {}: {}", from.name, to.name, taken.run.stderr);
        let step_list = taken.record["step_list"].as_array().unwrap();
        assert_eq!(step_list.iter().filter(|step| step["imported"] == true).count(), 4);
        let (outcome, reason) = taken.tier("layers");
        assert!(outcome == "hit" && reason.contains("4 of them from"), "{reason}");
        // Layers that the builder already had are not counted as imported.
        agent.context.write("app.py", "3\n");
        let own = agent.other_agent(to, "b").build_of_layers(&["--push", "-t", &name("3")]);
        assert_eq!(own.steps(), [5, 4, 0], "{}", own.run.stderr);
    }
}

#[test]
fn layers_are_exported_only_after_a_run_step_and_do_not_change_the_image() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = Agent::new(&engine);
        let name = |tag: &str| format!("{}/app:{tag}", registry.host);
        let first = agent.build(&["--push", "-t", &name("1"), "--provenance=false"]);
        let config = registry.config("app", "1");
        assert!(!config.contains("moby.buildkit.cache"), "{}: {config}", engine.name);
        assert!(registry.config("app", "cache").contains("moby.buildkit.cache"), "{}", engine.name);
        assert!(first.record["kept_layers"]["references"][0].is_string(), "{}", first.record);
        let here = engine.docker().args(["images", "-q", &name("cache")]).output().unwrap();
        assert!(
            here.stdout.is_empty(),
            "{}: a local image of that name would hide the registry's",
            engine.name
        );

        // A different key, but the same layers.
        let again = agent.build(&["--push", "-t", &name("2"), "--provenance=false", "--key-extra", "a=1"]);
        assert_eq!(again.record["outcome"], "built");
        assert!(again.record["kept_layers"].is_null(), "{}: {}", engine.name, again.record);
        // First only a COPY ran, and then a RUN as well.
        agent.context.write("app.py", "2\n");
        let copied = agent.build(&["--push", "-t", &name("3"), "--provenance=false"]);
        assert_eq!(copied.steps()[..2], [5, 4], "{}: {}", engine.name, copied.run.stderr);
        assert!(copied.record["kept_layers"].is_null(), "{}: {}", engine.name, copied.record);
        agent.context.write("requirements.txt", "two\n");
        let ran = agent.build(&["--push", "-t", &name("4"), "--provenance=false"]);
        assert!(ran.record["kept_layers"].is_object(), "{}: {}", engine.name, ran.record);
    }
}

#[test]
fn exporting_layers_does_not_send_the_context_again() {
    for engine in upgraded_engines() {
        let registry = Registry::open();
        let proxy = Proxy::unix(&engine.host);
        let agent = Agent::new(&engine.at("proxy", proxy.host()));
        // BuildKit does not count a directory's new mode, so its content is part of the shared key.
        agent.context.write("private/a", "1\n").write("Dockerfile", "FROM scratch\nCOPY private /private\n");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(agent.context.project().join("private"), private).unwrap();
        let built = agent.build(&["--push", "-t", &format!("{}/app:1", registry.host)]);
        assert!(built.record["kept_layers"].is_object(), "{}: {}", engine.name, built.run.stderr);
        let keys = proxy.shared_keys();
        assert!(keys.len() > 1, "{}: {keys:?}", engine.name);
        assert!(keys.iter().all(|key| *key == keys[0]), "{}: sent again: {keys:?}", engine.name);
    }
}

#[test]
fn a_local_image_keeps_its_name_however_the_push_of_layers_by_that_name_ends() {
    for engine in engines() {
        let registry = Registry::open();
        let front = RegistryProxy::before(&registry.host);
        let agent = Agent::new(&engine);
        let (own, pushed) = (format!("{}/app:cache", front.host), format!("{}/app:1", front.host));
        // The image has no other name, so that nothing else keeps it in the engine.
        agent.build(&["--tiers", "engine", "-t", &own]);
        let id = engine.inspect(&own)["Id"].clone();
        assert!(id.is_string(), "{}", engine.name);
        let cache = agent.path("cache");
        let mut builds = 0;
        let mut start = |more: &[&str]| {
            builds += 1;
            agent.context.write("requirements.txt", format!("{own} {builds}\n"));
            let arguments = ["build", "--cache-dir", &cache, "--push", "-t", &pushed];
            front.begun();
            Running::start(&mut agent.context.command(&[&arguments[..], more, &["."]].concat()))
        };
        let is_pushing = || front.begun().iter().any(|call| call.starts_with("PUT /v2/app/manifests/cache"));

        let denied = Fault::Answer("403 Forbidden", r#"{"errors":[{"code":"DENIED","message":"denied"}]}"#);
        for (fault, more, expected) in [
            (denied, &[][..], "not exported to the registry"),
            (Fault::Stall, &["--archive-timeout", "4s"], "that took longer than 4s"),
        ] {
            front.fail("PUT", "/manifests/cache", fault, usize::MAX);
            let run = start(more).end(LIMIT).success();
            assert!(run.stderr.contains(expected), "{}: {}", engine.name, run.stderr);
            assert_eq!(engine.inspect(&own)["Id"], id, "{}: {expected}: {}", engine.name, run.stderr);
            front.heal();
        }
        front.fail("PUT", "/manifests/cache", Fault::Stall, usize::MAX);
        let running = start(&[]);
        await_true(LIMIT, "the layers are pushed", is_pushing);
        running.signal(Signal::INT);
        running.end(LIMIT).failure(130, "interrupted");
        assert_eq!(engine.inspect(&own)["Id"], id, "{}: interrupted", engine.name);
        let running = start(&[]);
        await_true(LIMIT, "the layers are pushed", is_pushing);
        running.signal(Signal::KILL);
        running.end(LIMIT);
        front.heal();

        let run = start(&[]).end(LIMIT).success();
        assert!(run.stderr.contains("cached the layers as"), "{}: {}", engine.name, run.stderr);
        assert_eq!(
            engine.inspect(&own)["Id"],
            id,
            "{}: the changes of the killed build are undone",
            engine.name
        );
        assert!(registry.config("app", "cache").contains("larder.layers"), "{}", engine.name);
        let names =
            engine.docker().args(["images", "--format", "{{.Repository}}:{{.Tag}}"]).output().unwrap();
        let aside = format!("{}/app:larder-aside", front.host);
        assert!(!String::from_utf8_lossy(&names.stdout).contains(&aside), "{}", engine.name);
        drop(engine.docker().args(["rmi", &own, &pushed]).output().unwrap());
    }
}

#[test]
fn explicit_cache_options_override_the_default_cache() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:cache", registry.host);
    // In many pipelines, the image itself is the cache.
    agent.build(&["--push", "-t", &name, "--cache-to", "type=inline", "--cache-from", &name]);
    assert_eq!(tags(&registry, "app"), ["cache", "larder-KEY"]);
    assert!(registry.config("app", "cache").contains("moby.buildkit.cache"));

    let elsewhere = format!("{}/layers", registry.host);
    let tag = agent.context.tag("here");
    agent.build(&["--cache-repo", &elsewhere, "-t", &tag, "--key-extra", "b=1"]);
    assert_eq!(tags(&registry, "layers"), ["cache"]);
}

#[test]
fn a_build_that_runs_every_step_imports_no_layers() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "-t", &name]);
    let fresh = agent.other_agent(&any_engine(), "b").build(&["--push", "-t", &name, "--no-cache"]);
    assert_eq!(fresh.steps(), [5, 0, 0]);
    assert!(!fresh.run.stderr.contains("importing cache"), "{}", fresh.run.stderr);
}

#[test]
fn a_forced_rebuild_replaces_the_cached_layers() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = Agent::new(&engine);
        let name = |tag: &str| format!("{}/app:{tag}", registry.host);
        agent.context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN date +%N > /stamp\nCOPY app.py /\n"));
        let layers = |tag: &str| {
            let config: Value = serde_json::from_str(&registry.config("app", tag)).unwrap();
            config["rootfs"]["diff_ids"].clone()
        };
        agent.build(&["--push", "-t", &name("1"), "--provenance=false"]);
        let first = layers("cache");
        assert_eq!(first, layers("1"), "{}", engine.name);
        agent.build(&["--push", "-t", &name("2"), "--provenance=false", "--force-rebuild"]);
        assert_ne!(layers("2"), first, "{}", engine.name);
        assert_eq!(layers("cache"), layers("2"), "{}: the next build would use the old layers", engine.name);
    }
}

#[test]
fn pushing_an_engine_hit_exports_its_layers() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = Agent::new(&engine);
        agent.build(&["-t", &agent.context.tag("tested")]);
        let pushed = agent.build(&["--push", "-t", &format!("{}/app:1", registry.host)]);
        assert_eq!(pushed.record["hit_tier"], "engine", "{}", pushed.run.stderr);
        let tags = tags(&registry, "app");
        assert!(tags.contains(&"cache".to_owned()), "{}: {tags:?}: {}", engine.name, pushed.run.stderr);
        assert_eq!(tags.contains(&"buildcache".to_owned()), engine.is_containerd(), "{}", engine.name);
    }
}

#[test]
fn images_that_share_a_repository_export_their_layers_in_parallel() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = Agent::new(&engine);
        let mark = agent.context.tag("shared");
        let images: String = ["a", "b"]
            .map(|name| {
                agent.context.write(
                    &format!("Dockerfile.{name}"),
                    format!("FROM {BUSYBOX}\nRUN echo {mark} {name} > /made\n"),
                );
                format!("  {name}:\n    dockerfile: Dockerfile.{name}\n    names: [{mark}-{name}]\n")
            })
            .concat();
        agent
            .context
            .write("larder.yaml", format!("cache_repo: {}/shared\nimages:\n{images}", registry.host));
        let cache = agent.path("cache");
        let run = agent.context.larder(&["build", "--cache-dir", &cache, "--strict", "a", "b"]).success();
        assert!(tags(&registry, "shared").contains(&"cache".to_owned()), "{}: {}", engine.name, run.stderr);
    }
}
