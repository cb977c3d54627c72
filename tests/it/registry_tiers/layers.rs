//! Layers that a registry has. That engines which were wiped take them is shown by `scripts/check-registry.sh`.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::front::{Fault, Front};
use super::{Agent, tags};
use crate::engines::{any_engine, engines, special, upgraded_engines};
use crate::proxy::Proxy;
use crate::registries::Registry;
use crate::running::Running;
use crate::support::BUSYBOX;
use crate::waiting::await_true;

/// How long a build may take to end, or to come as far as a push.
const LIMIT: Duration = Duration::from_mins(1);

#[test]
fn another_engine_takes_the_layers_that_the_first_has_made() {
    // Of the same version and store, for others know steps, or bases, by different keys.
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
        let taken = agent.other(to, "b").build_of_layers(&["--push", "-t", &name("2")]);
        assert_eq!(taken.steps(), [5, 4, 4], "{} to {}: {}", from.name, to.name, taken.run.stderr);
        let step_list = taken.record["step_list"].as_array().unwrap();
        assert_eq!(step_list.iter().filter(|step| step["imported"] == true).count(), 4);
        let (outcome, reason) = taken.tier("layers");
        assert!(outcome == "hit" && reason.contains("4 of them from"), "{reason}");
        // What the builder has had before is no one else's merit.
        agent.context.write("app.py", "3\n");
        let own = agent.other(to, "b").build_of_layers(&["--push", "-t", &name("3")]);
        assert_eq!(own.steps(), [5, 4, 0], "{}", own.run.stderr);
    }
}

#[test]
fn the_image_is_the_one_without_a_cache_and_only_what_changed_is_left() {
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
            "{}: a local image of that name stands before the registry's",
            engine.name
        );

        // Another key, but the same layers.
        let again = agent.build(&["--push", "-t", &name("2"), "--provenance=false", "--key-extra", "a=1"]);
        assert_eq!(again.record["outcome"], "built");
        assert!(again.record["kept_layers"].is_null(), "{}: {}", engine.name, again.record);
        // Nothing but a COPY ran, and then more than that.
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
fn the_context_of_a_build_is_the_one_that_its_layers_are_left_from() {
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
fn the_users_own_image_keeps_the_name_that_layers_are_pushed_by_however_the_push_ends() {
    for engine in engines() {
        let registry = Registry::open();
        let front = Front::before(&registry.host);
        let agent = Agent::new(&engine);
        let (own, pushed) = (format!("{}/app:cache", front.host), format!("{}/app:1", front.host));
        // It has no other name, so that nothing else keeps it.
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
        for (fault, more, said) in [
            (denied, &[][..], "not kept in the registry"),
            (Fault::Stall, &["--archive-timeout", "4s"], "that took longer than 4s"),
        ] {
            front.fail("PUT", "/manifests/cache", fault, usize::MAX);
            let run = start(more).end(LIMIT).success();
            assert!(run.stderr.contains(said), "{}: {}", engine.name, run.stderr);
            assert_eq!(engine.inspect(&own)["Id"], id, "{}: {said}: {}", engine.name, run.stderr);
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
        assert!(run.stderr.contains("the layers are kept as"), "{}: {}", engine.name, run.stderr);
        assert_eq!(engine.inspect(&own)["Id"], id, "{}: what was killed is made good", engine.name);
        assert!(registry.config("app", "cache").contains("larder.layers"), "{}", engine.name);
        let names =
            engine.docker().args(["images", "--format", "{{.Repository}}:{{.Tag}}"]).output().unwrap();
        let aside = format!("{}/app:larder-aside", front.host);
        assert!(!String::from_utf8_lossy(&names.stdout).contains(&aside), "{}", engine.name);
        drop(engine.docker().args(["rmi", &own, &pushed]).output().unwrap());
    }
}

#[test]
fn who_says_where_layers_go_has_the_word() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:cache", registry.host);
    // The seed of many pipelines: the image itself is the cache.
    agent.build(&["--push", "-t", &name, "--cache-to", "type=inline", "--cache-from", &name]);
    assert_eq!(tags(&registry, "app"), ["cache", "larder-KEY"]);
    assert!(registry.config("app", "cache").contains("moby.buildkit.cache"));

    let elsewhere = format!("{}/layers", registry.host);
    let tag = agent.context.tag("here");
    agent.build(&["--cache-repo", &elsewhere, "-t", &tag, "--key-extra", "b=1"]);
    assert_eq!(tags(&registry, "layers"), ["cache"]);
}

#[test]
fn a_build_that_runs_every_step_takes_no_layers() {
    let registry = Registry::open();
    let agent = Agent::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    agent.build(&["--push", "-t", &name]);
    let fresh = agent.other(&any_engine(), "b").build(&["--push", "-t", &name, "--no-cache"]);
    assert_eq!(fresh.steps(), [5, 0, 0]);
    assert!(!fresh.run.stderr.contains("importing cache"), "{}", fresh.run.stderr);
}

#[test]
fn what_was_made_anew_stands_in_for_the_layers_that_were_there() {
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
        assert_eq!(layers("cache"), layers("2"), "{}: the next build would undo it", engine.name);
    }
}

#[test]
fn an_image_of_the_engine_leaves_its_layers_when_it_is_pushed() {
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
fn images_that_share_a_repository_leave_their_layers_at_the_same_time() {
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
