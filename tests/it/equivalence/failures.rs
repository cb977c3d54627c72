//! Failing builds: larder exits with the same code as docker and prints the same message.

use super::{Bench, NEWER_FRONTEND, on_engines};
use crate::engines::{Engine, engines};

/// The prefixes that versions of docker put before BuildKit's message.
const WRAPPING: [&str; 9] = [
    "ERROR: ",
    "failed to build: ",
    "failed to solve: ",
    "failed to solve with frontend dockerfile.v0: ",
    "failed to create LLB definition: ",
    "failed to run Build function: ",
    "failed to read dockerfile: ",
    "failed to compute cache key: ",
    "rpc error: code = Unknown desc = ",
];

/// Removes snapshot ids, which some versions print and which differ each time.
fn without_ids(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.contains("::")).collect();
    words.join(" ")
}

/// Asserts that both tools fail with the same message, and that it contains `word`.
#[track_caller]
fn assert_fail_alike(engine: &Engine, dockerfile: &str, arguments: &[&str], word: &str) {
    let bench = Bench::with_files(engine, dockerfile);
    let arguments = [arguments, &[&bench.directory]].concat();
    let docker = bench.docker(&arguments, None);
    assert_eq!(docker.code, 1, "docker build of {dockerfile}: {}", docker.stderr);
    let mut message = docker.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    while let Some(rest) = WRAPPING.iter().find_map(|prefix| message.strip_prefix(prefix)) {
        message = rest;
    }
    assert!(message.contains(word), "{}: `{word}` is not in docker's `{message}`", engine.name);
    // The text before it only repeats the name of the image.
    message = message.rsplit_once("failed to do request: ").map_or(message, |(_, request)| request);
    let larder = bench.larder(&arguments, None).failure(1, "");
    let (cause, message) = (without_ids(&larder.stderr), without_ids(message.trim()));
    assert!(cause.contains(&message), "{}: docker prints `{message}`:\n{}", engine.name, larder.stderr);
}

#[test]
fn failing_builds_print_the_same_message_as_docker() {
    on_engines(0, |engine| {
        for (dockerfile, arguments, word) in [
            ("FROM larder-test/busybox:1\nRUN exit 7\n", &[][..], "exit code: 7"),
            ("FROM larder-test/busybox:1\nCOPY absent /x\n", &[], "absent"),
            ("FROM larder-test/busybox:1\nCOPY notes.md /x\n", &[], "notes.md"),
            ("FROM larder-test/busybox:1\nRUNN true\n", &[], "unknown instruction"),
            ("RUN true\n", &[], "no build stage"),
            ("FROM larder-test/busybox:1\n", &["--target", "absent"], "absent"),
            ("FROM larder-test/busybox:1\n", &["--target", "0"], "could not be found"),
            ("FROM larder-test/busybox:1\nCOPY --from=absent:1 /a /b\n", &[], "absent"),
            ("FROM larder-test/absent:1\n", &[], "larder-test/absent"),
            ("ARG BASE\nFROM $BASE\n", &[], "should not be blank"),
            (
                "FROM larder-test/busybox:1\nRUN --mount=type=secret,id=s,required=true true\n",
                &[],
                "not found",
            ),
        ] {
            assert_fail_alike(engine, dockerfile, arguments, word);
        }
    });
}

#[test]
fn syntax_that_an_older_frontend_does_not_support_fails_as_with_docker() {
    for engine in engines().into_iter().filter(|engine| engine.major() < NEWER_FRONTEND) {
        for (instruction, word) in [
            ("RUN <<EOF\n  echo hello\nEOF", "unknown instruction"),
            ("COPY <<EOF /file\nhello\nEOF", "unknown instruction"),
            ("COPY --link src /src", "flag: link"),
        ] {
            let dockerfile = format!("FROM larder-test/busybox:1\n{instruction}\n");
            assert_fail_alike(&engine, &dockerfile, &[], word);
        }
    }
}
