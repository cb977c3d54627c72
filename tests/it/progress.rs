//! The progress modes (plain, JSON, quiet, terminal) with builds of a real engine.

use std::process::Command;

use serde_json::Value;

use crate::engines::{any_engine, engines};
use crate::support::{BUSYBOX, TestContext, json, run_to_end};

fn project(context: &TestContext) {
    context
        .write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY file /\nRUN echo to stdout; echo to stderr >&2\n"))
        .write("file", context.tag("unique"));
}

#[test]
fn plain_progress_numbers_the_steps_and_marks_them_as_cached_or_done() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        project(&context);
        let first = context.larder(&["build", "--progress", "plain", "."]).success();
        assert_eq!(first.stdout, "");
        let number = |text: &str, of: &str| {
            let line =
                text.lines().find(|line| line.ends_with(of)).unwrap_or_else(|| panic!("no {of} in\n{text}"));
            line.split(' ').next().unwrap().to_owned()
        };
        let run = number(&first.stderr, "[3/3] RUN echo to stdout; echo to stderr >&2");
        let line_with = |end: &str| {
            first.stderr.lines().any(|line| line.starts_with(&format!("{run} ")) && line.ends_with(end))
        };
        assert!(line_with(" to stdout") && line_with(" to stderr"), "{}", first.stderr);
        let done = first.stderr.lines().find(|line| line.starts_with(&format!("{run} DONE "))).unwrap();
        assert!(done.ends_with('s'), "{done}");
        assert!(
            !first.stderr.contains('\x1b') && !first.stderr.contains('\r'),
            "no escape sequences without a terminal"
        );
        context.write("unseen", "changes the key");
        context.write(
            "Dockerfile",
            format!("FROM {BUSYBOX}\nCOPY file /\nRUN echo to stdout; echo to stderr >&2\nENV A=1\n"),
        );
        let second = context.larder(&["build", "--progress", "plain", "."]).success();
        let run = number(&second.stderr, "[3/3] RUN echo to stdout; echo to stderr >&2");
        assert!(second.stderr.contains(&format!("{run} CACHED\n")), "{}:\n{}", engine.name, second.stderr);
    }
}

#[test]
fn json_progress_is_one_object_per_line_whatever_the_outcome() {
    let context = TestContext::new(&any_engine());
    project(&context);
    std::fs::write(context.path("in-the-way"), "").unwrap();
    let events = |cache: &str, code: i32| -> Vec<Value> {
        let run = context.larder(&["build", "--progress", "json", "--cache-dir", cache, "."]);
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{}", run.stderr);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        run.stderr.lines().map(parse).collect()
    };
    let of = |events: &[Value], name: &str, key: &str, value: &str| {
        events.iter().any(|event| {
            event["event"] == name && event[key].as_str().is_some_and(|text| text.contains(value))
        })
    };
    let built = events("../cache", 0);
    assert!(built.iter().all(|event| event["schema"] == "larder.progress.v1"));
    assert!(of(&built, "vertex", "name", "[3/3] RUN echo"));
    assert!(of(&built, "log", "data", "to stderr") && of(&built, "log", "stream", "stderr"));
    // Events of larder itself, with the keys, the tiers and the record.
    let named = |events: &[Value], name: &str| -> Vec<Value> {
        events.iter().filter(|event| event["event"] == name).cloned().collect()
    };
    let keys = named(&built, "keys");
    assert!(keys.len() == 1 && keys[0]["image_key"].as_str().is_some_and(|key| key.len() == 64), "{keys:?}");
    let tier = |events: &[Value], tier: &str| -> Value {
        named(events, "tier").into_iter().find(|event| event["tier"] == tier).unwrap_or_default()["outcome"]
            .take()
    };
    assert_eq!(tier(&built, "engine"), "miss");
    let last = built.last().unwrap();
    assert_eq!((&last["event"], &last["record"]["outcome"]), (&"build".into(), &"built".into()), "{last}");
    assert_eq!(last["record"]["image_key"], keys[0]["image_key"]);
    let hit = events("../cache", 0);
    assert_eq!(
        (tier(&hit, "engine"), &hit.last().unwrap()["record"]["hit_tier"]),
        ("hit".into(), &"engine".into())
    );
    let warned = events("../in-the-way/cache", 0);
    assert!(of(&warned, "message", "level", "warning"), "{warned:?}");
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN echo boo && exit 4\n"));
    let failed = events("../cache", 1);
    assert!(
        of(&failed, "message", "level", "error") && of(&failed, "message", "text", "exit code: 4"),
        "{failed:?}"
    );
}

#[test]
fn a_quiet_build_prints_only_errors() {
    let context = TestContext::new(&any_engine());
    project(&context);
    for _ in ["built", "hit"] {
        let run = context.larder(&["build", "--progress", "quiet", "."]).success();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""));
    }
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN echo boo && exit 4\n"));
    let run = context.larder(&["build", "--progress", "quiet", "."]).failure(1, "exit code: 4");
    assert!(run.stderr.contains(" boo\n") && run.stderr.contains(">>> RUN echo boo"), "{}", run.stderr);
    assert!(!run.stderr.contains("#1 "), "{}", run.stderr);
}

