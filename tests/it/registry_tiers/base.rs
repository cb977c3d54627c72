//! Base images: built once, and found by later builds and by other agents.

use std::time::Duration;

use super::{Agent, tags};
use crate::engines::{Engine, any_engine, engines, upgraded_engines};
use crate::proxy::Proxy;
use crate::registries::Registry;
use crate::running::Running;
use crate::support::{BUSYBOX, Run, json, run_to_end};

/// Creates a project whose dependencies are in a separate base image.
fn project(engine: &Engine) -> Agent {
    let agent = Agent::new(engine);
    let mark = agent.context.tag("base");
    agent
        .context
        .write("Dockerfile.base", format!("FROM {BUSYBOX}\nCOPY requirements.txt /\nRUN echo {mark} && true pip install -r requirements.txt\n"))
        .write("Dockerfile", "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY app.py /\n");
    agent
}

/// Runs `larder base build` on an agent.
fn base(agent: &Agent, more: &[&str]) -> Run {
    let cache = agent.path("cache");
    let own = ["base", "build", "--cache-dir", &cache, "-f", "Dockerfile.base"];
    agent.context.larder(&[&own[..], more].concat()).success()
}

#[test]
fn a_base_is_built_once_for_its_dependencies_and_used_by_the_main_image() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = project(&engine);
        let repository = format!("{}/base", registry.host);
        let first = base(&agent, &["--repo", &repository]);
        assert!(first.stderr.contains("building the base image"), "{}", first.stderr);
        assert!(
            first.stdout.starts_with(&format!("{repository}:")) && first.stdout.contains("@sha256:"),
            "{}",
            first.stdout
        );
        let other = agent.other_agent(&any_engine(), "b");
        let second = base(&other, &["--repo", &repository]);
        assert_eq!(second.stdout, first.stdout);
        assert!(
            second.stderr.contains("is in its registry") && !second.stderr.contains("#1 "),
            "{}",
            second.stderr
        );

        // A change of the code does not affect the base. A change of the dependencies does.
        agent.context.write("app.py", "2\n");
        let main = |agent: &Agent| {
            let name = format!("{}/app:1", registry.host);
            agent.build(&["--base", "Dockerfile.base", "--base-repo", &repository, "--push", "-t", &name])
        };
        let built = main(&agent);
        assert_eq!(built.record["base"]["outcome"], "found", "{}", built.record);
        assert_eq!(built.record["base"]["reference"], first.stdout.trim());
        assert!(
            built.run.stderr.contains(&format!("the base image is in its registry: {}", first.stdout.trim())),
            "{}",
            built.run.stderr
        );
        agent.context.write("requirements.txt", format!("# a comment\n{}\n", agent.context.tag("mark")));
        assert_eq!(
            main(&agent).record["base"]["reference"],
            first.stdout.trim(),
            "a comment does not change the dependencies"
        );
        agent.context.write("requirements.txt", "another\n");
        let built = main(&agent);
        assert_eq!(built.record["base"]["outcome"], "built");
        assert_eq!(
            built.run.stderr.matches("\nlarder\n").count(),
            2,
            "both builds have a summary: {}",
            built.run.stderr
        );
    }
}

#[test]
fn the_layers_of_a_base_are_cached_in_its_own_repository_and_an_unknown_branch_causes_a_warning() {
    let registry = Registry::open();
    let agent = project(&any_engine());
    let (cache, repository) = (agent.path("cache"), format!("{}/base", registry.host));
    let flags = ["base", "build", "--cache-dir", &cache, "-f", "Dockerfile.base", "--repo", &repository];
    let mut command = agent.context.command(&flags);
    command.env("LARDER_CACHE_REPO", format!("{}/caches", registry.host));
    let run = run_to_end(command.env("CI", "true").env_remove("LARDER_LANE"), None).success();
    let tags = tags(&registry, "base");
    assert!(tags.contains(&"cache-local".to_owned()), "{tags:?}");
    assert!(
        !registry.get("/v2/_catalog").contains("caches"),
        "that repository is for images that use the base"
    );
    assert!(run.stderr.contains("the branch of this job is not known"), "{}", run.stderr);
}

