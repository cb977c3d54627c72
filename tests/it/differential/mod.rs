//! The image key against the engine's own judgement, over random edits of a project.
//!
//! After every edit the peer builds the project and larder keys it. The engine
//! says whether anything changed: it did not if every step is cached and the
//! image is one that was answered before (an edit of CMD alone runs no step and
//! makes another image all the same). So over a whole walk of edits, a state
//! must have a key seen before exactly if the engine finds nothing changed.
//!
//! The peer builds a copy of the project in a new place each time, as on a fresh
//! agent: in the same place it compares times with what it was sent before, and
//! takes some edits for none (`pipeline/unnoticed.rs`).
//!
//! A walk is determined by its seed, which a failure names with all its edits.

mod edits;
mod projects;

use std::collections::HashMap;
use std::process::Command;

use serde_json::Value;

use crate::engines::{Engine, builders};
use crate::support::{TestContext, is_full};
use edits::Edit;
use projects::{Flags, Project};

/// A small generator (splitmix64), so that a walk can be taken again from its seed.
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

/// The peer's build: the image's id, and whether every step was cached.
fn judge(context: &TestContext, flags: &Flags, number: usize) -> (String, bool) {
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

/// Whether every step of a plain progress (`#5 [2/7] COPY a b`) is `#5 CACHED`.
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
    let (mut kept, mut changed) = (0, 0);
    for number in 0..=length {
        let (key, (image, cached)) = (key(&context, &flags), judge(&context, &flags, number));
        let is_known_image = image_of.values().any(|known| *known == image);
        let fault = match image_of.insert(key.clone(), image.clone()) {
            Some(before) if before == image && cached => {
                kept += 1;
                None
            }
            Some(before) => Some(format!("A WRONG HIT: the image of the key was {before}, cached: {cached}")),
            None if cached && is_known_image => Some("a needless miss: every step was cached".to_owned()),
            None => {
                changed += 1;
                None
            }
        };
        let (name, engine) = (project.name, &engine.name);
        assert!(
            fault.is_none(),
            "{name} on {engine}, seed {seed}, after {history:#?}\n{fault:?}, is {image}"
        );
        history.push(edits::random(&mut random, &context, project, &mut flags));
    }
    assert!(kept > length / 8 && changed > length / 8, "{}: {kept} kept, {changed} changed", project.name);
}

/// A walk with each builder. There are two projects.
fn walks(project: &Project, seed: u64) {
    for engine in &builders() {
        let length = if is_full() { 50 } else { 14 };
        walk(engine, project, seed ^ u64::from(engine.major()), length);
    }
}

#[test]
fn the_key_of_a_project_with_selective_copies_changes_exactly_when_the_engine_builds() {
    walks(&projects::SELECTIVE, 0x5eed);
}

#[test]
fn the_key_of_a_project_that_copies_everything_changes_exactly_when_the_engine_builds() {
    walks(&projects::EVERYTHING, 0xf00d);
}
