//! Checks that grafted images equal those of `docker build`.
//!
//! A first build pushes an image, which publishes its prefix. Then each tail (the instructions after the prefix) is
//! grafted on the prefix by larder and built by the engine's docker client. The grafted image is pulled, and both
//! images are compared: files with owners, modes, links, attributes and times, the config, and the history. Times of
//! parent directories, here-documents and WORKDIRs are not compared, because they differ between any two builds.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::{prefix, write_context};
use crate::engines::Engine;
use crate::image::Entry;
use crate::registries::Registry;
use crate::support::{Run, TestContext, json, run_to_end};

/// The number of tails that are built on one engine in parallel.
const PARALLEL_BUILDS: usize = 3;
/// The first engine version whose history is compared. Older ones describe some instructions differently.
const NEWEST_HISTORY: u32 = 28;
/// All files of the context are older than this time in seconds. Files that a build creates are newer.
const BUILT_AFTER: u64 = 1_600_000_000;

/// The instructions after the prefix, and the expected result.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    pub(super) name: String,
    pub(super) text: String,
    /// Additional flags of both builds.
    pub(super) flags: Vec<String>,
    /// The instructions of an additional first build, if the tail has a different prefix.
    pub(super) seed: Option<String>,
    /// The expected reason, if the image is built instead of grafted.
    pub(super) skip_reason: Option<String>,
    /// `true` if the image may be built instead of grafted for any reason.
    pub(super) can_be_skipped: bool,
    /// `true` if Docker 20.10 does not support the syntax.
    pub(super) has_newer_syntax: bool,
    /// What differs on Docker 20.10, if anything. The tail is then not built on Docker 20.10.
    pub(super) old_difference: Option<String>,
}

/// How the image of a tail was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailOutcome {
    Grafted,
    Built,
    Failed,
}

/// An engine, and a registry with the prefix.
pub(super) struct Bench<'e> {
    engine: &'e Engine,
    registry: Registry,
    context: TestContext,
    prefix: String,
    number: AtomicUsize,
}

impl<'e> Bench<'e> {
    pub(super) fn new(engine: &'e Engine) -> Self {
        let (registry, context) = (Registry::open(), TestContext::new(engine));
        write_context(&context);
        let prefix = prefix(&context.tag("mark"));
        let bench = Self { engine, registry, context, prefix, number: AtomicUsize::new(0) };
        bench.larder("seed", "LABEL seed=1\n", &[]).success();
        bench
    }

    fn name(&self, tag: &str) -> String {
        format!("{}/app:{tag}", self.registry.host)
    }