#[test]
fn without_a_registry_the_base_is_stored_in_the_engine() {
    for engine in engines() {
        let agent = project(&engine);
        let build =
            |agent: &Agent| agent.build(&["--base", "Dockerfile.base", "-t", &agent.context.tag("app")]);
        let first = build(&agent);
        assert_eq!(first.record["base"]["outcome"], "built");
        agent.context.write("app.py", "2\n");
        let second = build(&agent);
        assert_eq!(second.record["base"]["outcome"], "found", "{}: {}", engine.name, second.run.stderr);
        let name = second.record["base"]["reference"].as_str().unwrap();
        drop(engine.docker().args(["rmi", name]).output().unwrap());
    }
}

#[test]
fn requirements_select_the_files_that_are_in_the_key_of_a_base() {
    let registry = Registry::open();
    let agent = project(&any_engine());
    agent.context.write("Dockerfile.base", format!("FROM {BUSYBOX}\nCOPY . /all\n"));
    let repository = format!("{}/base", registry.host);
    let named = |more: &[&str]| base(&agent, &[&["--repo", &repository], more].concat()).stdout;
    let (all, some) = (named(&[]), named(&["--requirements", "requirements.txt"]));
    agent.context.write("app.py", "2\n");
    assert_ne!(named(&[]), all);
    assert_eq!(named(&["--requirements", "requirements.txt"]), some);
    agent.context.write("requirements.txt", "other\n");
    assert_ne!(named(&["--requirements", "requirements.txt"]), some);
    let missing =
        ["base", "build", "-f", "Dockerfile.base", "--repo", &repository, "--requirements", "none.txt"];
    let run = agent.context.larder(&missing).success();
    assert!(run.stderr.contains("warning: --requirements: cannot read ./none.txt"), "{}", run.stderr);
}

#[test]
fn a_base_whose_files_change_during_its_build_is_used_but_not_tagged_with_its_key() {
    for engine in engines() {
        let registry = Registry::open();
        let agent = project(&engine);
        let (mark, repository) = (agent.context.tag("base"), format!("{}/base", registry.host));
        let (cache, metadata, tag) =
            (agent.path("cache"), agent.path("metadata.json"), agent.context.tag("app"));
        let own = ["build", "--cache-dir", &cache, "--progress", "plain", "--metadata-file", &metadata];
        let of_base = ["--base", "Dockerfile.base", "-t", &tag, "."];
        // Once with a registry, and once in the engine only.
        for repository in [Some(&repository), None] {
            let (place, of_base_build) = match repository {
                Some(repository) => (vec!["--base-repo", repository], vec!["--repo", repository]),
                None => (Vec::new(), Vec::new()),
            };
            let dockerfile = format!(
                "FROM {BUSYBOX}\nRUN sleep 2 && echo {mark} {}\nCOPY requirements.txt /\nRUN sleep 2\n",
                repository.is_some()
            );
            agent.context.write("Dockerfile.base", dockerfile);
            agent.context.write("requirements.txt", format!("{mark}\n"));
            let running = Running::start(&mut agent.context.command(&[&own[..], &place, &of_base].concat()));
            running.await_stderr("RUN sleep");
            agent.context.write("requirements.txt", "edited\n");
            let run = running.end(Duration::from_mins(1)).success();
            assert!(run.stderr.contains("requirements.txt): it is named"), "{}: {}", engine.name, run.stderr);
            let used = json(metadata.as_ref())["base"]["reference"].as_str().unwrap().to_owned();
            assert!(used.contains(":unkeyed-"), "{}: {used}", engine.name);

            agent.context.write("requirements.txt", format!("{mark}\n"));
            let keyed = base(&agent, &of_base_build);
            assert!(keyed.stderr.contains("building the base image"), "{}: {}", engine.name, keyed.stderr);
            let name = keyed.stdout.trim();
            let content =
                engine.read(name.split_once('@').map_or(name, |(name, _)| name), "/requirements.txt");
            assert_eq!(content, format!("{mark}\n").into_bytes(), "{}: a wrong hit", engine.name);
            drop(engine.docker().args(["rmi", &used, name]).output().unwrap());
        }
        let remaining = tags(&registry, "base");
        let unkeyed: Vec<_> = remaining.iter().filter(|tag| tag.starts_with("unkeyed-")).collect();
        assert_eq!(unkeyed.len(), 1, "{}: {remaining:?}", engine.name);
    }
}

