//! Compares changes of the image key with the behaviour of the engine, for random edits of a project.
//!
//! After every edit, `docker build` builds the project and larder computes its key. The engine detects no change if
//! every step is cached and the image has been built before. (An edit of CMD runs no step, but changes the image.) The
//! key must be one that was seen before if and only if the engine detects no change.
//!
//! `docker build` gets a copy of the project in a new directory each time, as on a new agent. In the same directory it
//! compares modification times with the previous build, and does not detect some edits (`pipeline/unnoticed.rs`).
//!
//! A sequence of edits is determined by its seed. The message of a failure contains the seed and all edits.

mod edits;
mod projects;

use std::collections::HashMap;
use std::process::Command;

use serde_json::Value;

use crate::engines::{Engine, builders};
use crate::support::{TestContext, is_full};
use edits::Edit;
use projects::{Flags, Project};

/// A random number generator (splitmix64). A sequence of edits can be repeated with the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a small number");
        usize::try_from(self.next() % bound).expect("below the bound")
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

fn key(context: &TestContext, flags: &Flags) -> String {
    let arguments =
        [["key", ".", "--format", "json"].map(str::to_owned).to_vec(), flags.arguments()].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let run = context.larder(&arguments).success();
    let output: Value = serde_json::from_str(&run.stdout).expect("JSON");
    output["image_key"].as_str().expect("a key").to_owned()
}

/// Builds the project with docker. Returns the id of the image, and `true` if every step was cached.
fn docker_build(context: &TestContext, flags: &Flags, number: usize) -> (String, bool) {
    let iid = context.path("iid");
    let checkout =
        context.path(&format!("checkout-{}-{number}", context.tag("walk").replace(['/', ':'], "-")));
    let copied = Command::new("cp").arg("-a").arg(context.project()).arg(&checkout).status();
    assert!(copied.expect("cp runs").success());
    let mut docker = context.engine.docker();
    docker.args(["build", "--progress=plain", "--iidfile"]).arg(&iid);
    let output = docker.args(flags.arguments()).arg(&checkout).output().expect("docker runs");
    std::fs::remove_dir_all(&checkout).expect("a checkout");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker build: {log}");
    (std::fs::read_to_string(&iid).expect("an image id"), is_fully_cached(&log))
}

/// Returns `true` if every step of a log in plain format (`#5 [2/7] COPY a b`) is cached (`#5 CACHED`).
fn is_fully_cached(log: &str) -> bool {
    let numbered = |wanted: fn(&str) -> bool| -> Vec<&str> {
        let lines = log.lines().filter_map(|line| line.strip_prefix('#')?.split_once(' '));
        lines.filter(|(_, rest)| wanted(rest)).map(|(number, _)| number).collect()
    };
    let is_step = |rest: &str| {
        let instruction = rest.strip_prefix('[').and_then(|rest| rest.split_once("] "));
        instruction.is_some_and(|(_, text)| {
            ["RUN", "COPY", "ADD", "WORKDIR"].iter().any(|keyword| text.to_uppercase().starts_with(keyword))
        })
    };
    let cached = numbered(|rest| rest == "CACHED");
    numbered(is_step).iter().all(|step| cached.contains(step))
}

fn walk(engine: &Engine, project: &Project, seed: u64, length: usize) {
    let context = TestContext::new(engine);
    let mut random = Random(seed);
    let mut flags = project.write(&context);
    let mut history: Vec<Edit> = Vec::new();
    let mut image_of: HashMap<String, String> = HashMap::new();
    let (mut unchanged, mut changed) = (0, 0);
    for number in 0..=length {
        let (key, (image, cached)) = (key(&context, &flags), docker_build(&context, &flags, number));
        let is_known_image = image_of.values().any(|known| *known == image);
        let fault = match image_of.insert(key.clone(), image.clone()) {
            Some(before) if before == image && cached => {
                unchanged += 1;
                None
            }
            Some(before) => Some(format!("wrong hit: the image of this key was {before}, cached: {cached}")),
            None if cached && is_known_image => Some("unnecessary miss: every step was cached".to_owned()),
            None => {
                changed += 1;
                None
            }
        };
        let (name, engine) = (project.name, &engine.name);
        assert!(
            fault.is_none(),
            "{name} on {engine}, seed {seed}, after {history:#?}\n{fault:?}, the image is {image}"
        );
        history.push(edits::random(&mut random, &context, project, &mut flags));
    }
    assert!(
        unchanged > length / 8 && changed > length / 8,
        "{}: {unchanged} unchanged, {changed} changed",
        project.name
    );
}

/// Tests a sequence of edits with each version of the engine.
fn walks(project: &Project, seed: u64) {
    for engine in &builders() {
        let length = if is_full() { 50 } else { 14 };
        walk(engine, project, seed ^ u64::from(engine.major()), length);
    }
}

#[test]
fn the_key_of_a_project_with_selective_copies_changes_only_if_the_engine_detects_a_change() {
    walks(&projects::SELECTIVE, 0x5eed);
}

#[test]
fn the_key_of_a_project_that_copies_everything_changes_only_if_the_engine_detects_a_change() {
    walks(&projects::EVERYTHING, 0xf00d);
}
