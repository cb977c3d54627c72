//! A grafted image is the one that `docker build` makes.
//!
//! A first build pushes the image of a prefix, which publishes it. Each tail is then grafted on it by larder and built by
//! the engine's own client; the grafted image is pulled, and both are compared: files with owners, modes, links,
//! attributes and times, the config, and the history. Times of parents, here-documents and WORKDIRs differ, as they do
//! between two builds.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::{prefix, write_context};
use crate::engines::Engine;
use crate::image::Entry;
use crate::registries::Registry;
use crate::support::{Run, TestContext, finish, json};

/// The number of tails that are built on one engine at a time.
const AT_ONCE: usize = 3;
/// Engines before this one describe some instructions in other words.
const NEWEST_HISTORY: u32 = 28;
/// Times after this one are those of the builds; the context is older.
const BUILT_AFTER: u64 = 1_600_000_000;

/// Instructions after the prefix.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    pub(super) name: String,
    pub(super) text: String,
    /// Further flags of both builds.
    pub(super) flags: Vec<String>,
    /// The instructions of a first build, if the tail has a prefix of its own.
    pub(super) seed: Option<String>,
    /// The reason for which the image is built and not grafted.
    pub(super) refused: Option<String>,
    /// `true` if the image may be built for any reason.
    pub(super) may_be_refused: bool,
    /// `true` if Docker 20.10 does not know the syntax.
    pub(super) is_newer: bool,
    /// What differs on Docker 20.10, which then is not compared.
    pub(super) not_before: Option<String>,
}

/// What became of a tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Grafted,
    Built,
    Failed,
}

