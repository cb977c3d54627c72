//! A rebuild that the user forced is final: what it replaced is no hit again, whoever still has it.

use serde_json::Value;

use crate::engines::{Engine, any_engine};
use crate::registries::Registry;
use crate::support::{self, BUSYBOX, TestContext, finish};

/// Agents of one project, each with a cache directory of its own. Every build that runs the step makes another image.
struct Agents {
    context: TestContext,
}

impl Agents {
    fn new(engine: &Engine) -> Self {
        let context = TestContext::new(engine);
        context.write("app", context.tag("app"));
        context.write(
            "Dockerfile",
            format!("FROM {BUSYBOX}\nCOPY app /\nRUN cat /proc/sys/kernel/random/uuid > /own\n"),
        );
        Self { context }
    }

    /// Builds on the agent `name`.
    fn build(&self, name: &str, arguments: &[&str]) -> Value {
        let path = |end: &str| self.context.path(&format!("{name}-{end}")).to_string_lossy().into_owned();
        let (cache, metadata) = (path("cache"), path("metadata.json"));
        let own = ["build", "--cache-dir", &cache, "--metadata-file", &metadata];
        finish(&mut self.context.command(&[&own[..], arguments, &["."]].concat()), None).success();
        support::json(metadata.as_ref())
    }

    /// Removes images from the engine, and what its builder has made of this project.
    fn remove(&self, images: &[&Value]) {
        for image in images {
            let removed =
                self.context.engine.docker().args(["rmi", "--force"]).arg(id(image)).output().unwrap();
            assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
        }
    }
}

fn id(built: &Value) -> &str {
    built["image_id"].as_str().unwrap()
}

#[test]
fn an_image_that_was_replaced_does_not_come_back_once_the_new_one_is_removed() {
    for flags in
        [&["--force-rebuild"][..], &["--no-cache"], &["--no-cache-filter", "main"], &["--max-age", "1s"]]
    {
        let agents = Agents::new(&any_engine());
        let dockerfile = std::fs::read_to_string(agents.context.project().join("Dockerfile")).unwrap();
        agents.context.write("Dockerfile", dockerfile.replacen('\n', " AS main\n", 1));
        let (tag, kept) = (agents.context.tag("app"), agents.context.tag("kept"));
        let old = agents.build("a", &["-t", &tag, "-t", &kept]);
        if flags[0] == "--max-age" {
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
        let new = agents.build("a", &[flags, &["-t", &tag]].concat());
        assert_ne!(id(&old), id(&new), "{flags:?}");
        agents.remove(&[&new]);
        let again = agents.build("a", &["-t", &tag]);
        assert_ne!(id(&again), id(&old), "{flags:?}");
    }
}

#[test]
fn an_archived_image_is_replaced_by_a_rebuild_that_requests_no_archive() {
    let agents = Agents::new(&any_engine());
    let tag = agents.context.tag("app");
    let remote = format!("file://{}", agents.context.path("remote").display());
    std::fs::create_dir(agents.context.path("remote")).unwrap();
    let old = agents.build("a", &["--enable-cache", "--remote", &remote, "-t", &tag]);
    let new = agents.build("a", &["--force-rebuild", "--remote", &remote, "-t", &tag]);
    agents.remove(&[&old, &new]);
    assert_eq!(id(&agents.build("b", &["--remote", &remote, "-t", &tag])), id(&new), "another agent");
    // Without a remote the local store is all there is.
    let local = Agents::new(&any_engine());
    let old = local.build("a", &["--enable-cache", "-t", &tag]);
    let new = local.build("a", &["--force-rebuild", "-t", &tag]);
    local.remove(&[&old, &new]);
    let hit = local.build("a", &["-t", &tag]);
    assert_eq!((hit["hit_tier"].as_str(), id(&hit)), (Some("archive"), id(&new)));
}

#[test]
fn a_rebuild_of_the_trunk_replaces_older_images_of_the_lanes_that_read_it() {
    let registry = Registry::open();
    let agents = Agents::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    let remote = format!("file://{}", agents.context.path("remote").display());
    std::fs::create_dir(agents.context.path("remote")).unwrap();
    let places = [&["--push", "-t", &name][..], &["--enable-cache", "--remote", &remote, "-t", "app"]];
    for place in places {
        let build = |agent: &str, more: &[&str]| agents.build(agent, &[place, more].concat());
        let request = ["--lane", "pr-7", "--trunk", "main"];
        let old = build("request", &request);
        let new = build("trunk", &["--lane", "main", "--trunk", "main", "--force-rebuild"]);
        assert_ne!(id(&old), id(&new));
        agents.remove(&[&old]);
        let fresh = build("fresh-request", &request);
        assert_eq!((fresh["outcome"].as_str(), id(&fresh)), (Some("image-hit"), id(&new)), "{place:?}");
    }
}

#[test]
fn an_agent_that_still_has_the_replaced_image_takes_the_new_one() {
    let registry = Registry::open();
    let agents = Agents::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    let remote = format!("file://{}", agents.context.path("remote").display());
    std::fs::create_dir(agents.context.path("remote")).unwrap();
    for place in [&["--push", "-t", &name][..], &["--remote", &remote, "-t", "app"]] {
        let build = |agent: &str, more: &[&str]| agents.build(agent, &[place, more].concat());
        let old = build("a", &[]);
        let new = build("b", &["--force-rebuild"]);
        assert_ne!(id(&old), id(&new));
        let hit = build("a", &[]);
        assert_eq!((hit["outcome"].as_str(), id(&hit)), (Some("image-hit"), id(&new)), "{place:?}");
        assert_eq!(id(&build("a", &[])), id(&new), "{place:?}: and again");
        // The registry has the new one still.
        if place[0] == "--push" {
            assert!(registry.config("app", "1").contains(&digest_of_step(&new, &agents.context.engine)));
        }
    }
}

#[test]
fn an_image_of_the_engine_does_not_wait_for_a_remote_that_says_nothing() {
    let agents = Agents::new(&any_engine());
    let tag = agents.context.tag("app");
    agents.build("a", &["-t", &tag]);
    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("s3://b/p?endpoint=http://{}&region=eu-north-1", silent.local_addr().unwrap());
    let cache = agents.context.path("a-cache").to_string_lossy().into_owned();
    let mut command =
        agents.context.command(&["build", "--cache-dir", &cache, "--remote", &remote, "-t", &tag, "."]);
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    let run = finish(&mut command, None).success();
    assert!(run.stderr.contains("image hit (engine)"), "{}", run.stderr);
    let expected =
        "warning: the remote store does not say in 2s if it has a newer image; going on with the engine's";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

/// The diff id of the last layer of an image.
fn digest_of_step(built: &Value, engine: &Engine) -> String {
    let layers = engine.inspect(id(built))["RootFS"]["Layers"].as_array().unwrap().clone();
    layers.last().unwrap().as_str().unwrap().to_owned()
}
