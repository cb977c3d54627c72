//! `larder stats --html`: the report in a browser, under the policy with which Jenkins shows published pages.

mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Run, run_to_end};
use browser::inspect;

const LONG: &str =
    "RUN --mount=type=cache,target=/root/.cache/pip pip install --requirement requirements/<production>.txt";
const HOSTILE: &str = "</title><script>alert(1)</script><img src=x onerror=alert(2)> \"&' 漢字 Щука 😀";

/// A cache directory with a ledger, for which no engine is needed.
struct Agent {
    directory: TempDir,
}

impl Agent {
    fn new(builds: &[Value]) -> Self {
        let agent = Self { directory: TempDir::with_prefix("larder-it-").unwrap() };
        let ledger = agent.directory.path().join("cache/v1/ledger.jsonl");
        fs::create_dir_all(ledger.parent().unwrap()).unwrap();
        let lines: Vec<String> = builds.iter().map(|build| format!("{build}\n")).collect();
        fs::write(ledger, lines.concat()).unwrap();
        agent
    }

    fn report(&self) -> PathBuf {
        self.directory.path().join("report")
    }

    fn stats(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(["--cache-dir", "cache", "stats"])
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path());
        run_to_end(&mut command, None)
    }
}

/// Returns a build of each kind, with many steps, overlapping phases, and names that are long or look like markup.
fn builds() -> Vec<Value> {
    let outcomes = ["built", "image-hit", "failed", "interrupted", "built", "image-hit", "built", "built"];
    let step = |at: u64| {
        let source = if at.is_multiple_of(2) { LONG } else { HOSTILE };
        match at % 3 {
            0 => {
                json!({ "digest": "", "name": source, "cached": true, "millis": 0, "spared_millis": 900 * at })
            }
            _ => {
                json!({ "digest": "", "name": source, "cached": false, "start_millis": 700 * at, "millis": 900 })
            }
        }
    };
    let build = |(at, outcome): (u64, &str)| {
        json!({
            "schema": "larder.build.v1",
            "started": format!("2026-11-0{}T08:30:00Z", at + 1),
            "outcome": outcome,
            "hit_tier": (outcome == "image-hit").then_some("registry"),
            "names": [format!("registry.example/team/{}shop:{at}", "very-long-".repeat(8))],
            "repositories": ["registry.example/team/shop"],
            "job": { "system": "jenkins", "number": format!("{}", 800 + at), "branch": HOSTILE,
                     "url": format!("https://ci.example/job/shop/{at}/?a=\"&b") },
            "changes": [format!("{HOSTILE}: pandas 2.1.4 → 2.2.0"), "src/app.py changed"],
            "steps": { "total": 50, "cached": 17 },
            "step_list": (0..50).map(step).collect::<Vec<_>>(),
            "solve": { "millis": 36_000, "steps_millis": 35_000, "base_millis": 2_000, "import_millis": 0,
                       "export_millis": 800, "other_millis": 1_200 },
            "phases": [
                { "phase": "keys", "start_millis": 0, "millis": 150 },
                { "phase": "lookup", "start_millis": 150, "millis": 300 },
                { "phase": "restore", "start_millis": 450, "millis": 2_000 },
                { "phase": "solve", "start_millis": 600, "millis": 36_000 },
                { "phase": "save", "start_millis": 36_600, "millis": 3_000 },
                { "phase": "push", "start_millis": 36_700, "millis": 6_500 },
            ],
            "tiers": [
                { "tier": "registry", "outcome": "miss", "reason": HOSTILE, "failed": true, "bytes": 0, "millis": 300 },
                { "tier": "mounts", "outcome": "hit", "reason": "1 of 1 restored", "bytes": 181_000_000,
                  "millis": 2_000, "saving_millis": 3_000, "spared_millis": 21_000 },
                { "tier": "layers", "outcome": "hit", "reason": "imported", "bytes": 0, "millis": 900 },
            ],
            "mounts": [],
            "stored_bytes": 400_000_000 + 30_000_000 * at,
            "millis": if outcome == "image-hit" { 450 } else { 43_200 + 5_000 * at },
            "without_millis": (outcome == "built").then_some(61_000),
            "error": (outcome == "failed").then_some(HOSTILE),
        })
    };
    (0..).zip(outcomes).map(build).collect()
}