/// An engine with the prefix in a registry.
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

    /// Writes the Dockerfile of a tail; returns its path.
    fn dockerfile(&self, tag: &str, tail: &str) -> String {
        let path = self.context.path(&format!("Dockerfile.{tag}"));
        std::fs::write(&path, format!("{}{tail}", self.prefix)).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn larder(&self, tag: &str, tail: &str, flags: &[&str]) -> Run {
        let path = |name: &str| self.context.path(&format!("{tag}-{name}")).to_string_lossy().into_owned();
        let (cache, metadata, file) = (path("cache"), path("metadata.json"), self.dockerfile(tag, tail));
        let name = self.name(tag);
        let own = ["build", "--push", "-t", &name, "-f", &file, "--cache-dir", &cache, "--metadata-file"];
        self.context.larder(&[&own[..], &[&metadata], flags, &["."]].concat())
    }

    fn docker(&self, tag: &str, tail: &str, flags: &[&str]) -> Run {
        let mut docker = self.engine.docker();
        let (file, name) = (self.dockerfile(tag, tail), self.context.tag(&format!("theirs-{tag}")));
        docker.arg("build").args(["-f", &file, "-t", &name]).args(flags).arg(self.context.project());
        finish(docker.current_dir(self.context.project()), None)
    }

    /// Builds a tail in both ways, and compares.
    pub(super) fn compare(&self, tail: &Tail) -> Ended {
        let tag = format!("t{}", self.number.fetch_add(1, Ordering::Relaxed));
        let label = format!("{} on {}:\n{}", tail.name, self.engine.name, tail.text);
        let flags: Vec<&str> = tail.flags.iter().map(String::as_str).collect();
        if let Some(seed) = &tail.seed {
            self.larder(&format!("{tag}-seed"), seed, &flags).success();
        }
        let ours = self.larder(&tag, &tail.text, &flags);
        let theirs = self.docker(&tag, &tail.text, &flags);
        assert_eq!(ours.code == 0, theirs.code == 0, "{label}\n{}\n{}", ours.stderr, theirs.stderr);
        if ours.code != 0 {
            return Ended::Failed;
        }
        let record = json(&self.context.path(&format!("{tag}-metadata.json")));
        let (outcome, reason) = graft_of(&record);
        if let Some(expected) = &tail.refused {
            assert!(
                outcome == "skipped" && reason.contains(expected.as_str()),
                "{label}: {outcome}, {reason}"
            );
        }
        if outcome != "hit" {
            assert!(tail.refused.is_some() || tail.may_be_refused, "{label}: {reason}\n{}", ours.stderr);
            return Ended::Built;
        }
        let pulled = self.engine.docker().args(["pull", "--quiet", &self.name(&tag)]).output().unwrap();
        assert!(pulled.status.success(), "{label}: {}", String::from_utf8_lossy(&pulled.stderr));
        self.assert_same(&self.name(&tag), &self.context.tag(&format!("theirs-{tag}")), &label);
        Ended::Grafted
    }

    fn assert_same(&self, ours: &str, theirs: &str, label: &str) {
        for field in ["Architecture", "Author", "Config", "Os", "Variant"] {
            let (own, peer) = (self.engine.inspect(ours), self.engine.inspect(theirs));
            assert_eq!(own[field], peer[field], "{label}\n{field}");
        }
        let layers = |image: &str| self.engine.inspect(image)["RootFS"]["Layers"].as_array().map(Vec::len);
        assert_eq!(layers(ours), layers(theirs), "{label}\nlayers");
        let (own, peer) = (self.history(ours), self.history(theirs));
        if self.engine.major() >= NEWEST_HISTORY {
            assert_eq!(own, peer, "{label}\nhistory");
        } else {
            assert_eq!(own.len(), peer.len(), "{label}\nhistory");
        }
        let (own, peer) = (self.files(ours), self.files(theirs));
        let paths: BTreeSet<_> = own.keys().chain(peer.keys()).collect();
        for path in paths {
            match (own.get(path), peer.get(path)) {
                (Some(own), Some(peer)) => {
                    assert_eq!(own.rest, peer.rest, "{label}");
                    assert!(own.content == peer.content, "{label}\n{path}: other content");
                    // What has no time of its own has that of the build.
                    if peer.time < BUILT_AFTER {
                        assert_eq!(own.time, peer.time, "{label}\n{path}: other time");
                    }
                }
                (own, peer) => panic!("{label}\n{path}: we have {own:?}, they have {peer:?}"),
            }
        }
    }

    fn history(&self, image: &str) -> Vec<String> {
        let format = "{{.CreatedBy}} | {{.Comment}}";
        let mut docker = self.engine.docker();
        let docker = docker.args(["history", "--no-trunc", "--format", format, image]);
        finish(docker, None).success().stdout.lines().map(str::to_owned).collect()
    }

    fn files(&self, image: &str) -> BTreeMap<String, Entry> {
        let entries = self.engine.entries(image, "/").into_iter();
        entries.map(|entry| (entry.rest.split(' ').next().unwrap_or_default().to_owned(), entry)).collect()
    }

    /// Compares all of these tails, and fails after the last of them if any differs. Returns how many were grafted, built,
    /// and failed.
    pub(super) fn compare_all(&self, tails: &[Tail]) -> [usize; 3] {
        let counts = [0, 0, 0].map(AtomicUsize::new);
        let different = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for first in 0..AT_ONCE {
                let (counts, different) = (&counts, &different);
                scope.spawn(move || {
                    for tail in tails.iter().skip(first).step_by(AT_ONCE) {
                        let place = match catch_unwind(AssertUnwindSafe(|| self.compare(tail))) {
                            Ok(Ended::Grafted) => 0,
                            Ok(Ended::Built) => 1,
                            Ok(Ended::Failed) => 2,
                            Err(_) => {
                                different.lock().unwrap().push(tail.name.clone());
                                continue;
                            }
                        };
                        counts[place].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let different = different.into_inner().unwrap();
        assert!(different.is_empty(), "{}: these differ, see above: {different:#?}", self.engine.name);
        counts.map(AtomicUsize::into_inner)
    }
}

/// Returns the outcome of the graft and its reason.
pub(super) fn graft_of(record: &Value) -> (String, String) {
    let tiers = record["tiers"].as_array().unwrap();
    let tier = tiers.iter().find(|tier| tier["tier"] == "graft").unwrap_or(&Value::Null);
    let text = |field: &str| tier[field].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("reason"))
}
