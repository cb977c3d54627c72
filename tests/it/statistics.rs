//! The statistics of builds: what fresh agents know, thresholds, comparisons, and the summary of a CI job.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::engines::{any_engine, engines};
use crate::object_servers::{ObjectServer, PASSWORD, USER};
use crate::registries::Registry;
use crate::support::{BUSYBOX, Run, TestContext, run_to_end};

/// Returns a project whose RUN takes more than a second.
fn project() -> TestContext {
    let context = TestContext::new(&any_engine());
    write_project(&context);
    context
}

fn write_project(context: &TestContext) {
    let mark = context.tag("mark");
    context
        .write("app.py", "1\n")
        .write("Dockerfile", format!("FROM {BUSYBOX}\nRUN sleep 1.2; echo {mark} > /made\nCOPY app.py /\n"));
}

/// Returns a command of an agent, which has a cache directory of its own.
fn command(context: &TestContext, agent: &str, arguments: &[&str]) -> Command {
    let cache = context.path(agent).to_string_lossy().into_owned();
    context.command(&[&["--cache-dir", &cache], arguments].concat())
}

fn run(context: &TestContext, agent: &str, arguments: &[&str]) -> Run {
    run_to_end(&mut command(context, agent, arguments), None).success()
}

/// Returns `larder stats --format json` of an agent.
fn stats(context: &TestContext, agent: &str) -> Value {
    serde_json::from_str(&run(context, agent, &["stats", "--format", "json"]).stdout).unwrap()
}

fn log_in(command: &mut Command) -> &mut Command {
    command.env("AWS_ACCESS_KEY_ID", USER).env("AWS_SECRET_ACCESS_KEY", PASSWORD)
}

#[track_caller]
fn assert_knows_history(context: &TestContext, agent: &str) {
    let stats = stats(context, agent);
    let builds = stats["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 2, "{stats:#}");
    let step = builds[1]["step_list"].as_array().unwrap().iter().find(|step| step["cached"] == true).unwrap();
    assert!(step["spared_millis"].as_u64().unwrap() >= 1_200, "{step}");
}

#[test]
fn a_fresh_agent_knows_earlier_builds_from_the_registry() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        write_project(&context);
        let registry = Registry::open();
        let name = |tag: u8| format!("{}/app:{tag}", registry.host);
        run(&context, "a", &["build", "--push", "-t", &name(1), "."]);
        context.write("app.py", "2\n");
        run(&context, "b", &["build", "--push", "-t", &name(2), "."]);
        assert_knows_history(&context, "b");
    }
}

#[test]
fn a_fresh_agent_knows_earlier_builds_from_the_remote_store() {
    let (context, server) = (project(), ObjectServer::s3s_fs());
    let tag = context.tag("app");
    let remote = format!("{}&region=us-east-1", server.url());
    let build = |agent: &str| {
        let mut command = command(&context, agent, &["build", "--remote", &remote, "-t", &tag, "."]);
        run_to_end(log_in(&mut command), None).success()
    };
    build("a");
    context.write("app.py", "2\n");
    let second = build("b");
    assert!(second.stderr.contains("because app.py changed"), "{}", second.stderr);
    assert_knows_history(&context, "b");
    // A pull request reads the builds of the trunk, and the trunk does not read those of the pull request.
    context.write("app.py", "3\n");
    let mut request =
        command(&context, "c", &["build", "--remote", &remote, "-t", &tag, "--lane", "pr-7", "."]);
    run_to_end(log_in(&mut request), None).success();
    assert_eq!(stats(&context, "c")["builds"].as_array().unwrap().len(), 3);
    context.write("app.py", "4\n");
    build("d");
    let of_trunk = stats(&context, "d");
    let lanes: Vec<&Value> =
        of_trunk["builds"].as_array().unwrap().iter().map(|build| &build["lanes"]["own"]).collect();
    assert_eq!(lanes, ["main", "main", "main"]);
}

#[test]
fn a_threshold_that_is_not_met_is_exit_code_4_with_the_figure() {
    let context = project();
    let tag = context.tag("app");
    run(&context, "a", &["build", "-t", &tag, "."]);
    let check = |flags: &[&str]| run_to_end(&mut command(&context, "a", &[&["stats"], flags].concat()), None);
    check(&["--min-hit-rate", "0", "--max-cache-gb", "1", "--max-restore-seconds", "60"]).success();
    check(&["--min-hit-rate", "50"])
        .failure(4, "the step hit rate is 0 %, --min-hit-rate demands at least 50 %");
    check(&["--min-saved-seconds", "9", "--format", "junit"])
        .failure(4, "--min-saved-seconds demands at least 9 s");
    check(&["--min-hit-rate", "120"]).failure(2, "is not between 0 and 100");
    let unknown =
        run_to_end(&mut command(&context, "new", &["stats", "--min-hit-rate", "50"]), None).success();
    assert!(unknown.stderr.contains("not checked: the step hit rate is not known"), "{}", unknown.stderr);
}