#[test]
fn a_base_of_a_pull_request_is_not_used_by_the_trunk() {
    let registry = Registry::open();
    let agent = project(&any_engine());
    let repository = format!("{}/base", registry.host);
    let of_lane =
        |agent: &Agent, lane: &str| base(agent, &["--repo", &repository, "--lane", lane, "--trunk", "main"]);
    let request = of_lane(&agent, "pr-7");
    assert!(request.stdout.contains("-pr-7@"), "{}", request.stdout);
    let trunk = of_lane(&agent.other_agent(&any_engine(), "b"), "main");
    assert!(trunk.stderr.contains("building the base image"), "{}", trunk.stderr);
    let other = of_lane(&agent.other_agent(&any_engine(), "c"), "pr-8");
    assert_eq!(other.stdout, trunk.stdout);
    let flags = ["--repo", &repository, "--lane", "main", "--trunk", "main", "--force-rebuild"];
    let newest = base(&agent.other_agent(&any_engine(), "d"), &flags);
    assert_ne!(newest.stdout, trunk.stdout);
    assert_eq!(of_lane(&agent, "pr-7").stdout, newest.stdout, "a rebuild of the trunk replaces older bases");
    base(&agent, &["--repo", &format!("{}/read", registry.host), "--read-only"]);
    assert!(tags(&registry, "read").is_empty());
}

#[test]
fn errors_have_a_cause_and_a_hint() {
    let agent = project(&any_engine());
    agent.context.write("Dockerfile", format!("FROM {BUSYBOX}\nARG BASE_IMAGE\n"));
    let cache = agent.path("cache");
    let arguments = ["build", "--cache-dir", &cache, "--base", "Dockerfile.base", "."];
    agent.context.larder(&arguments).failure(2, "does not declare ARG BASE_IMAGE").hint("ARG BASE_IMAGE");
    agent.context.larder(&["build", "--base", "Dockerfile.base", "a", "b"]).failure(2, "several are given");
    agent.context.larder(&["base", "build", "--repo", "app:1"]).failure(2, "leave the tag out");
    agent.context.larder(&["base", "build", "-t", "app:1"]).failure(2, "--tag cannot be used").hint("--repo");
    let both = ["build", "--base", "Dockerfile.base", "--build-arg", "BASE_IMAGE=x", "."];
    agent.context.larder(&both).failure(2, "--base and --build-arg BASE_IMAGE").hint("remove one");
    agent.context.write("Dockerfile.bad", format!("FROM {BUSYBOX}\nRUN exit 7\n"));
    agent.context.write("Dockerfile", "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n");
    let metadata = agent.path("metadata.json");
    let bad = ["build", "--cache-dir", &cache, "--base", "Dockerfile.bad", "--metadata-file", &metadata, "."];
    agent.context.larder(&bad).failure(1, "exit code: 7");
    assert_eq!(json(metadata.as_ref())["outcome"], "failed");
    // `base build` fails if the push fails, because no other machine could pull the base.
    let down =
        ["base", "build", "-f", "Dockerfile.base", "--cache-dir", &cache, "--repo", "127.0.0.1:9/base"];
    let run = agent.context.larder(&down).failure(1, "cannot push 127.0.0.1:9/base");
    assert_eq!(run.stdout, "");
    // On this machine, the base can be used without the push.
    let tag = agent.context.tag("app");
    let built = agent.build(&["--base", "Dockerfile.base", "--base-repo", "127.0.0.1:9/base", "-t", &tag]);
    assert_eq!(built.record["outcome"], "built");
    assert!(built.run.stderr.contains("continuing with the image in the engine"), "{}", built.run.stderr);
}

#[test]
fn a_base_and_the_image_on_it_are_built_over_one_connection() {
    for engine in upgraded_engines() {
        let proxy = Proxy::unix(&engine.host);
        let registry = Registry::open();
        let agent = project(&engine.at("proxied", proxy.host()));
        let (repository, name) = (format!("{}/base", registry.host), format!("{}/app:1", registry.host));
        agent.build(&["--base", "Dockerfile.base", "--base-repo", &repository, "--push", "-t", &name]);
        let pings = proxy.seen().iter().filter(|first| first.starts_with("GET /_ping")).count();
        assert_eq!(pings, 1, "{}", engine.name);
    }
}