#[track_caller]
fn assert_is_fine(directory: &Path, documents: usize) {
    let seen = inspect(directory);
    assert!(seen.findings.is_empty() && seen.violations.is_empty(), "{seen:#?}");
    assert_eq!(seen.checked, 2 * documents, "{seen:#?}");
}

#[test]
fn a_browser_shows_the_report_as_jenkins_publishes_it() {
    let agent = Agent::new(&builds());
    let run = agent.stats(&["--html", "report", "--min-hit-rate", "10", "--min-saved-seconds", "9999"]);
    let run = run.failure(4, "the time saved is");
    assert!(run.stdout.contains("Image hit rate: "), "{}", run.stdout);
    assert!(run.stderr.contains("the report is in report/index.html"), "{}", run.stderr);
    assert_is_fine(&agent.report(), 1 + 2 * 5);
}

#[test]
fn a_browser_shows_the_report_of_an_empty_ledger() {
    let agent = Agent::new(&[]);
    let run = agent.stats(&["--html", "report", "--format", "json"]).success();
    let stats: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(stats["schema"], "larder.stats.v1");
    assert_is_fine(&agent.report(), 1);
}

/// Without this test, the others would also succeed with a browser that reports nothing.
#[test]
fn the_browser_reports_what_is_wrong_with_a_page() {
    let directory = TempDir::with_prefix("larder-it-").unwrap();
    let write = |name: &str, content: &str| fs::write(directory.path().join(name), content).unwrap();
    let text = |x: u16, text: &str| format!("<text x=\"{x}\" y=\"20\">{text}</text>");
    write(
        "chart-wide.svg",
        &format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 200 40\">{}{}{}</svg>",
            text(10, "first"),
            text(20, "second"),
            text(190, "outside")
        ),
    );
    write(
        "index.html",
        "<title>x</title><p style=\"color: red\">short</p><table width=\"2000\"><td>x</table>\
         <img src=\"chart-wide.svg\"><img src=\"missing-wide.svg\">",
    );
    let seen = inspect(directory.path());
    for expected in [
        "\"second\" overlaps \"first\"",
        "\"outside\" is outside of the chart",
        "the page is empty",
        "the style sheet is not applied",
        "missing-wide.svg has not loaded",
        "chart-wide.svg is shown at 360",
        "at 1280: the page is 20",
    ] {
        assert!(seen.findings.iter().any(|finding| finding.contains(expected)), "{expected}: {seen:#?}");
    }
    assert!(!seen.violations.is_empty(), "an inline style is blocked: {seen:#?}");
}

#[test]
fn a_directory_that_cannot_be_created_is_a_mistake_of_the_command_line() {
    let agent = Agent::new(&builds());
    fs::write(agent.report(), "a file").unwrap();
    agent
        .stats(&["--html", "report/below"])
        .failure(2, "cannot write the report to report/below: ")
        .hint("--html takes a directory");
    agent.stats(&["--html", "other", "--compare", "800", "last"]).failure(2, "--compare");
}

#[test]
fn a_cache_that_cannot_be_listed_is_part_of_the_report() {
    let agent = Agent::new(&builds());
    let entries = agent.directory.path().join("cache/v1/chunks");
    fs::write(entries, "a file").unwrap();
    agent.stats(&["--html", "report"]).success();
    let page = fs::read_to_string(agent.report().join("index.html")).unwrap();
    assert!(page.contains("The contents of the cache are unknown: "), "{page}");
}
