//! When a build is an image hit, when it is not, and what is recorded.

use std::time::Duration;

use serde_json::{Value, json};

use crate::engines::{any_engine, engines};
use crate::running::Running;
use crate::support::{BUSYBOX, TestContext};

fn project(context: &TestContext) {
    context
        .write(
            "Dockerfile",
            format!("FROM {BUSYBOX}\nARG WHO=world\nCOPY app /app\nRUN echo hello $WHO > /hello\n"),
        )
        .write("app/main.py", "print('hello')\n")
        // Images with the same content have the same id, so a unique file keeps the tests apart.
        .write("app/test", context.tag("unique"))
        .write("notes.txt", "not copied\n");
}

fn outcome(metadata: &Value) -> (&str, Option<&str>) {
    (metadata["outcome"].as_str().expect("an outcome"), metadata["hit_tier"].as_str())
}

#[test]
fn a_build_of_an_unchanged_project_is_a_hit_and_tags_the_same_image() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        project(&context);
        let (first, second) = (context.tag("first"), context.tag("second"));
        let built = context.build(&["-t", &first, "."]);
        assert_eq!(outcome(&built), ("built", None), "{}", engine.name);
        assert_eq!(built["steps"], json!({ "total": 2, "cached": 0, "imported": 0 }));
        let hit = context.build(&["-t", &second, "."]);
        assert_eq!(outcome(&hit), ("image-hit", Some("engine")), "{}", engine.name);
        for field in ["image_key", "dependency_key", "image_id"] {
            assert_eq!(built[field], hit[field], "{field} on {}", engine.name);
        }
        let id = engine.inspect(&second)["Id"].clone();
        assert_eq!((&id, &engine.inspect(&first)["Id"]), (&built["image_id"], &built["image_id"]));
        assert_eq!(engine.read(&second, "/hello"), b"hello world\n");
    }
}

#[test]
fn only_changes_that_affect_the_image_cause_a_miss() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let build = |arguments: &[&str]| {
        let arguments = [arguments, &["."]].concat();
        context.build(&arguments)
    };
    assert_eq!(outcome(&build(&[])), ("built", None));
    context.write("notes.txt", "no step copies this\n");
    assert_eq!(outcome(&build(&[])).0, "image-hit");
    context.write("app/main.py", "print('bye')\n");
    let edited = build(&[]);
    assert_eq!(outcome(&edited).0, "built");
    assert_eq!(build(&[])["image_id"], edited["image_id"]);
    context.write("app/main.py", "print('hello')\n");
    assert_eq!(outcome(&build(&[])).0, "image-hit", "the first image is still known");
    assert_eq!(outcome(&build(&["--build-arg", "WHO=you"])).0, "built");
    assert_eq!(outcome(&build(&["--build-arg", "UNUSED=1"])).0, "image-hit");
    assert_eq!(outcome(&build(&["--label", "a=b"])).0, "built");
    assert_eq!(outcome(&build(&["--key-extra", "tests=1"])).0, "built");
}

#[test]
fn an_image_that_was_removed_is_built_again() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let tag = context.tag("app");
    context.build(&["--tiers", "engine", "-t", &tag, "."]);
    assert!(context.engine.docker().args(["rmi", &tag]).status().unwrap().success());
    let again = context.build(&["--tiers", "engine", "-t", &tag, "."]);
    assert_eq!(outcome(&again), ("built", None));
    assert_eq!(again["tiers"][0]["outcome"], "miss");
    assert!(again["tiers"][0]["reason"].as_str().unwrap().contains("no longer has the image"));
}

#[test]
fn a_forced_rebuild_and_no_cache_run_every_step() {
    let context = TestContext::new(&any_engine());
    project(&context);
    context.build(&["."]);
    for flag in ["--force-rebuild", "--no-cache"] {
        let built = context.build(&[flag, "."]);
        assert_eq!(outcome(&built), ("built", None), "{flag}");
        assert_eq!(built["steps"], json!({ "total": 2, "cached": 0, "imported": 0 }), "{flag}");
        assert_eq!(built["tiers"][0]["outcome"], "skipped", "{flag}");
        assert_eq!(built["tiers"][0]["reason"], flag);
    }
    assert_eq!(outcome(&context.build(&["."])).0, "image-hit");
}

