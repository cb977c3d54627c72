//! Edits near what a step takes: the engine says by its cache whether an edit counts, the key must say the same.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cases::{CASES, Case, OTHERWISE, WHOLE};
use super::edit::plant;
use crate::engines::{Engine, builders};
use crate::support::{BUSYBOX, TestContext, finish};

/// Cases in one build. Each makes a layer of the last stage, and an image has 127 at most.
const TOGETHER: usize = 60;

/// The steps of the cases: stages `c0`, `c1`, …, and the last takes something of each.
fn dockerfile(cases: &[&Case], place: &str, unique: &str) -> String {
    let mut text = String::new();
    let mut last = String::from("FROM scratch\n");
    for (number, (_, _, step, ..)) in cases.iter().enumerate() {
        let directory = directory(place, number);
        // Steps that differ in their sources' directories alone would find each other in the cache.
        let step = step.replace('@', &directory).replace('%', &format!("{unique}-{number}"));
        let base = if step.starts_with("RUN") { BUSYBOX } else { "scratch" };
        let taken = if step.starts_with("RUN") { "/bin/true" } else { "/" };
        writeln!(text, "FROM {base} AS c{number}\n{step}").unwrap();
        writeln!(last, "COPY --from=c{number} {taken} /c{number}/").unwrap();
    }
    text + &last
}

fn directory(place: &str, number: usize) -> String {
    if place.is_empty() { ".".to_owned() } else { format!("{place}{number}") }
}

/// Builds, and says which of the stages `c0`, `c1`, … ran no step.
pub(super) fn cached(
    engine: &Engine,
    context: &TestContext,
    project: &Path,
    arguments: &[&str],
) -> BTreeSet<usize> {
    let output = format!("type=tar,dest={}", context.path("image.tar").display());
    let mut build = engine.docker();
    let build =
        build.args(["build", "--progress", "plain", "--output", &output]).args(arguments).arg(project);
    let run = finish(build, None);
    assert_eq!(run.code, 0, "{}: {}", engine.name, run.stderr);
    let said: Vec<(&str, &str)> = run.stderr.lines().filter_map(|line| line.split_once(' ')).collect();
    let is_cached = |number: &str| said.iter().any(|(other, what)| *other == number && *what == "CACHED");
    let steps = said.iter().filter_map(|(number, what)| {
        let (stage, step) = what.strip_prefix("[c")?.split_once(']')?;
        let stage = stage.split_whitespace().next()?.parse::<usize>().ok()?;
        (!step.trim_start().starts_with("FROM") && is_cached(number)).then_some(stage)
    });
    steps.collect()
}

fn keys(context: &TestContext, count: usize) -> Vec<String> {
    let key = |number| {
        let target = format!("c{number}");
        let key = context.larder(&["key", "--format", "json", "--target", &target, "."]).success().stdout;
        let key: Value = serde_json::from_str(&key).unwrap();
        key["image_key"].as_str().unwrap().to_owned()
    };
    (0..count).map(key).collect()
}

/// Builds the cases in one context, edits, and builds again; adds to `wrong` what did not come as it should.
fn judge(engine: &Engine, cases: &[&Case], place: &str, wrong: &mut Vec<String>) {
    let context = TestContext::new(engine);
    let project = context.project();
    for (number, (_, _, _, tree, ..)) in cases.iter().enumerate() {
        let directory = directory(place, number);
        plant(&project.join(&directory), &tree.replace('@', &directory));
    }
    let unique = context.tag("x").replace(['/', ':'], "-");
    context.write("Dockerfile", dockerfile(cases, place, &unique));
    let before = keys(&context, cases.len());
    cached(engine, &context, &project, &[]);
    for (number, (.., edit, _)) in cases.iter().enumerate() {
        edit.make(&project, &directory(place, number));
    }
    let after = keys(&context, cases.len());
    // Elsewhere: what is sent a second time from one place is sent as a difference, and BuildKit does not tell its
    // checksums of a directory whose mode alone is different.
    let elsewhere = context.path(&format!("{unique}-again"));
    fs::rename(&project, &elsewhere).unwrap();
    let cached = cached(engine, &context, &elsewhere, &[]);
    for (number, (what, _, step, _, _, counts)) in cases.iter().enumerate() {
        if (before[number] != after[number]) != *counts {
            wrong.push(format!("{}: the key is wrong about {what} ({step})", engine.name));
        }
        let (from, to) =
            OTHERWISE.iter().find(|other| other.0 == *what).map_or((1, 0), |other| (other.1, other.2));
        let otherwise = (from..=to).contains(&engine.major());
        if cached.contains(&number) != (*counts == otherwise) {
            let says = if cached.contains(&number) { "cached" } else { "not cached" };
            wrong.push(format!("{}: {what} is {says} ({step})", engine.name));
        }
    }
}

fn known<'a>(engine: &Engine, cases: &'a [Case]) -> Vec<&'a Case> {
    cases.iter().filter(|case| case.1 <= engine.major()).collect()
}

#[test]
fn what_the_engine_counts_of_a_context_is_what_the_key_counts() {
    let mut wrong = Vec::new();
    for engine in &builders() {
        for cases in known(engine, CASES).chunks(TOGETHER) {
            judge(engine, cases, "c", &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_the_engine_counts_of_a_whole_context_is_what_the_key_counts() {
    let mut wrong = Vec::new();
    for engine in &builders() {
        for case in known(engine, WHOLE) {
            judge(engine, &[case], "", &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_exception_is_of_a_case() {
    for (what, from, to, why) in OTHERWISE {
        let cases = CASES.iter().chain(WHOLE).filter(|case| case.0 == *what).count();
        assert!(cases == 1 && from <= to && !why.is_empty(), "{what}");
    }
}
