//! Files that larder writes into a build context are not an input of the build.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::engines::{Engine, any_engine, engines};
use crate::support::{BUSYBOX, Run, TestContext, json, run_to_end};

impl TestContext {
    /// Creates a project whose image contains a copy of the whole context.
    fn copies_all(engine: &Engine) -> Self {
        let context = Self::new(engine);
        context.write("Dockerfile", format!("FROM {BUSYBOX} AS build\nCOPY . /all/\nFROM scratch AS files\nCOPY --from=build /all /\nFROM build\n"));
        context.write("src/main.py", context.tag("main"));
        context
    }

    /// Returns the outcome in the metadata file.
    fn outcome(&self) -> String {
        let metadata: Value = json(&self.project().join("build.json"));
        metadata["outcome"].as_str().unwrap().to_owned()
    }

    /// Returns the paths below `/all` in an image.
    fn copied(&self, image: &str) -> BTreeSet<String> {
        let entries = self.engine.entries(image, "/all");
        let path = |rest: &str| rest.split(' ').next()?.strip_prefix("all/").map(str::to_owned);
        entries.iter().filter_map(|entry| path(&entry.attributes)).collect()
    }
}

fn excluded_paths(run: &Run) -> Option<&str> {
    run.stderr
        .lines()
        .find_map(|line| line.strip_prefix("left out of the build context because larder wrote it: "))
}

#[test]
fn the_cache_and_result_files_are_excluded_and_an_unchanged_project_is_a_hit() {
    for engine in engines() {
        // Each case: its name, the directory of the cache, and more flags.
        let project = |context: &TestContext| context.project().to_string_lossy().into_owned();
        for (case, cache, flags) in [
            ("a cache in the project, as in the GitLab example", ".larder-cache", &[][..]),
            ("the home is the context", "home", &[]),
            ("a cache deep in the project", "a/b/cache", &["--iidfile", "iid"]),
            ("the context itself is the cache", ".", &["--iidfile", "iid"]),
        ] {
            let context = TestContext::copies_all(&engine);
            let (root, tag) = (project(&context), context.tag("app"));
            let build = |arguments: &[&str]| {
                let mut command = context.command(&[&["build", "-t", &tag, "."], arguments].concat());
                match cache {
                    "home" => command.env("HOME", &root),
                    cache => command.env("LARDER_CACHE_DIR", cache),
                };
                run_to_end(&mut command, None).success()
            };
            let with_results = [&["--metadata-file", "build.json"], flags].concat();
            build(&with_results);
            assert_eq!(context.outcome(), "built", "{case}");
            let expected = ["Dockerfile", "src", "src/main.py"].map(str::to_owned);
            assert_eq!(context.copied(&tag), BTreeSet::from(expected), "{} {case}", engine.name);
            let run = build(&with_results);
            assert_eq!(context.outcome(), "image-hit", "{} {case}: {}", engine.name, run.stderr);
            // A later command without these flags finds the files that the earlier one wrote.
            let run = build(&[]);
            assert!(run.stderr.contains("image hit"), "{} {case}: {}", engine.name, run.stderr);
            assert!(
                excluded_paths(&run).is_some_and(|paths| paths.contains("build.json")),
                "{case}: {}",
                run.stderr
            );
            // Once the user writes to the file, it is an input of the build.
            context.write("build.json", "{}");
            build(&[]);
            assert!(context.copied(&tag).contains("build.json"), "{} {case}", engine.name);
        }
    }
}

