//! Invalid Dockerfiles, and steps that fail.

use crate::engines::{any_engine, engines};
use crate::support::{BUSYBOX, TestContext};

#[test]
fn a_syntax_error_is_shown_with_its_position_its_line_and_a_caret() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        for (text, shown) in [
            (
                format!("FROM {BUSYBOX}\n  RNU make\n"),
                "Dockerfile:2:3: unknown instruction `RNU`; did you mean `RUN`?\n  |\n2 |   RNU make\n  |   ^\n",
            ),
            (
                "RUN true\n".to_owned(),
                "Dockerfile:1:1: RUN before the first FROM\n  |\n1 | RUN true\n  | ^\n",
            ),
            (
                format!("FROM {BUSYBOX}\nFROM\n"),
                "Dockerfile:2:1: FROM requires either one or three arguments",
            ),
            (
                format!("FROM {BUSYBOX}\nRUN --mont=type=cache true\n"),
                "Dockerfile:2:5: unknown flag `--mont`; did you mean `--mount`?\n  |\n",
            ),
        ] {
            context.write("Dockerfile", &text);
            let run = context.larder(&["build", "."]);
            assert!(run.stderr.contains(shown), "{}:\n{}", engine.name, run.stderr);
            let finding = shown.lines().next().unwrap().splitn(4, ':').last().unwrap().trim();
            run.failure(1, "").hint(finding);
        }
        // A newer frontend may support this flag, so larder leaves the error to the engine.
        context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN --hardened=yes true\n"));
        let run = context.larder(&["build", "."]);
        assert!(
            run.stderr.contains("Dockerfile:2\n") && run.stderr.contains("2 | >>> RUN --hardened"),
            "{}",
            run.stderr
        );
        run.failure(1, "nknown flag").hint("# syntax=docker/dockerfile:1");
    }
}

#[test]
fn the_error_for_a_build_without_a_key_gives_the_reason() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\n  RNU make\n"));
    let run = context.larder(&["key", "."]).failure(2, "unknown instruction `RNU`");
    assert!(run.stderr.contains("2 |   RNU make\n  |   ^\n"), "{}", run.stderr);
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nADD http://127.0.0.1:1/file /\n"));
    context.larder(&["key", "."]).failure(2, "ADD of a remote address").hint("never an exact hit");
    context
        .larder(&["key", "git://127.0.0.1:1/x"])
        .failure(2, "the context is remote")
        .hint("never an exact hit");
}

#[test]
fn the_error_for_an_unknown_target_lists_the_stages() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        context.write(
            "Dockerfile",
            format!("FROM {BUSYBOX} AS build\nRUN true\nFROM {BUSYBOX} AS app\nRUN true\n"),
        );
        let run = context.larder(&["build", "--target", "biuld", "."]).failure(1, "could not be found");
        run.hint("there is no stage `biuld`; the named stages are `build`, `app`; did you mean `build`?");
    }
}

#[test]
fn a_dockerfile_without_stages_is_an_error() {
    let context = TestContext::new(&any_engine());
    for text in ["", "# only a comment\n", "\n\n"] {
        context.write("Dockerfile", text);
        context.larder(&["build", "."]).failure(1, "").hint("there is no stage to build");
    }
    context.write("Dockerfile", b"FROM scratch\nLABEL name=\xe9\n");
    context
        .larder(&["build", "."])
        .failure(2, "the Dockerfile ./Dockerfile is not UTF-8")
        .hint("save it as UTF-8");
}

#[test]
fn the_error_for_a_failing_step_shows_its_last_output_and_its_lines() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let text = format!(
            "FROM {BUSYBOX}\nRUN true\n\nRUN echo first && \\\n    echo last >&2 && \\\n    exit 7\nRUN true\n"
        );
        context.write("Dockerfile", text);
        let run = context.larder(&["build", "."]).failure(1, "exit code: 7");
        for shown in [" first\n", " last\n", "Dockerfile:4\n", "   2 |     RUN true\n"] {
            assert!(run.stderr.contains(shown), "{shown} on {}:\n{}", engine.name, run.stderr);
        }
        let marked: Vec<&str> = run.stderr.lines().filter(|line| line.contains(" | >>> ")).collect();
        assert_eq!(
            marked,
            [
                "   4 | >>> RUN echo first && \\",
                "   5 | >>>     echo last >&2 && \\",
                "   6 | >>>     exit 7"
            ],
            "{}",
            engine.name
        );
    }
}

#[test]
fn the_error_for_a_failing_step_suggests_a_remedy() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        for (line, cause, hint) in [
            (
                "RUN --mount=type=secret,id=token,required=true true",
                "secret token",
                "--secret id=token,src=FILE",
            ),
            ("RUN --mount=type=ssh,required=true true", "no SSH key", "--ssh default"),
            ("RUN nonesuch", "exit code: 127", "not in the image"),
            ("RUN exit 137", "exit code: 137", "memory"),
        ] {
            context.write("Dockerfile", format!("FROM {BUSYBOX}\n{line}\n"));
            let run = context.larder(&["build", "."]).failure(1, cause).hint(hint);
            assert!(run.stderr.contains(&format!("2 | >>> {line}")), "{}:\n{}", engine.name, run.stderr);
        }
    }
}