#[test]
fn an_image_whose_input_changed_during_the_build_is_not_stored_under_the_old_key() {
    // Named contexts require Docker 23.0.
    for (input, edited, since) in [
        ("app/main.py", "print('edited')\n", 20),
        (".dockerignore", "*.md\napp/test\n", 20),
        ("Dockerfile.dockerignore", "app/test\n", 20),
        ("named/.dockerignore", "*.md\n", 23),
    ] {
        let Some(engine) = engines().into_iter().find(|engine| engine.major() >= since) else { continue };
        let context = TestContext::new(&engine);
        project(&context);
        let (copy, flags): (&str, &[&str]) = match since {
            23 => ("COPY --from=named . /named", &["--build-context", "named=named"]),
            _ => ("", &[]),
        };
        context
            .write("Dockerfile", format!("FROM {BUSYBOX}\nRUN sleep 2\nCOPY app /app\n{copy}\nRUN sleep 2\n"))
            .write(".dockerignore", "*.md\n")
            .write("named/file", "named\n");
        let building = [&["build", "--progress", "plain", "."], flags].concat();
        let running = Running::start(&mut context.command(&building));
        running.await_stderr("RUN sleep");
        let before = std::fs::read(context.project().join(input)).ok();
        context.write(input, edited);
        let output = running.end(Duration::from_mins(1)).success().stderr;
        let warned = output.lines().find(|line| line.contains("changed while the image was built"));
        assert!(warned.is_some_and(|line| line.contains(input)), "{input}:\n{output}");
        match before {
            Some(before) => drop(context.write(input, before)),
            None => std::fs::remove_file(context.project().join(input)).unwrap(),
        }
        assert_eq!(outcome(&context.build(&[flags, &["."]].concat())).0, "built", "{input}");
    }
}

#[test]
fn larder_key_prints_the_keys_of_the_next_build() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let key = context.larder(&["key", "--format", "json", "-t", "x", "."]).success();
    let key: Value = serde_json::from_str(&key.stdout).unwrap();
    let built = context.build(&["."]);
    assert_eq!(outcome(&built).0, "built");
    assert_eq!((&key["image_key"], &key["dependency_key"]), (&built["image_key"], &built["dependency_key"]));
    let text = context.larder(&["key", "."]).success().stdout;
    let expected = format!(
        "image key: {}\ndependency key: {}\n",
        key["image_key"].as_str().unwrap(),
        key["dependency_key"].as_str().unwrap()
    );
    assert!(text.starts_with(&expected), "{text}");
}

#[test]
fn a_quiet_build_prints_only_the_image_id_and_writes_it_to_the_iidfile() {
    let context = TestContext::new(&any_engine());
    project(&context);
    for _ in ["built", "hit"] {
        let run = context.larder(&["build", "-q", "--iidfile", "../iid", "."]).success();
        let id = std::fs::read_to_string(context.path("iid")).unwrap();
        assert_eq!(run.stdout, format!("{id}\n"));
        assert_eq!(run.stderr, "");
        assert_eq!(context.engine.inspect(&id)["Id"], id);
    }
}

#[test]
fn statistics_count_builds_by_outcome() {
    let context = TestContext::new(&any_engine());
    assert!(context.larder(&["stats"]).success().stdout.contains("No build has been recorded yet"));
    project(&context);
    context.build(&["-t", "stats-test", "."]);
    context.build(&["-t", "stats-test", "."]);
    context.write("app/main.py", "print('more')\n");
    context.build(&["-t", "stats-test", "."]);
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN exit 7\n"));
    context.larder(&["build", "."]).failure(1, "exit code: 7");
    let stats: Value =
        serde_json::from_str(&context.larder(&["stats", "--format", "json"]).success().stdout).unwrap();
    let sums = &stats["sums"];
    assert_eq!(
        (&sums["builds"], &sums["image_hits"], &sums["built"], &sums["failed"]),
        (&json!(4), &json!(1), &json!(2), &json!(1))
    );
    assert!(stats["cache"]["bytes_stored"].as_u64().unwrap() > 0);
    assert_eq!(stats["schema"], "larder.stats.v1");
    let text = context.larder(&["stats"]).success().stdout;
    assert!(text.contains("Builds: 4 (1 image hit, 2 built, 1 failed, 0 interrupted)"), "{text}");
}

