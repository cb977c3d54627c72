//! Compares the figures of builds with independent sources: the clock, the engine's output, the registry's log of
//! requests, and the sizes of files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Agent, BuildResult};
use crate::engines::{any_engine, engines, special};
use crate::registries::Registry;
use crate::support::BUSYBOX;

/// The size of what the RUN step makes and adds to its cache mount. It cannot be compressed.
const SIZE: u64 = 2_000_000;

struct Series {
    registry: Registry,
    agent: Agent,
    builds: u32,
}

impl Series {
    fn start() -> Self {
        let agent = Agent::new(&any_engine());
        let mark = agent.context.tag("mark");
        let run = format!("head -c {SIZE} /dev/urandom | tee /c/wheel > /installed; sleep 0.7; echo {mark}");
        let mount = "--mount=type=cache,target=/c";
        agent.context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN {mount} {run}\nCOPY app.py /\n"));
        Self { registry: Registry::open(), agent, builds: 0 }
    }

    /// Changes a file, builds with these arguments, and checks the figures that apply to every build. Returns the build
    /// and the number of bytes of layers that the engine fetched from the registry.
    fn build(&mut self, agent: &Agent, arguments: &[&str]) -> (BuildResult, u64) {
        self.builds += 1;
        self.agent.context.write("app.py", format!("{}\n", self.builds));
        let name = format!("{}/app:{}", self.registry.host, self.builds);
        let known = self.registry.access_log().len();
        let clock = Instant::now();
        let build = agent.build(&[&["--push", "-t", &name], arguments].concat());
        let elapsed = clock.elapsed();
        let recorded = Duration::from_millis(build.record["millis"].as_u64().unwrap());
        assert!(
            recorded <= elapsed && elapsed < recorded + Duration::from_secs(1),
            "{recorded:?}, {elapsed:?}"
        );
        let cached = cached_steps(&build.run.stderr);
        let [total, counted, _] = build.steps();
        let in_prefix = total
            - build.record["step_list"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|step| step["tier"].is_null())
                .count() as u64;
        assert_eq!((total, counted), (2, cached + in_prefix), "{}", build.run.stderr);
        let fetched = self.fetched_layers(known);
        (build, fetched)
    }

    /// Returns the number of bytes of the layers in the log after this position, except the requests of larder.
    fn fetched_layers(&self, start: usize) -> u64 {
        let layers = self.layers();
        let log = self.registry.access_log();
        let of_engine = log[start..]
            .lines()
            .filter(|line| line.contains("\"GET /v2/app/blobs/") && !line.contains("larder"));
        let digests: BTreeSet<&str> =
            of_engine.filter_map(|line| line.split("/blobs/").nth(1)?.split_whitespace().next()).collect();
        digests.iter().filter_map(|digest| layers.get(*digest)).sum()
    }

    /// Returns the sizes of all layers of all images in the registry.
    fn layers(&self) -> BTreeMap<String, u64> {
        let tags: Value = serde_json::from_str(&self.registry.get("/v2/app/tags/list")).unwrap();
        let manifests = tags["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| self.registry.manifest("app", tag.as_str().unwrap()));
        let mut sizes = BTreeMap::new();
        for manifest in manifests {
            let manifest: Value = serde_json::from_str(&manifest).unwrap();
            for layer in manifest["layers"].as_array().into_iter().flatten() {
                sizes.insert(layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap());
            }
        }
        sizes
    }
}

/// Returns the number of RUN, COPY and ADD steps that are cached according to BuildKit's progress.
fn cached_steps(progress: &str) -> u64 {
    let mut names = BTreeMap::new();
    let mut cached = BTreeSet::new();
    for line in progress.lines() {
        match line.split_once(' ') {
            Some((number, "CACHED")) => {
                cached.insert(number);
            }
            Some((number, name)) if number.starts_with('#') && name.starts_with('[') => {
                names.insert(number, name);
            }
            _ => {}
        }
    }
    let is_counted = |name: &&str| ["] RUN", "] COPY", "] ADD"].iter().any(|kind| name.contains(kind));
    cached.iter().filter_map(|number| names.get(number)).filter(|name| is_counted(name)).count() as u64
}

fn figure(build: &BuildResult, tier: &str, figure: &str) -> u64 {
    let tiers = build.record["tiers"].as_array().unwrap();
    tiers.iter().find(|record| record["tier"] == tier).unwrap()[figure].as_u64().unwrap()
}

#[test]
fn the_figures_of_builds_are_those_of_independent_sources() {
    let mut series = Series::start();
    let first = series.agent.other_agent(&any_engine(), "a");

    let (cold, fetched) = series.build(&first, &[]);
    assert_eq!((cold.steps(), fetched), ([2, 0, 0], 0));
    // BuildKit does not announce steps in a fixed order.
    let mut steps = cold.record["step_list"].as_array().unwrap().iter();
    let run = steps.find(|step| step["source"].as_str().unwrap().starts_with("RUN")).unwrap();
    assert!((700..2_500).contains(&run["millis"].as_u64().unwrap()), "{run}");
    let saved = figure(&cold, "mounts", "saved_bytes");
    let cache = first.path("cache");
    let files = walkdir::WalkDir::new(&cache)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    let on_disk: u64 = files.map(|entry| entry.metadata().unwrap().len()).sum();
    assert!((SIZE..=on_disk).contains(&saved) && on_disk < saved + 200_000, "{saved}, {on_disk}");
    let stats = first.context.larder(&["stats", "--format", "json", "--cache-dir", &cache]).success().stdout;
    let stats: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["cache"]["bytes_stored"], on_disk);

    let (kept, fetched) = series.build(&first, &[]);
    assert_eq!((kept.steps(), fetched), ([2, 1, 0], 0));

    // Both engines have the same version and image store.
    if let Some(engine) = special("guarded") {
        let fresh = series.agent.other_agent(&engine, "b");
        let (imported, fetched) = series.build(&fresh, &["--tiers", "engine,registry,layers"]);
        assert_eq!(imported.steps(), [2, 1, 1], "{}", imported.run.stderr);
        assert!(fetched >= SIZE, "{fetched}");
        assert_eq!(figure(&imported, "layers", "bytes"), fetched, "{}", series.registry.access_log());
    }
    for engine in engines().iter().skip(1) {
        let fresh = series.agent.other_agent(engine, &engine.name);
        let (continued, fetched) = series.build(&fresh, &["--load"]);
        assert_eq!(continued.steps()[..2], [2, 1], "{}: {}", engine.name, continued.run.stderr);
        assert!(fetched >= SIZE, "{}: {fetched}", engine.name);
        assert_eq!(
            figure(&continued, "prefix", "bytes"),
            fetched,
            "{}: {}",
            engine.name,
            series.registry.access_log()
        );
    }
}