#[test]
fn outputs_are_not_an_input_of_the_build_that_writes_them() {
    let context = TestContext::copies_all(&any_engine());
    context.write("gen/kept.py", "the user's");
    let names = |directory: &str| -> BTreeSet<String> {
        let root = context.project().join(directory);
        let entries = walkdir::WalkDir::new(&root).min_depth(1).into_iter().map(Result::unwrap);
        entries
            .map(|entry| entry.path().strip_prefix(&root).unwrap().to_string_lossy().into_owned())
            .collect()
    };
    let expected = ["Dockerfile", "gen", "gen/kept.py", "src", "src/main.py"].map(str::to_owned);
    let expected = BTreeSet::from(expected);
    for output in ["out", "type=tar,dest=dist/deep/files.tar"] {
        for _ in 0..2 {
            context.larder(&["build", "--target", "files", "-o", output, "."]).success();
        }
        let run = context.larder(&["build", "--target", "files", "-o", output, "."]).success();
        let steps = "2 of 2 cached";
        assert!(run.stderr.contains(steps), "{output}: {}", run.stderr);
    }
    fs::remove_dir_all(context.project().join("dist")).unwrap();
    assert_eq!(names("out"), expected);
    // A different build may copy the output of an earlier build.
    context.write("take.Dockerfile", format!("FROM {BUSYBOX}\nCOPY out/src /all/\n"));
    let tag = context.tag("taken");
    context.larder(&["build", "-t", &tag, "-f", "take.Dockerfile", "-o", "out", "."]).success();
    context.larder(&["build", "-t", &tag, "-f", "take.Dockerfile", "."]).success();
    assert_eq!(context.copied(&tag), BTreeSet::from(["main.py".to_owned()]));
    fs::remove_file(context.project().join("take.Dockerfile")).unwrap();
    fs::remove_dir_all(context.project().join("out")).unwrap();
    // An output directory that also contains files of the user is still an input.
    context.larder(&["build", "--target", "files", "-o", "gen", "."]).success();
    assert!(names("gen").contains("gen/kept.py"), "{:?}", names("gen"));
}

#[test]
fn copying_the_cache_or_a_result_of_the_same_build_is_an_error_but_an_earlier_result_is_allowed() {
    let context = TestContext::copies_all(&any_engine());
    let dockerfile = |line: &str| context.write("Dockerfile", format!("FROM {BUSYBOX}\n{line}\n"));
    for (line, cause) in [
        (
            "COPY .larder-cache/v1 /",
            "reads `.larder-cache` from the build context, but that is larder's cache",
        ),
        ("RUN --mount=source=.larder-cache,target=/c :", "reads `.larder-cache`"),
        (
            "COPY build.json /",
            "reads `build.json` from the build context, but that is the file of --metadata-file",
        ),
    ] {
        dockerfile(line);
        let flags = ["build", "--cache-dir", ".larder-cache", "--metadata-file", "build.json", "."];
        context.larder(&flags).failure(2, cause).hint("exclude it from COPY");
    }
    dockerfile("RUN true");
    context.larder(&["build", "--metadata-file", "build.json", "."]).success();
    dockerfile("COPY build.json /all/");
    let tag = context.tag("app");
    context.larder(&["build", "-t", &tag, "."]).success();
    assert_eq!(context.copied(&tag), BTreeSet::from(["build.json".to_owned()]));
}

#[test]
fn a_result_file_that_is_also_an_input_is_an_error_and_is_not_removed() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY app.py /\n")).write("app.py", "mine\n");
    for (flag, name, cause) in [
        ("--metadata-file", "app.py", "that is the file of --metadata-file"),
        ("--iidfile", "./app.py", "that is the file of --iidfile"),
        ("--metadata-file", "Dockerfile", "Dockerfile is the Dockerfile"),
    ] {
        context.larder(&["build", flag, name, "."]).failure(2, cause);
        assert!(context.project().join(name).exists(), "{flag} {name}");
    }
}

#[test]
fn the_csv_file_of_run_output_is_not_an_input_of_the_image() {
    let context = TestContext::copies_all(&any_engine());
    for outcome in ["miss", "hit", "hit"] {
        context.larder(&["run", "--output", "runs.csv", "."]).success();
        let rows = fs::read_to_string(context.project().join("runs.csv")).unwrap();
        let last = rows.lines().last().unwrap();
        assert!(last.contains(&format!(",{outcome},")), "{rows}");
    }
}