#[test]
fn quiet_and_json_builds_print_no_notes() {
    let engine = any_engine();
    for mode in [&["--quiet"][..], &["--progress", "quiet"], &["--progress", "json"]] {
        let context = TestContext::new(&engine);
        let mount = context.tag("notes").replace(['/', ':'], "-");
        for number in ["1", "2"] {
            context.write(
                "Dockerfile",
                format!(
                    "FROM {BUSYBOX}\nCOPY . /all\nRUN --mount=type=cache,target=/{mount} echo {number} > /{mount}/{number}\n\
                     RUN pip install nothing || true\n"
                ),
            );
            // Each of these would print a note: a mount that is saved and restored, an image that is archived, automatic
            // mounts, and a file in the context that larder wrote.
            let flags = ["build", "--metadata-file", "meta.json", "--enable-cache", "--auto-mounts", "."];
            let run = context.larder(&[&flags[..], mode].concat()).success();
            let built = json(&context.project().join("meta.json"));
            let mounts = built["mounts"].as_array().unwrap();
            let saved = mounts.iter().find(|record| record["id"].as_str().unwrap().contains(&mount)).unwrap();
            assert_eq!(saved["saved_files"], number.parse::<u8>().unwrap(), "{built:#}");
            assert!(built["kept"]["bytes"].as_u64() > Some(0), "{built:#}");
            match mode {
                ["--quiet"] => {
                    let id = built["image_id"].as_str().unwrap();
                    assert_eq!((run.stdout, run.stderr), (format!("{id}\n"), String::new()));
                }
                [_, "quiet"] => assert_eq!((run.stdout, run.stderr), (String::new(), String::new())),
                _ => {
                    let events =
                        run.stderr.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
                    let messages: Vec<Value> = events.filter(|event| event["event"] == "message").collect();
                    assert_eq!((run.stdout.as_str(), messages), ("", Vec::new()));
                }
            }
        }
    }
}

#[test]
fn the_mode_comes_from_the_flag_then_the_variables_then_the_file() {
    let context = TestContext::new(&any_engine());
    project(&context);
    context.write("larder.yaml", "progress: quiet\n");
    let stderr_of = |flags: &[&str], variables: &[(&str, &str)]| {
        let arguments = [&["build", "--no-cache"], flags, &["."]].concat();
        run_to_end(context.command(&arguments).envs(variables.iter().copied()), None).success().stderr
    };
    assert_eq!(stderr_of(&[], &[]), "");
    assert!(stderr_of(&[], &[("BUILDKIT_PROGRESS", "plain")]).contains("#1 "));
    assert_eq!(stderr_of(&[], &[("BUILDKIT_PROGRESS", "plain"), ("LARDER_PROGRESS", "quiet")]), "");
    assert!(stderr_of(&["--progress", "plain"], &[("LARDER_PROGRESS", "quiet")]).contains("#1 "));
}

/// Runs larder on a pseudo-terminal and returns what the terminal shows.
fn on_a_terminal(context: &TestContext, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let larder = context.command(arguments);
    let words = std::iter::once(larder.get_program()).chain(larder.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("stty cols 100 rows 30; {}", line.join(" ")), "/dev/null"]);
    command.current_dir(context.project()).env_clear();
    command.envs(larder.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("TERM", "xterm").env("SHELL", "/bin/sh").envs(variables.iter().copied());
    run_to_end(&mut command, None).success().stdout
}

#[test]
fn a_terminal_shows_a_live_table_and_then_the_summary() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        project(&context);
        let shown = on_a_terminal(&context, &["build", "--no-cache", "."], &[]);
        assert!(shown.contains("[+] Building") && shown.contains("\x1b["), "{}:\n{shown}", engine.name);
        assert!(shown.contains("RUN echo to stdout"), "{shown}");
        let last = shown.trim_end().lines().rev().take(3).collect::<Vec<_>>();
        assert!(
            last[0].trim_start().starts_with("sha256:")
                && last[1].trim_start().starts_with("lane ")
                && last[2].contains("0 of 2 cached"),
            "{shown}"
        );
    }
}

#[test]
fn a_ci_terminal_and_a_dumb_terminal_get_plain_lines() {
    let context = TestContext::new(&any_engine());
    project(&context);
    for variable in [("CI", "true"), ("TERM", "dumb")] {
        let shown = on_a_terminal(&context, &["build", "--no-cache", "."], &[variable]);
        assert!(shown.contains("#1 [internal]") && !shown.contains("[+] Building"), "{variable:?}:\n{shown}");
    }
}

#[test]
fn no_color_disables_colors_on_a_terminal() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let arguments = ["build", "--no-cache", "."];
    std::fs::write(context.path("in-the-way"), "").unwrap();
    let broken = ("LARDER_CACHE_DIR", "../in-the-way/cache");
    assert!(
        on_a_terminal(&context, &arguments, &[broken, ("CI", "true")]).contains("\x1b[33mwarning:"),
        "a warning has colour"
    );
    let shown = on_a_terminal(&context, &arguments, &[broken, ("CI", "true"), ("NO_COLOR", "1")]);
    assert!(shown.contains("warning: ") && !shown.contains("\x1b["), "{shown}");
}

#[test]
fn plain_progress_has_no_escape_sequences_on_a_terminal() {
    let context = TestContext::new(&any_engine());
    project(&context);
    std::fs::write(context.path("in-the-way"), "").unwrap();
    let broken = ("LARDER_CACHE_DIR", "../in-the-way/cache");
    let flags = &["build", "--progress", "plain", "--no-cache", "."][..];
    for (arguments, variables) in
        [(flags, &[broken][..]), (&["build", "--no-cache", "."], &[broken, ("LARDER_PROGRESS", "plain")])]
    {
        let shown = on_a_terminal(&context, arguments, variables);
        assert!(shown.contains("#1 [internal]") && shown.contains("warning: "), "{shown}");
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}
