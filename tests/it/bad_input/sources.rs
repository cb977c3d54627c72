//! Missing and invalid build contexts, Dockerfiles and source files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::engines::{any_engine, engines};
use crate::support::{BUSYBOX, TestContext};

#[test]
fn the_error_for_a_context_that_is_not_a_directory_gives_the_reason() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", "FROM scratch\n");
    let usual = "the last argument is the build context, usually .";
    context.larder(&["build", "missing"]).failure(2, "build context `missing` does not exist").hint(usual);
    context
        .larder(&["build", "Dockerfile"])
        .failure(2, "build context `Dockerfile` is not a directory")
        .hint(usual);
    context
        .larder(&["run", "-t", "app", "pytest"])
        .failure(2, "build context `pytest` does not exist")
        .hint("write the command after --: larder run . -- pytest");
}

#[test]
fn the_error_for_a_missing_dockerfile_contains_its_path() {
    let context = TestContext::new(&any_engine());
    context.write("sub/app.Dockerfile", "FROM scratch\n");
    for (arguments, cause) in [
        (&["build", "."][..], "there is no Dockerfile at ./Dockerfile"),
        (&["build", "sub"], "there is no Dockerfile at sub/Dockerfile"),
        (&["build", "-f", "other", "."], "there is no Dockerfile at ./other"),
        (&["build", "-f", "sub", "."], "the Dockerfile ./sub"),
    ] {
        context.larder(arguments).failure(2, cause);
    }
    context.larder(&["build", "."]).failure(2, "there is no Dockerfile").hint("set it with --file");
}

#[test]
fn an_empty_dockerfile_on_stdin_is_an_error() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", "FROM scratch\n");
    let empty = "the Dockerfile on stdin is empty";
    context.larder_with_input(&["build", "-"], b"").failure(2, empty).hint("larder build - < Dockerfile");
    context.larder_with_input(&["build", "-f", "-", "."], b"").failure(2, empty).hint("--file -");
    context
        .larder_with_input(&["build", "-f", "-", "-"], b"FROM scratch\n")
        .failure(2, "both the context and the Dockerfile");
    context
        .larder_with_input(&["build", "-f", "other", "-"], b"FROM scratch\n")
        .failure(2, "--file names a different one");
}

#[test]
fn the_error_for_a_missing_source_says_whether_dockerignore_excludes_it() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        context.write("present", "").write(".dockerignore", "ignored\n").write("ignored", "");
        let build = |line: &str| {
            context.write(
                "Dockerfile",
                format!("FROM {BUSYBOX} AS base\nRUN true\nFROM {BUSYBOX}\n{line}\nRUN true\n"),
            );
            let run = context.larder(&["build", "."]);
            assert!(run.stderr.contains(&format!("4 | >>> {line}")), "{}:\n{}", engine.name, run.stderr);
            run
        };
        build("COPY missing /")
            .failure(1, "COPY missing /: there is no missing in the build context")
            .hint(&format!("sources are read from {}", context.project().display()));
        build("COPY ignored /")
            .failure(1, "there is no ignored in the build context")
            .hint(".dockerignore excludes it");
        build("COPY --from=base /missing /").failure(1, "there is no missing in base").hint("`base`");
    }
}

#[test]
fn a_file_name_that_is_not_utf_8_is_reported_and_can_be_ignored() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY . /app\n"));
        std::fs::write(context.project().join(OsStr::from_bytes(b"caf\xe9")), "").unwrap();
        for flags in [&[][..], &["--strict"]] {
            let arguments = [&["build"], flags, &["."]].concat();
            let run = context.larder(&arguments).failure(1, "the name of caf\u{fffd} is not valid UTF-8");
            run.hint("rename it, or exclude it with .dockerignore");
        }
        context.write(".dockerignore", "caf*\n");
        context.larder(&["build", "."]).success();
    }
}