#[test]
fn builds_of_a_ci_job_are_selected_compared_and_summarised() {
    let context = project();
    let tag = context.tag("app");
    let summary = context.path("summary.md");
    let job = |number: &str, arguments: &[&str]| {
        let mut command = command(&context, "a", arguments);
        command
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_REF", "refs/heads/main")
            .env("GITHUB_RUN_NUMBER", number)
            .env("GITHUB_STEP_SUMMARY", &summary);
        run_to_end(&mut command, None)
    };
    job("811", &["build", "-t", &tag, "."]).success();
    context.write("app.py", "2\n");
    job("812", &["build", "-t", &tag, "."]).success();
    let written = fs::read_to_string(&summary).unwrap();
    assert_eq!(written.matches("### larder").count(), 2, "{written}");
    assert!(written.contains("- because app.py changed"), "{written}");

    let selected = |arguments: &[&str]| {
        let stats = job("812", &[&["stats", "--format", "json"], arguments].concat()).success();
        let stats: Value = serde_json::from_str(&stats.stdout).unwrap();
        let builds = stats["builds"].as_array().unwrap().iter();
        builds.map(|build| build["job"]["number"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(selected(&[]), ["811", "812"]);
    assert_eq!(selected(&["--build", "this"]), ["812"]);
    assert_eq!(selected(&["--build", "811"]), ["811"]);
    job("812", &["stats", "--branch", "other", "--min-hit-rate", "50"])
        .failure(2, "no build matches --branch other")
        .hint("the last one, build 812, is of ");
    let compared = job("812", &["stats", "--compare", "811", "last"]).success().stdout;
    assert!(compared.contains("build 811") && compared.contains("ran: COPY app.py /"), "{compared}");
    job("812", &["stats", "--compare", "811", "5"]).failure(2, "the ledger has no build `5`");
    run_to_end(&mut command(&context, "a", &["stats", "--build", "this"]), None)
        .failure(2, "the number of this build is not known");

    let mut off = command(&context, "a", &["build", "-t", &tag, "."]);
    off.env("GITHUB_STEP_SUMMARY", &summary).env("LARDER_STEP_SUMMARY", "0");
    run_to_end(&mut off, None).success();
    assert_eq!(fs::read_to_string(&summary).unwrap(), written);
}

/// Runs a program with the arguments and `input`, which it must accept. Returns its output.
#[track_caller]
fn accepted_by(program: &str, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    let run = run_to_end(&mut command, Some(input.as_bytes()));
    assert_eq!(run.code, 0, "{program}: {}{}\n{input}", run.stdout, run.stderr);
    run.stdout
}

#[test]
fn every_format_is_accepted_by_a_program_that_reads_it() {
    let context = project();
    let tag = context.tag("app");
    run(&context, "a", &["build", "-t", &tag, "."]);
    run(&context, "a", &["build", "-t", &tag, "."]);
    let hostile = "echo '<script>&\"|`*_' \u{1b}[31m; exit 3";
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN {hostile}\n"));
    run_to_end(&mut command(&context, "a", &["build", "-t", &tag, "."]), None).failure(1, "exit code: 3");
    let thresholds = ["--min-hit-rate", "1", "--max-restore-seconds", "60", "--min-saved-seconds=-60"];
    let stats = |format: &str| {
        let flags = [&["stats", "--format", format], &thresholds[..]].concat();
        run(&context, "a", &flags).stdout
    };
    let file = |name: &str| format!("{}/{name}", env!("CARGO_MANIFEST_DIR"));

    accepted_by("promtool", &["check", "metrics"], &stats("openmetrics"));
    let junit = stats("junit");
    accepted_by("xmllint", &["--noout", "--schema", &file("tests/it/junit.xsd"), "-"], &junit);
    assert!(junit.contains("failures=\"1\"") && junit.contains("tests=\"6\""), "{junit}");
    let json = context.path("stats.json");
    fs::write(&json, stats("json")).unwrap();
    accepted_by("jsonschema", &["-i", json.to_str().unwrap(), &file("larder-stats.schema.json")], "");
    // With raw HTML let through, what was not escaped would become an element.
    let html = accepted_by("cmark-gfm", &["--unsafe", "--extension", "table"], &stats("markdown"));
    assert_eq!(html.matches("<table>").count(), 2, "{html}");
    assert_eq!(html.matches("<tr>").count(), 11 + 4, "{html}");
    assert!(!html.contains("<script"), "{html}");
}

/// Adds builds to the ledger of an agent like its last one, in which each tier has cost a minute in vain.
fn add_losing_builds(context: &TestContext, agent: &str) {
    let ledger = walkdir::WalkDir::new(context.path(agent)).into_iter().filter_map(Result::ok);
    let ledger =
        ledger.map(walkdir::DirEntry::into_path).find(|path| path.ends_with("ledger.jsonl")).unwrap();
    let mut text = fs::read_to_string(&ledger).unwrap();
    let mut build: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    for tier in build["tiers"].as_array_mut().unwrap() {
        (tier["outcome"], tier["saving_millis"]) = ("miss".into(), 60_000.into());
    }
    for day in 1..=3 {
        build["started"] = format!("2026-01-0{day}T00:00:00Z").into();
        text += &build.to_string();
        text.push('\n');
    }
    fs::write(ledger, text).unwrap();
}

/// Returns the tiers that a build did not use because they lose time.
fn losing(record: &Value) -> Vec<&str> {
    let tiers = record["tiers"].as_array().unwrap().iter();
    tiers.filter(|tier| tier["loses_time"] == true).map(|tier| tier["tier"].as_str().unwrap()).collect()
}

#[test]
fn a_tier_that_loses_time_is_not_used_unless_others_use_it_or_the_settings_name_it() {
    let (context, registry) = (project(), Registry::open());
    let mark = context.tag("mark");
    let mount = "--mount=type=cache,target=/c";
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN {mount} echo {mark} > /c/f\nCOPY app.py /\n"));
    context.write("larder.yaml", "enabled: true\n");
    let (in_engine, pushed) = (context.tag("app"), format!("{}/app:1", registry.host));
    let pull_request = format!("{}/pull-request:1", registry.host);
    let record = context.path("build.json");
    for (agent, name, flags, expected) in [
        ("a", in_engine.as_str(), &[][..], &["archive", "mounts"][..]),
        // All lanes read what the trunk saves in the registry.
        ("b", &pushed, &["--push"], &["archive", "mounts"]),
        ("c", &pull_request, &["--push", "--lane", "pr-7"], &["archive", "prefix", "mounts", "layers"]),
    ] {
        let build = |app: u8, more: &[&str]| -> (Run, Value) {
            context.write("app.py", format!("{agent}{app}\n"));
            let flags =
                [&["build", "-t", name, "--metadata-file", record.to_str().unwrap()], flags, more, &["."]];
            let run = run(&context, agent, &flags.concat());
            (run, serde_json::from_slice(&fs::read(&record).unwrap()).unwrap())
        };
        build(1, &[]);
        add_losing_builds(&context, agent);
        let (run, record) = build(2, &[]);
        assert_eq!(losing(&record), expected, "{agent}: {record:#}");
        for tier in expected {
            let is_line =
                |line: &&str| line.trim_start().starts_with(tier) && line.contains("not used: it cost");
            assert!(run.stderr.lines().any(|line| is_line(&line)), "{agent}, {tier}: {}", run.stderr);
        }
        assert_eq!(record["mounts"], Value::Array(vec![]), "{agent}");
        let named = ["--tiers", "engine,registry,prefix,archive,layers,mounts"];
        for other_reason in [&named[..], &["--no-cache"]] {
            let (_, record) = build(3, other_reason);
            assert!(losing(&record).is_empty(), "{agent}: {other_reason:?}: {record:#}");
        }
    }
}

#[test]
fn builds_that_end_at_the_same_time_are_all_recorded() {
    let context = project();
    let builds: Vec<_> = (0..8)
        .map(|number| {
            let tag = context.tag(&format!("app-{number}"));
            let extra = format!("job={number}");
            command(&context, "a", &["build", "--key-extra", &extra, "-t", &tag, "."])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut build in builds {
        assert!(build.wait().unwrap().success());
    }
    let stats = stats(&context, "a");
    assert_eq!(stats["sums"]["builds"], 8, "{stats:#}");
}
