//! Options and lanes: they decide whether prefixes are used and published.

use std::thread::sleep;
use std::time::Duration;

use super::{Project, dockerfile, every_engine};
use crate::running::Running;
use crate::support::BUSYBOX;

/// A public key in base64 that has signed nothing.
const PUBLIC_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[test]
fn options_that_conflict_with_a_prefix_neither_use_nor_replace_it() {
    let all = every_engine();
    let project = Project::published(&all[0]);
    let published = project.prefix_tags();
    let manifest = project.prefix();
    let cases: [(&[&str], &str, &str); 5] = [
        (&["--read-only"], "hit", "has the layers up to line 6"),
        (&["--no-cache", "--read-only"], "skipped", "--no-cache"),
        (&["--no-cache-filter", "other", "--read-only"], "skipped", "--no-cache-filter"),
        (&["--build-arg", "BUILDKIT_INLINE_CACHE=1"], "skipped", "inline cache"),
        (&["--max-age", "1ms", "--read-only"], "miss", "before --max-age"),
    ];
    for (index, (arguments, outcome, reason)) in cases.into_iter().enumerate() {
        let agent = project.agent(&all[1], &format!("case-{index}"));
        agent.context.write("app.py", format!("{arguments:?}\n"));
        let built = project.push(&agent, arguments);
        let (actual, why) = built.tier("prefix");
        assert!(
            actual == outcome && why.contains(reason),
            "{arguments:?}: {actual}: {why}: {}",
            built.run.stderr
        );
        assert_eq!(project.prefix_tags(), published, "{arguments:?}");
        assert_eq!(project.prefix(), manifest, "{arguments:?}");
    }
    let containerd =
        all.iter().find(|engine| engine.is_containerd()).expect("an engine with containerd's store");
    let (key, name) = (PUBLIC_KEY, project.name("exported"));
    let archive = format!("type=oci,dest={},rewrite-timestamp=true", project.first.path("image.tar"));
    let repository = format!("{}/app", project.front.host);
    let cases: [(&[&str], &str); 3] = [
        (
            &["--push", "-t", &name, "--require-signature", "--trusted-key", key],
            "prefixes have no signatures",
        ),
        (&["--push", "-t", &name, "--provenance=mode=max"], "attestations"),
        (&["--cache-repo", &repository, "--output", &archive], "rewrite-timestamp"),
    ];
    for (index, (arguments, reason)) in cases.into_iter().enumerate() {
        let agent = project.agent(containerd, &format!("other-{index}"));
        agent.context.write("app.py", format!("{arguments:?}\n"));
        let built = agent.build(arguments);
        let (actual, why) = built.tier("prefix");
        assert!(actual == "skipped" && why.contains(reason), "{arguments:?}: {actual}: {why}");
        assert_eq!(project.prefix(), manifest, "{arguments:?}");
    }
    project.push(&project.agent(&all[1], "rebuild"), &["--force-rebuild"]);
    assert_eq!(project.prefix_tags(), published);
    assert_ne!(project.prefix(), manifest, "a forced rebuild replaces the prefix");
}

#[test]
fn a_pull_request_reads_prefixes_of_the_trunk_and_the_trunk_reads_none_of_pull_requests() {
    let all = every_engine();
    let project = Project::new(&all[0]);
    let of = |lane| ["--lane", lane, "--trunk", "main"];
    project.push(&project.first, &of("pr-7"));
    assert!(project.prefix_tags().iter().all(|tag| tag.ends_with("-pr-7")), "{:?}", project.prefix_tags());
    project.first.context.write("app.py", "2\n");
    let trunk = project.push(&project.agent(&all[1], "b"), &of("main"));
    assert_eq!(trunk.tier("prefix").0, "miss", "{}", trunk.run.stderr);
    assert_eq!(project.prefix_tags().len(), 2, "each lane has its own prefix");
    project.first.context.write("app.py", "3\n");
    let request = project.push(&project.agent(&all[0], "c"), &of("pr-8"));
    request.assert_continues();
    assert_eq!(project.prefix_tags().len(), 2, "the pull request made no layers of a prefix");
}

#[test]
fn a_prefix_older_than_max_age_is_replaced() {
    let all = every_engine();
    let project = Project::published(&all[0]);
    let old = project.prefix();
    sleep(Duration::from_secs(2));
    let agent = project.agent(&all[1], "b");
    let built = project.push(&agent, &["--max-age", "1s", "--load"]);
    assert!(built.tier("prefix").1.contains("before --max-age"), "{}", built.run.stderr);
    assert_eq!(built.steps()[2], 0, "the layer caches are too old as well: {}", built.run.stderr);
    assert_ne!(project.prefix(), old);

    project.first.context.write("app.py", "3\n");
    let next = project.agent(&all[2], "c");
    project.push(&next, &["--load"]).assert_continues();
    assert_eq!(project.image_file(&next, "/one"), project.image_file(&agent, "/one"));
}

#[test]
fn an_image_is_as_old_as_the_prefix_that_it_continues() {
    const AGE: u64 = 10;
    let all = every_engine();
    let project = Project::published(&all[0]);
    sleep(Duration::from_secs(AGE + 2));
    let continuing = project.agent(&all[1], "b");
    project.push(&continuing, &["--load"]).assert_continues();
    // The image is newer than the maximum age, and its prefix is older.
    let age = format!("{AGE}s");
    for (agent, tier) in [(&continuing, "engine"), (&project.agent(&all[2], "c"), "registry")] {
        let built = project.push(agent, &["--max-age", &age, "--read-only"]);
        let (outcome, reason) = built.tier(tier);
        assert!(outcome == "miss" && reason.contains("before --max-age"), "{tier}: {reason}");
    }
}

#[test]
fn an_image_whose_inputs_changed_during_the_build_publishes_no_prefix() {
    let project = Project::new(&every_engine()[0]);
    let context = &project.first.context;
    let slow = dockerfile(&context.tag("mark")).replace("RUN cat", "RUN echo slow; sleep 4; cat");
    context.write("Dockerfile", slow);
    let (name, cache) = (project.name("a"), project.first.path("cache"));
    let arguments = ["build", "--cache-dir", &cache, "--push", "-t", &name, "."];
    let running = Running::start(&mut context.command(&arguments));
    running.await_stderr("RUN echo slow");
    context.write("app.py", "2\n");
    let run = running.end(Duration::from_mins(1)).success();
    assert!(run.stderr.contains("files of the context changed"), "{}", run.stderr);
    assert_eq!(project.prefix_tags(), [""; 0]);
}

#[test]
fn a_changed_base_image_changes_the_prefixes() {
    let all = every_engine();
    let project = Project::new(&all[0]);
    let context = &project.first.context;
    let base = format!("{}/base:1", project.front.host);
    context.write("Dockerfile", dockerfile(&context.tag("mark")).replace(BUSYBOX, &base));
    let push_base = |number: u8| {
        context.write("Dockerfile.base", format!("FROM {BUSYBOX}\nRUN echo {number} > /number\n"));
        project.first.build(&["-f", "Dockerfile.base", "--push", "-t", &base]);
    };
    push_base(1);
    project.push(&project.first, &[]);
    assert!(project.prefix_tag().is_some());
    context.write("app.py", "2\n");
    push_base(2);
    let agent = project.agent(&all[1], "b");
    let built = project.push(&agent, &["--load"]);
    assert_eq!(built.tier("prefix").0, "miss", "{}", built.run.stderr);
    assert_eq!(project.image_file(&agent, "/number"), b"2\n");
}