    /// Writes the Dockerfile of a tail. Returns its path.
    fn dockerfile(&self, tag: &str, tail: &str) -> String {
        let path = self.context.path(&format!("Dockerfile.{tag}"));
        std::fs::write(&path, format!("{}{tail}", self.prefix)).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn larder(&self, tag: &str, tail: &str, flags: &[&str]) -> Run {
        let path = |name: &str| self.context.path(&format!("{tag}-{name}")).to_string_lossy().into_owned();
        let (cache, metadata, file) = (path("cache"), path("metadata.json"), self.dockerfile(tag, tail));
        let name = self.name(tag);
        let base = ["build", "--push", "-t", &name, "-f", &file, "--cache-dir", &cache, "--metadata-file"];
        self.context.larder(&[&base[..], &[&metadata], flags, &["."]].concat())
    }

    fn docker(&self, tag: &str, tail: &str, flags: &[&str]) -> Run {
        let mut docker = self.engine.docker();
        let (file, name) = (self.dockerfile(tag, tail), self.context.tag(&format!("docker-{tag}")));
        docker.arg("build").args(["-f", &file, "-t", &name]).args(flags).arg(self.context.project());
        run_to_end(docker.current_dir(self.context.project()), None)
    }

    /// Builds a tail with both tools and compares the images.
    pub(super) fn compare(&self, tail: &Tail) -> TailOutcome {
        let tag = format!("t{}", self.number.fetch_add(1, Ordering::Relaxed));
        let label = format!("{} on {}:\n{}", tail.name, self.engine.name, tail.text);
        let flags: Vec<&str> = tail.flags.iter().map(String::as_str).collect();
        if let Some(seed) = &tail.seed {
            self.larder(&format!("{tag}-seed"), seed, &flags).success();
        }
        let larder_run = self.larder(&tag, &tail.text, &flags);
        let docker_run = self.docker(&tag, &tail.text, &flags);
        assert_eq!(
            larder_run.code == 0,
            docker_run.code == 0,
            "{label}\n{}\n{}",
            larder_run.stderr,
            docker_run.stderr
        );
        if larder_run.code != 0 {
            return TailOutcome::Failed;
        }
        let record = json(&self.context.path(&format!("{tag}-metadata.json")));
        let (outcome, reason) = graft_of(&record);
        if let Some(expected) = &tail.skip_reason {
            assert!(
                outcome == "skipped" && reason.contains(expected.as_str()),
                "{label}: {outcome}, {reason}"
            );
        }
        if outcome != "hit" {
            assert!(
                tail.skip_reason.is_some() || tail.can_be_skipped,
                "{label}: {reason}\n{}",
                larder_run.stderr
            );
            return TailOutcome::Built;
        }
        let pulled = self.engine.docker().args(["pull", "--quiet", &self.name(&tag)]).output().unwrap();
        assert!(pulled.status.success(), "{label}: {}", String::from_utf8_lossy(&pulled.stderr));
        self.assert_same(&self.name(&tag), &self.context.tag(&format!("docker-{tag}")), &label);
        TailOutcome::Grafted
    }

    fn assert_same(&self, name: &str, reference_name: &str, label: &str) {
        for field in ["Architecture", "Author", "Config", "Os", "Variant"] {
            let (actual, reference) = (self.engine.inspect(name), self.engine.inspect(reference_name));
            assert_eq!(actual[field], reference[field], "{label}\n{field}");
        }
        let layers = |image: &str| self.engine.inspect(image)["RootFS"]["Layers"].as_array().map(Vec::len);
        assert_eq!(layers(name), layers(reference_name), "{label}\nlayers");
        let (actual, reference) = (self.history(name), self.history(reference_name));
        if self.engine.major() >= NEWEST_HISTORY {
            assert_eq!(actual, reference, "{label}\nhistory");
        } else {
            assert_eq!(actual.len(), reference.len(), "{label}\nhistory");
        }
        let (actual, reference) = (self.files(name), self.files(reference_name));
        let paths: BTreeSet<_> = actual.keys().chain(reference.keys()).collect();
        for path in paths {
            match (actual.get(path), reference.get(path)) {
                (Some(actual), Some(reference)) => {
                    assert_eq!(actual.attributes, reference.attributes, "{label}");
                    assert!(actual.content == reference.content, "{label}\n{path}: different content");
                    // Files that a build creates have the time of the build.
                    if reference.time < BUILT_AFTER {
                        assert_eq!(actual.time, reference.time, "{label}\n{path}: different time");
                    }
                }
                (actual, reference) => {
                    panic!("{label}\n{path}: larder has {actual:?}, docker has {reference:?}")
                }
            }
        }
    }

    fn history(&self, image: &str) -> Vec<String> {
        let format = "{{.CreatedBy}} | {{.Comment}}";
        let mut docker = self.engine.docker();
        let docker = docker.args(["history", "--no-trunc", "--format", format, image]);
        run_to_end(docker, None).success().stdout.lines().map(str::to_owned).collect()
    }

    fn files(&self, image: &str) -> BTreeMap<String, Entry> {
        let entries = self.engine.entries(image, "/").into_iter();
        entries
            .map(|entry| (entry.attributes.split(' ').next().unwrap_or_default().to_owned(), entry))
            .collect()
    }

    /// Compares all tails. If any image differs, it panics after the last one. Returns the numbers of grafted, built
    /// and failed images.
    pub(super) fn compare_all(&self, tails: &[Tail]) -> [usize; 3] {
        let counts = [0, 0, 0].map(AtomicUsize::new);
        let different = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for first in 0..PARALLEL_BUILDS {
                let (counts, different) = (&counts, &different);
                scope.spawn(move || {
                    for tail in tails.iter().skip(first).step_by(PARALLEL_BUILDS) {
                        let index = match catch_unwind(AssertUnwindSafe(|| self.compare(tail))) {
                            Ok(TailOutcome::Grafted) => 0,
                            Ok(TailOutcome::Built) => 1,
                            Ok(TailOutcome::Failed) => 2,
                            Err(_) => {
                                different.lock().unwrap().push(tail.name.clone());
                                continue;
                            }
                        };
                        counts[index].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let different = different.into_inner().unwrap();
        assert!(different.is_empty(), "{}: these differ, see above: {different:#?}", self.engine.name);
        counts.map(AtomicUsize::into_inner)
    }
}

/// Returns the outcome of the `graft` tier and the reason, which are empty if the tier was not used.
pub(super) fn graft_of(record: &Value) -> (String, String) {
    let tiers = record["tiers"].as_array().unwrap();
    let tier = tiers.iter().find(|tier| tier["tier"] == "graft").unwrap_or(&Value::Null);
    let text = |field: &str| tier[field].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("reason"))
}