#[test]
fn a_cached_step_after_a_copy_counts_with_its_last_duration() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let unique = context.tag("saves");
        let last = |step: &str| format!("FROM {BUSYBOX}\nCOPY seed /\nRUN sleep 2 # {unique}\nRUN {step}\n");
        context.write("seed", "seed");
        // As in CI, the tag is the number of the build. The engine may evict a cached layer during other builds, so try
        // several times.
        let is_cached = (0..5).any(|number| {
            context.write("Dockerfile", last(&format!("echo {number}")));
            let record = context.build(&["-t", &format!("saves-test:{number}"), "."]);
            record["steps"]["cached"] == 2
        });
        assert!(is_cached, "{} did not cache the steps", engine.name);
        let stats: Value =
            serde_json::from_str(&context.larder(&["stats", "--format", "json"]).success().stdout).unwrap();
        // What the builder's own cache spares is no gain of larder, but counts in the hit rate.
        let rate = stats["sums"]["time_weighted_hit_rate"].as_f64().unwrap();
        let saved = stats["sums"]["saved_millis"].as_i64().unwrap();
        assert!(rate > 0.3 && saved < 1_000, "{}: {stats:#}", engine.name);
        let builds = stats["builds"].as_array().unwrap().iter();
        let steps = builds.flat_map(|build| build["step_list"].as_array().unwrap());
        let mut cached = steps.filter(|step| step["cached"] == true);
        assert!(
            cached.any(|step| step["spared_millis"].as_u64() >= Some(1_000)),
            "{}: {stats:#}",
            engine.name
        );
    }
}

#[test]
fn values_of_build_arguments_are_not_stored() {
    let context = TestContext::new(&any_engine());
    context.write(
        "Dockerfile",
        format!("FROM {BUSYBOX}\nARG TOKEN\nRUN test -n ${{TOKEN}}\nCOPY . /x${{TOKEN}}\n"),
    );
    let metadata = context.build(&["--build-arg", "TOKEN=hunter2hunter2", "."]);
    assert!(!metadata.to_string().contains("hunter2"), "{metadata}");
    let mut files = 0;
    for entry in walkdir::WalkDir::new(context.path("home")).into_iter().map(Result::unwrap) {
        if entry.file_type().is_file() {
            files += 1;
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"), "{}", entry.path().display());
        }
    }
    assert!(files >= 2, "the store and the ledger were not written");
}

#[test]
fn a_damaged_cache_causes_a_warning_and_with_strict_an_error() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let built = context.build(&["."]);
    let key = built["image_key"].as_str().unwrap();
    let entry = context.path(&format!("home/.cache/larder/v1/image/{key}.json"));
    std::fs::write(&entry, "{").unwrap();
    context.larder(&["build", "--strict", "."]).failure(3, "was damaged").hint("without --strict");
    std::fs::write(&entry, "{").unwrap();
    let run = context.larder(&["build", "."]).success();
    assert!(run.stderr.contains("warning: ") && run.stderr.contains("was damaged"), "{}", run.stderr);
    assert_eq!(outcome(&context.build(&["."])).0, "image-hit", "the entry was not replaced");
}

#[test]
fn an_edit_that_preserves_size_and_modification_time_is_detected() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let epoch = filetime::FileTime::from_unix_time(1_000_000_000, 0);
        context
            .write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY . /app\n"))
            .write("unique", context.tag("times"));
        for content in ["one\n", "two\n", "one\n"] {
            context.write("file", content);
            filetime::set_file_mtime(context.project().join("file"), epoch).unwrap();
            let name = context.tag("times");
            context.build(&["-t", &name, "."]);
            assert_eq!(engine.read(&name, "/app/file"), content.as_bytes(), "{}", engine.name);
        }
    }
}

#[test]
fn with_a_custom_frontend_every_file_of_the_contexts_changes_the_key() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let dockerfile = std::fs::read_to_string(context.project().join("Dockerfile")).unwrap();
    context.write("named/file", "1");
    let key = |flags: &[&str]| {
        let arguments =
            [&["key", "--format", "json", "--build-context", "named=named"], flags, &["."]].concat();
        let output = context.larder(&arguments).success().stdout;
        serde_json::from_str::<Value>(&output).unwrap()["image_key"].clone()
    };
    let flags = ["--build-arg", "BUILDKIT_SYNTAX=registry.invalid/custom/frontend"];
    let (default, by_argument) = (key(&[]), key(&flags));
    context.write("Dockerfile", format!("# syntax=registry.invalid/custom/frontend\n{dockerfile}"));
    let by_directive = key(&[]);
    for (path, content) in [("notes.txt", "edited\n"), ("named/file", "2")] {
        context.write(path, content);
        let now = key(&[]);
        assert_ne!(now, by_directive, "{path}");
        context.write("Dockerfile", &dockerfile);
        assert_ne!(key(&flags), by_argument, "{path}");
        assert_eq!(key(&[]), default, "the default frontend does not read {path}");
        context.write("Dockerfile", format!("# syntax=registry.invalid/custom/frontend\n{dockerfile}"));
        context.write("notes.txt", "not copied\n").write("named/file", "1");
    }
}
