//! Edits near the sources of a step: an edit must change the key if and only if the engine's cache counts it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cases::{CASES, Case, ENGINE_DIFFERENCES, WHOLE_CONTEXT};
use super::edit::create_entries;
use crate::engines::{Engine, builders};
use crate::support::{BUSYBOX, TestContext, run_to_end};

/// The number of cases in one build. Each makes a layer of the last stage, and an image has at most 127 layers.
const CASES_PER_BUILD: usize = 60;

/// Returns a Dockerfile with a stage for each case (`c0`, `c1`, …), and a last stage that copies from each.
fn dockerfile(cases: &[&Case], place: &str, unique: &str) -> String {
    let mut text = String::new();
    let mut last = String::from("FROM scratch\n");
    for (number, (_, _, step, ..)) in cases.iter().enumerate() {
        let directory = directory(place, number);
        // Without a unique word, steps that differ only in the directories of their sources would share cache entries.
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

/// Builds, and returns the numbers of the stages `c0`, `c1`, … whose step was cached.
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
    let run = run_to_end(build, None);
    assert_eq!(run.code, 0, "{}: {}", engine.name, run.stderr);
    let output_lines: Vec<(&str, &str)> =
        run.stderr.lines().filter_map(|line| line.split_once(' ')).collect();
    let is_cached =
        |number: &str| output_lines.iter().any(|(other, what)| *other == number && *what == "CACHED");
    let steps = output_lines.iter().filter_map(|(number, what)| {
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

/// Builds the cases in one context, edits, and builds again. Adds a message to `wrong` for each unexpected result.
fn check_cases(engine: &Engine, cases: &[&Case], place: &str, wrong: &mut Vec<String>) {
    let context = TestContext::new(engine);
    let project = context.project();
    for (number, (_, _, _, tree, ..)) in cases.iter().enumerate() {
        let directory = directory(place, number);
        create_entries(&project.join(&directory), &tree.replace('@', &directory));
    }
    let unique = context.tag("x").replace(['/', ':'], "-");
    context.write("Dockerfile", dockerfile(cases, place, &unique));
    let before = keys(&context, cases.len());
    cached(engine, &context, &project, &[]);
    for (number, (.., edit, _)) in cases.iter().enumerate() {
        edit.apply(&project, &directory(place, number));
    }
    let after = keys(&context, cases.len());
    // The second build uses a renamed directory. Of a directory that BuildKit knows, it receives only the differences,
    // and it does not update its checksums if only the mode of a directory changed.
    let elsewhere = context.path(&format!("{unique}-again"));
    fs::rename(&project, &elsewhere).unwrap();
    let cached = cached(engine, &context, &elsewhere, &[]);
    for (number, (what, _, step, _, _, counts)) in cases.iter().enumerate() {
        if (before[number] != after[number]) != *counts {
            wrong.push(format!("{}: the key is wrong about {what} ({step})", engine.name));
        }
        let (from, to) = ENGINE_DIFFERENCES
            .iter()
            .find(|other| other.0 == *what)
            .map_or((1, 0), |other| (other.1, other.2));
        let otherwise = (from..=to).contains(&engine.major());
        if cached.contains(&number) != (*counts == otherwise) {
            let state = if cached.contains(&number) { "cached" } else { "not cached" };
            wrong.push(format!("{}: {what} is {state} ({step})", engine.name));
        }
    }
}

fn supported<'a>(engine: &Engine, cases: &'a [Case]) -> Vec<&'a Case> {
    cases.iter().filter(|case| case.1 <= engine.major()).collect()
}

#[test]
fn the_key_counts_the_same_edits_of_a_context_as_the_engine() {
    let mut wrong = Vec::new();
    for engine in &builders() {
        for cases in supported(engine, CASES).chunks(CASES_PER_BUILD) {
            check_cases(engine, cases, "c", &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_key_counts_the_same_edits_of_a_whole_context_as_the_engine() {
    let mut wrong = Vec::new();
    for engine in &builders() {
        for case in supported(engine, WHOLE_CONTEXT) {
            check_cases(engine, &[case], "", &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_engine_difference_belongs_to_one_case() {
    for (what, from, to, why) in ENGINE_DIFFERENCES {
        let cases = CASES.iter().chain(WHOLE_CONTEXT).filter(|case| case.0 == *what).count();
        assert!(cases == 1 && from <= to && !why.is_empty(), "{what}");
    }
}
