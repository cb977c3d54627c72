//! Tests of the live table.

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::buildkit::trace::testing::{TraceScript, at};

fn trace(scripts: impl IntoIterator<Item = TraceScript>) -> Trace {
    let mut trace = Trace::default();
    for script in scripts {
        trace.apply(script.update());
    }
    trace
}

/// Returns the lines with their tones, each between bars that mark the edges.
fn drawn(lines: &[TableLine], cols: usize) -> String {
    let draw = |line: &TableLine| {
        format!("|{}{}| {:?}\n", line.text, " ".repeat(cols - columns(&line.text)), line.tone)
    };
    lines.iter().map(draw).collect()
}

fn drawn_frame(trace: &Trace, now: i64, cols: usize, rows: usize) -> String {
    let lines = frame(trace, at(now), TerminalSize { cols, rows });
    assert!(lines.len() < rows.max(1));
    drawn(&lines, cols)
}

fn busy_build() -> Trace {
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let output =
        (1..=9).map(|number| format!("\u{1b}[32mline {number}\u{1b}[0m")).collect::<Vec<_>>().join("\n");
    trace([
        TraceScript::new()
            .announce("n", "[4/4] RUN never reached")
            .done("d", "[internal] load build definition from Dockerfile", 0, 100)
            .status("d", "transferring dockerfile:", (321, 0), (0, 90), true)
            .cached("w", "[2/4] WORKDIR /srv", 200),
        TraceScript::new()
            .start("f", "[1/4] FROM docker.io/library/python:3.12", 150)
            .status("f", digest, (1_200_000, 3_400_000), (200, 3_000), false)
            .status("f", "resolve docker.io/library/python:3.12", (0, 0), (150, 200), true),
        TraceScript::new()
            .start("r", "[builder 2/2] RUN make\t-j8", 1_000)
            .log("r", 1_500, output + "\n")
            .log("r", 1_600, "50%\r75%"),
    ])
}

#[test]
fn running_steps_have_details_and_other_steps_one_line() {
    insta::assert_snapshot!(drawn_frame(&busy_build(), 3_200, 80, 24));
}

#[test]
fn a_low_terminal_shows_the_running_steps() {
    let frames = [10, 6, 4, 3, 2, 1, 0]
        .map(|rows| format!("{rows} rows\n{}", drawn_frame(&busy_build(), 3_200, 80, rows)));
    insta::assert_snapshot!(frames.concat());
}

#[test]
fn a_narrow_terminal_cuts_lines_and_drops_times() {
    let frames =
        [40, 20, 6].map(|cols| format!("{cols} columns\n{}", drawn_frame(&busy_build(), 3_200, cols, 24)));
    insta::assert_snapshot!(frames.concat());
}

#[test]
fn wide_characters_keep_the_times_aligned() {
    let trace = trace([TraceScript::new()
        .start("a", "[2/3] RUN echo 漢字漢字漢字漢字漢字漢字漢字", 0)
        .start("b", "[3/3] RUN echo café 🦀", 0)
        .log("b", 10, "進捗 ██████ 漢字漢字漢字漢字漢字漢字漢字\n")]);
    insta::assert_snapshot!(drawn_frame(&trace, 900, 41, 10), @r#"
    |[+] Building 0.9s (0/2)                  | Plain
    | => [2/3] RUN echo 漢字漢字漢字漢字  0.9s| Plain
    | => [3/3] RUN echo café 🦀           0.9s| Plain
    | => => # 進捗 ██████ 漢字漢字漢字漢字漢字| Faint
    "#);
}

#[test]
fn the_final_table_lists_every_step_and_warning() {
    let trace = trace([
        TraceScript::new().cached("a", "[1/3] FROM alpine", 0).warning("a", "FromAsCasing: 'as' and 'FROM'"),
        TraceScript::new().failed("b", "[2/3] RUN false", 100, 400, "exit code: 1").log(
            "b",
            200,
            "not here\n",
        ),
        TraceScript::new().failed("c", "[web 2/2] RUN npm ci", 100, 450, "context canceled"),
        TraceScript::new().done("d", "[3/3] COPY . .", 0, 12_345),
    ]);
    insta::assert_snapshot!(drawn(&summary(&trace, at(12_400), 60), 60), @r#"
    |[+] Building 12.4s (4/4) FINISHED                           | Plain
    | => CACHED [1/3] FROM alpine                            0.0s| Ended
    | => => WARN: FromAsCasing: 'as' and 'FROM'                  | Warning
    | => [3/3] COPY . .                                     12.3s| Ended
    | => ERROR [2/3] RUN false                               0.3s| Error
    | => CANCELED [web 2/2] RUN npm ci                       0.3s| Warning
    "#);
}

#[test]
fn the_final_table_is_not_finished_while_steps_are_running() {
    let lines = summary(&busy_build(), at(3_200), 60);
    assert_eq!(lines[0].text, "[+] Building 3.2s (2/5)");
}

fn anything() -> impl Strategy<Value = Trace> {
    let name = || prop_oneof!["[a-z 漢🦀\t\u{1b}\n]{0,60}", any::<String>()];
    let vertex = (name(), name(), prop::option::of(0i64..9_000), any::<bool>(), 0i64..500, 0i64..500);
    prop::collection::vec(vertex, 0..30).prop_map(|vertexes| {
        let scripts =
            vertexes.into_iter().enumerate().map(|(index, (name, output, stop, fails, current, total))| {
                let digest = index.to_string();
                let error = if fails { "exit code: 1" } else { "" };
                let script = match stop {
                    Some(stop) => TraceScript::new().failed(&digest, &name, 0, stop, error),
                    None => TraceScript::new().start(&digest, &name, 0),
                };
                script
                    .status(&digest, &output, (current, total), (0, 100), fails)
                    .warning(&digest, &name)
                    .log(&digest, 50, output)
            });
        trace(scripts)
    })
}

proptest! {
    #[test]
    fn a_frame_never_exceeds_the_terminal(trace in anything(), cols in 0usize..120, rows in 0usize..40) {
        let lines = frame(&trace, at(5_000), TerminalSize { cols, rows });
        prop_assert!(lines.len() <= rows);
        for line in lines.iter().chain(&summary(&trace, at(5_000), cols)) {
            prop_assert!(line.text.width() <= cols, "{line:?}");
            prop_assert!(!line.text.chars().any(char::is_control), "{line:?}");
        }
    }
}
