//! A forced rebuild is final: the image that it replaced is never a hit again, in whichever store it still is.

use serde_json::Value;

use crate::engines::{Engine, any_engine};
use crate::registries::Registry;
use crate::support::{self, BUSYBOX, TestContext, run_to_end};

/// Agents of one project, each with its own cache directory. Every build that runs the step makes a different image.
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
        run_to_end(&mut self.context.command(&[&own[..], arguments, &["."]].concat()), None).success();
        support::json(metadata.as_ref())
    }

    /// Removes images from the engine.
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
fn a_replaced_image_is_not_a_hit_after_the_new_image_is_removed() {
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
fn a_rebuild_without_the_archive_flag_replaces_the_archived_image() {
    let agents = Agents::new(&any_engine());
    let tag = agents.context.tag("app");
    let remote = format!("file://{}", agents.context.path("remote").display());
    std::fs::create_dir(agents.context.path("remote")).unwrap();
    let old = agents.build("a", &["--enable-cache", "--remote", &remote, "-t", &tag]);
    let new = agents.build("a", &["--force-rebuild", "--remote", &remote, "-t", &tag]);
    agents.remove(&[&old, &new]);
    assert_eq!(id(&agents.build("b", &["--remote", &remote, "-t", &tag])), id(&new), "on a different agent");
    // Without a remote, the local store is the only one.
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
    let flag_sets = [&["--push", "-t", &name][..], &["--enable-cache", "--remote", &remote, "-t", "app"]];
    for flags in flag_sets {
        let build = |agent: &str, more: &[&str]| agents.build(agent, &[flags, more].concat());
        let request = ["--lane", "pr-7", "--trunk", "main"];
        let old = build("request", &request);
        let new = build("trunk", &["--lane", "main", "--trunk", "main", "--force-rebuild"]);
        assert_ne!(id(&old), id(&new));
        agents.remove(&[&old]);
        let fresh = build("fresh-request", &request);
        assert_eq!((fresh["outcome"].as_str(), id(&fresh)), (Some("image-hit"), id(&new)), "{flags:?}");
    }
}

#[test]
fn an_agent_with_the_replaced_image_gets_the_new_image() {
    let registry = Registry::open();
    let agents = Agents::new(&any_engine());
    let name = format!("{}/app:1", registry.host);
    let remote = format!("file://{}", agents.context.path("remote").display());
    std::fs::create_dir(agents.context.path("remote")).unwrap();
    for flags in [&["--push", "-t", &name][..], &["--remote", &remote, "-t", "app"]] {
        let build = |agent: &str, more: &[&str]| agents.build(agent, &[flags, more].concat());
        let old = build("a", &[]);
        let new = build("b", &["--force-rebuild"]);
        assert_ne!(id(&old), id(&new));
        let hit = build("a", &[]);
        assert_eq!((hit["outcome"].as_str(), id(&hit)), (Some("image-hit"), id(&new)), "{flags:?}");
        assert_eq!(id(&build("a", &[])), id(&new), "{flags:?}: and again");
        // The registry still has the new image.
        if flags[0] == "--push" {
            assert!(registry.config("app", "1").contains(&digest_of_step(&new, &agents.context.engine)));
        }
    }
}

#[test]
fn an_engine_hit_does_not_wait_for_a_remote_that_does_not_answer() {
    let agents = Agents::new(&any_engine());
    let tag = agents.context.tag("app");
    agents.build("a", &["-t", &tag]);
    // The server accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("s3://b/p?endpoint=http://{}&region=eu-north-1", silent.local_addr().unwrap());
    let cache = agents.context.path("a-cache").to_string_lossy().into_owned();
    let mut command =
        agents.context.command(&["build", "--cache-dir", &cache, "--remote", &remote, "-t", &tag, "."]);
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    let run = run_to_end(&mut command, None).success();
    assert!(run.stderr.contains("image hit (engine)"), "{}", run.stderr);
    let expected =
        "warning: the remote store did not answer in 2s whether it has a newer image; using the engine's";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

/// Returns the diff id of the last layer of an image.
fn digest_of_step(built: &Value, engine: &Engine) -> String {
    let layers = engine.inspect(id(built))["RootFS"]["Layers"].as_array().unwrap().clone();
    layers.last().unwrap().as_str().unwrap().to_owned()
}
