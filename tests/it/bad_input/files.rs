//! Files that larder cannot write: result files and the cache.

use std::fs;

use crate::engines::any_engine;
use crate::support::{BUSYBOX, TestContext, json};

fn context() -> TestContext {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
    context
}

#[test]
fn a_result_file_that_cannot_be_written_is_an_error_before_the_build() {
    let context = context();
    for flag in ["--iidfile", "--metadata-file"] {
        for path in ["missing/file", "Dockerfile/file", "."] {
            let run = context
                .larder(&["build", flag, path, "."])
                .failure(2, &format!("{flag}: cannot write {path}"));
            let run = run.hint("must exist and be writable");
            assert!(!run.stderr.contains("[internal]"), "nothing was built: {}", run.stderr);
        }
    }
}

#[test]
fn a_failed_build_removes_the_iidfile_of_an_earlier_build() {
    let context = context();
    context.larder(&["build", "--iidfile", "../iid", "."]).success();
    assert!(context.path("iid").exists());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN false\n"));
    context
        .larder(&["build", "--iidfile", "../iid", "--metadata-file", "../metadata", "."])
        .failure(1, "exit code: 1");
    assert!(!context.path("iid").exists());
    assert_eq!(json(&context.path("metadata"))["outcome"], "failed");
}

#[test]
fn a_cache_that_cannot_be_written_causes_distinct_warnings_and_with_strict_an_error() {
    let context = context();
    fs::write(context.path("file"), "").unwrap();
    for directory in ["../file", "../file/cache", "/proc/larder"] {
        let run = context.larder(&["build", "--cache-dir", directory, "."]).success();
        let mut warnings: Vec<&str> =
            run.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert!(
            warnings
                .iter()
                .all(|line| line.contains("the cache at ") && line.ends_with("going on without it")),
            "{warnings:?}"
        );
        let count = warnings.len();
        warnings.dedup();
        assert!((1..=3).contains(&count) && warnings.len() == count, "{warnings:?}");
        context
            .larder(&["build", "--strict", "--cache-dir", directory, "."])
            .failure(3, "the cache at ")
            .hint("--strict");
    }
}
