//! Builds that continue from a prefix of their image: their results, and their calls to the registry.

mod faults;
mod options;

use std::collections::BTreeMap;

use serde_json::Value;

use super::front::{Fault, RecordedCall, RegistryProxy};
use super::{Agent, BuildResult};
use crate::engines::{Engine, every_engine};
use crate::image::Entry;
use crate::registries::Registry;
use crate::support::{BUSYBOX, TestContext};

/// Returns a Dockerfile whose prefix ends after two RUN steps, the results of which differ in every run.
fn dockerfile(mark: &str) -> String {
    format!(
        "FROM {BUSYBOX}\nENV A=1\nWORKDIR /srv\nCOPY requirements.txt .\n\
         RUN echo {mark}; cat /proc/sys/kernel/random/uuid > /one\n\
         RUN cat /proc/sys/kernel/random/uuid > /two\n\
         COPY app.py .\nENV A=2 B=$A\nLABEL c=d\nUSER 7\nCMD [\"cat\", \"app.py\"]\n"
    )
}

/// A registry, and a project whose agents push to it.
struct Project {
    registry: Registry,
    front: RegistryProxy,
    first: Agent,
}

impl Project {
    fn new(engine: &Engine) -> Self {
        let registry = Registry::open();
        let front = RegistryProxy::before(&registry.host);
        let context = TestContext::new(engine);
        let mark = context.tag("mark");
        context
            .write("requirements.txt", &mark)
            .write("app.py", "1\n")
            .write("Dockerfile", dockerfile(&mark));
        Self { registry, front, first: Agent { context, name: "a".to_owned() } }
    }

    /// Creates a project whose first agent has pushed the image, and whose code has changed since.
    fn published(engine: &Engine) -> Self {
        let project = Self::new(engine);
        project.push(&project.first, &[]);
        assert!(project.prefix_tag().is_some(), "{}: no prefix", engine.name);
        project.first.context.write("app.py", "2\n");
        project
    }

    fn agent(&self, engine: &Engine, name: &str) -> Agent {
        self.first.other_agent(engine, name)
    }

    fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.front.host)
    }

    fn push(&self, agent: &Agent, arguments: &[&str]) -> BuildResult {
        // Without the graft tier: a graft leaves no steps that could continue from a prefix.
        let tiers = ["--tiers", "engine,registry,prefix,layers,mounts"];
        agent.build(&[&["--push", "-t", &self.name(&agent.name)], &tiers[..], arguments].concat())
    }

    fn prefix_tags(&self) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.registry.get("/v2/app/tags/list")).unwrap();
        let tags = list["tags"].as_array().unwrap().iter().filter_map(Value::as_str);
        tags.filter(|tag| tag.starts_with("larder-prefix-")).map(str::to_owned).collect()
    }

    fn prefix_tag(&self) -> Option<String> {
        self.prefix_tags().pop()
    }

    /// Returns the manifest of the prefix.
    fn prefix(&self) -> Value {
        let tag = self.prefix_tag().expect("a prefix");
        serde_json::from_str(&self.registry.manifest("app", &tag)).unwrap()
    }

    fn image_file(&self, agent: &Agent, path: &str) -> Vec<u8> {
        agent.context.engine.read(&self.name(&agent.name), path)
    }
}

impl BuildResult {
    #[track_caller]
    fn assert_continues(&self) {
        let (outcome, reason) = self.tier("prefix");
        assert_eq!(outcome, "hit", "{reason}: {}", self.run.stderr);
    }
}

/// Returns the number of calls that look for prefixes.
fn lookups(calls: &[RecordedCall]) -> usize {
    calls.iter().filter(|call| call.path.contains("/manifests/larder-prefix-")).count()
}

/// Returns the number of uploads of each blob.
fn uploads(calls: &[RecordedCall]) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for call in calls.iter().filter(|call| matches!(call.method.as_str(), "PUT" | "POST")) {
        let digest = call.path.split(['?', '&']).find_map(|part| part.strip_prefix("digest="));
        if let Some(digest) = digest {
            *counts.entry(digest.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn an_engine_without_the_layers_continues_from_the_prefix_of_a_different_engine() {
    let all = every_engine();
    for (index, from) in all.iter().enumerate() {
        let to = &all[(index + 1) % all.len()];
        let pair = format!("{} to {}", from.name, to.name);
        let project = Project::published(from);
        let made = ["/one", "/two"].map(|path| project.image_file(&project.first, path));
        let continuing = project.agent(to, "b");
        let built = project.push(&continuing, &["--load"]);
        built.assert_continues();
        assert_eq!(built.steps()[..2], [4, 3], "{pair}: {}", built.run.stderr);
        assert!(built.run.stderr.contains("3 of 4 cached"), "{pair}: {}", built.run.stderr);
        assert_eq!(["/one", "/two"].map(|path| project.image_file(&continuing, path)), made, "{pair}");

        let plain = project.agent(to, "plain");
        let tag = plain.context.tag("plain");
        plain.build(&["--tiers", "engine", "--no-cache", "-t", &tag]);
        let name = project.name("b");
        assert_eq!(to.inspect(&name)["Config"], to.inspect(&tag)["Config"], "{pair}");
        let entries = |image: &str| {
            let all = to.entries(image, "/").into_iter();
            // The results of the RUN steps differ in every run. They are compared above.
            let is_fixed = |rest: &str| !rest.starts_with("/one ") && !rest.starts_with("/two ");
            let content =
                |entry: Entry| (is_fixed(&entry.attributes).then_some(entry.content), entry.attributes);
            all.map(content).collect::<Vec<_>>()
        };
        assert!(entries(&name) == entries(&tag), "{pair}: the files differ");

        let sent = uploads(&project.front.seen());
        assert!(!sent.is_empty() && sent.values().all(|times| *times == 1), "{pair}: {sent:?}");
        let hit = project.push(&project.agent(from, "c"), &[]);
        assert!(hit.is_hit_in_registry(), "{pair}: {}", hit.run.stderr);
    }
}

#[test]
fn an_engine_that_knows_a_prefix_does_not_query_the_registry_for_it() {
    let all = every_engine();
    for (index, from) in all.iter().enumerate() {
        let project = Project::published(from);
        let continuing = project.agent(&all[(index + 1) % all.len()], "b");
        project.push(&continuing, &[]).assert_continues();
        project.front.seen();
        for (agent, outcome, reason) in [
            (&project.first, "skipped", "has made the layers up to line 6"),
            (&continuing, "hit", "has continued from the layers up to line 6"),
        ] {
            agent.context.write("app.py", format!("{} again\n", agent.name));
            let built = project.push(agent, &[]);
            let tier = built.tier("prefix");
            let stderr = &built.run.stderr;
            assert!(tier.0 == outcome && tier.1.contains(reason), "{}: {tier:?}: {stderr}", from.name);
            assert_eq!(built.steps()[..2], [4, 3], "{}: {stderr}", from.name);
            let calls = project.front.seen();
            assert_eq!(lookups(&calls), 0, "{}: {reason}: {calls:?}", from.name);
        }
    }
}

#[test]
fn an_engine_that_knows_a_prefix_does_not_continue_from_it_after_max_age() {
    let all = every_engine();
    let project = Project::published(&all[0]);
    let continuing = project.agent(&all[1], "b");
    project.push(&continuing, &[]).assert_continues();
    continuing.context.write("app.py", "3\n");
    let built = project.push(&continuing, &["--max-age", "1ms"]);
    let (outcome, reason) = built.tier("prefix");
    assert!(outcome == "miss" && reason.contains("older than --max-age"), "{reason}: {}", built.run.stderr);
}

#[test]
fn the_oldest_prefixes_are_deleted_if_the_registry_allows_it() {
    let all = every_engine();
    let project = Project::new(&all[0]);
    let push = |number: usize| {
        project.first.context.write("requirements.txt", format!("{number}\n"));
        let built = project.push(&project.first, &[]);
        assert_eq!(built.tier("prefix").0, "miss", "{}", built.run.stderr);
        built.run.stderr
    };
    push(0);
    let oldest = project.prefix_tag().expect("a prefix");
    (1..10).for_each(|number| drop(push(number)));
    assert!(project.prefix_tags().len() == 10 && project.prefix_tags().contains(&oldest));
    project.front.fail(
        "DELETE",
        "/manifests/",
        Fault::Answer("405 Method Not Allowed", r#"{"errors":[{"code":"UNSUPPORTED"}]}"#),
        usize::MAX,
    );
    let refused = push(10);
    assert!(refused.contains("does not let larder delete old prefixes"), "{refused}");
    assert_eq!(project.prefix_tags().len(), 11);
    let undeleted = || {
        let cache = project.first.path("cache");
        let stats = ["cache", "stats", "--format", "json", "--cache-dir", &cache];
        let stats: Value =
            serde_json::from_str(&project.first.context.larder(&stats).success().stdout).unwrap();
        stats["undeleted"].clone()
    };
    assert_eq!(undeleted()[format!("{}/app", project.front.host)], serde_json::json!([oldest]));
    project.front.heal();
    push(11);
    assert_eq!(undeleted(), serde_json::json!({}));
    assert!(project.prefix_tags().len() == 10 && !project.prefix_tags().contains(&oldest));
}

#[test]
fn a_step_that_fails_after_the_prefix_is_reported_with_its_line_in_the_users_dockerfile() {
    let all = every_engine();
    let project = Project::published(&all[0]);
    let context = &project.first.context;
    let text = dockerfile(&context.tag("mark")).replace("USER 7\n", "USER 7\nCOPY missing .\n");
    context.write("Dockerfile", text);
    for to in &all[1..] {
        let failed = |name: &str, more: &[&str]| {
            let agent = project.agent(to, name);
            let cache = agent.path("cache");
            let own = ["build", "--cache-dir", &cache, "--push", "-t", &project.name(name)];
            let run = agent.context.larder(&[&own[..], more, &["."]].concat()).failure(1, "missing");
            let report = run.stderr.lines().skip_while(|line| !line.starts_with("Dockerfile:"));
            let report = report.take_while(|line| !line.is_empty());
            (run.stderr.clone(), report.map(str::to_owned).collect::<Vec<_>>())
        };
        let (continued, of_continued) = failed("b", &[]);
        assert!(continued.contains("has the layers up to line 6"), "{continued}");
        let (plain, of_plain) = failed("c", &["--tiers", "engine"]);
        assert!(of_plain.iter().any(|line| line.contains("COPY missing")), "{plain}");
        assert_eq!(of_continued, of_plain, "{}: {continued}", to.name);
    }
}
