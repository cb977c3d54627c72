//! Tests of the plain format.

use proptest::prelude::*;

use super::super::ProgressDisplay;
use super::super::captured::CapturedOutput;
use super::*;
use crate::buildkit::trace::testing::{TraceScript, at};
use crate::pipeline::reporter::StepProgress as _;

/// Passes messages to a display at the given times in milliseconds; `None` is a tick.
fn rendered(events: impl IntoIterator<Item = (i64, Option<TraceScript>)>) -> String {
    let captured = CapturedOutput::default();
    let renderer = Box::new(PlainRenderer::default());
    let mut display = Box::new(ProgressDisplay::new(renderer, captured.boxed()));
    let mut last = 0;
    for (millis, script) in events {
        last = millis;
        match script {
            Some(script) => display.update(script.update(), at(millis)),
            None => display.tick(at(millis)),
        }
    }
    display.finish(at(last));
    captured.text()
}

const CONTEXT: &str = "[internal] load build context";
const PIP: &str = "[2/3] RUN pip install";
const NPM: &str = "[web 2/2] RUN npm ci";

#[test]
fn a_build_is_printed_in_the_format_of_docker() {
    let text = rendered([
        (0, Some(TraceScript::new().announce("r", PIP).start("c", CONTEXT, 0))),
        (90, Some(TraceScript::new().status("c", "transferring context:", (1_200_000, 0), (0, 90), true))),
        (100, Some(TraceScript::new().done("c", CONTEXT, 0, 100))),
        (110, Some(TraceScript::new().cached("f", "[1/3] FROM docker.io/library/python", 110))),
        (120, Some(TraceScript::new().start("r", PIP, 120))),
        (
            532,
            Some(TraceScript::new().log("r", 532, "Collecting flask\n").log_on(
                2,
                "r",
                540,
                "WARNING: root\n",
            )),
        ),
        (900, Some(TraceScript::new().warning("r", "SecretsUsedInArgOrEnv: no secrets in ARG"))),
        (12_000, Some(TraceScript::new().log("r", 11_000, "Installing").log("r", 12_000, "...\n"))),
        (
            13_000,
            Some(TraceScript::new().failed("r", PIP, 120, 13_000, "process \"/bin/sh -c pip\" exit code: 1")),
        ),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn concurrent_steps_take_turns() {
    let text = rendered([
        (0, Some(TraceScript::new().start("r", PIP, 0).start("n", NPM, 0))),
        (100, Some(TraceScript::new().log("r", 100, "pip 1\n").log("n", 100, "npm 1\n"))),
        (800, Some(TraceScript::new().log("r", 800, "pip 2\n"))),
        // pip has been silent for a second, so npm gets the turn,
        (1_900, None),
        (2_000, Some(TraceScript::new().log("n", 2_000, "npm 2\n").log("r", 2_000, "pip 3\n"))),
        (2_900, Some(TraceScript::new().log("n", 2_900, "npm 3\n"))),
        (3_800, Some(TraceScript::new().log("n", 3_800, "npm 4\n"))),
        (4_700, Some(TraceScript::new().log("n", 4_700, "npm 5\n"))),
        (5_600, Some(TraceScript::new().log("n", 5_600, "npm 6\n"))),
        (6_500, Some(TraceScript::new().log("n", 6_500, "npm 7\n"))),
        // but keeps it for five seconds only.
        (7_000, None),
        (7_100, Some(TraceScript::new().done("n", NPM, 0, 7_100))),
        (7_200, Some(TraceScript::new().done("r", PIP, 0, 7_200))),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn a_started_step_without_output_does_not_interrupt_a_running_one() {
    let text = rendered([
        (0, Some(TraceScript::new().start("r", PIP, 0))),
        (2_000, Some(TraceScript::new().start("n", NPM, 2_000))),
        (4_900, None),
    ]);
    // The second step is shown only at the end, with all delayed output.
    assert_eq!(text, "#1 [2/3] RUN pip install\n#1 ...\n\n#2 [web 2/2] RUN npm ci\n");
}

#[test]
fn cancelled_and_cached_steps_are_labelled() {
    let text = rendered([
        (0, Some(TraceScript::new().start("r", PIP, 0).cached("n", NPM, 0).log("r", 5, "cut o"))),
        (50, Some(TraceScript::new().failed("r", PIP, 0, 50, "failed to solve: context canceled"))),
    ]);
    insta::assert_snapshot!(text, @r#"
    #1 [web 2/2] RUN npm ci
    #1 CACHED

    #2 [2/3] RUN pip install
    #2 0.005 cut o
    #2 CANCELED
    "#);
}

#[test]
fn a_transfer_is_shown_again_after_a_twentieth_or_five_seconds() {
    let layer = |current, millis, over| {
        Some(TraceScript::new().status("f", "sha256:abc", (current, 1_000_000), (0, millis), over))
    };
    let text = rendered([
        (0, Some(TraceScript::new().start("f", "[1/3] FROM alpine", 0))),
        (100, layer(10_000, 100, false)),
        (200, layer(20_000, 200, false)),
        (300, layer(60_000, 300, false)),
        (400, layer(61_000, 400, false)),
        (5_300, layer(62_000, 5_300, false)),
        (5_400, layer(1_000_000, 5_400, true)),
        (5_500, Some(TraceScript::new().done("f", "[1/3] FROM alpine", 0, 5_500))),
    ]);
    insta::assert_snapshot!(text, @r#"
    #1 [1/3] FROM alpine
    #1 sha256:abc 10.00kB / 1.00MB 0.1s
    #1 sha256:abc 60.00kB / 1.00MB 0.3s
    #1 sha256:abc 62.00kB / 1.00MB 5.3s
    #1 sha256:abc 1.00MB / 1.00MB 5.4s done
    #1 DONE 5.5s
    "#);
}

#[test]
fn a_row_that_outlives_its_vertex_repeats_the_end_only_once() {
    let import = "importing cache manifest from registry.example/app:cache";
    let row = |current, millis, over| {
        Some(TraceScript::new().status("i", "sha256:abc", (current, 100), (0, millis), over))
    };
    let text = rendered([
        (0, Some(TraceScript::new().done("i", import, 0, 100))),
        (200, row(10, 200, false)),
        (300, row(50, 300, false)),
        (400, row(100, 400, true)),
    ]);
    insta::assert_snapshot!(text, @r#"
    #1 importing cache manifest from registry.example/app:cache
    #1 DONE 0.1s

    #1 importing cache manifest from registry.example/app:cache
    #1 sha256:abc 10B / 100B 0.2s
    #1 sha256:abc 50B / 100B 0.3s
    #1 sha256:abc 100B / 100B 0.4s done
    #1 DONE 0.1s
    "#);
}

#[test]
fn only_the_last_state_of_a_progress_bar_is_printed() {
    let text = rendered([
        (0, Some(TraceScript::new().start("r", PIP, 0))),
        (100, Some(TraceScript::new().log("r", 100, "\r 10%").log("r", 200, "\r 50%"))),
        (300, Some(TraceScript::new().log("r", 300, "\r100%\r").log("r", 400, "\nok\r\n"))),
    ]);
    assert_eq!(text, "#1 [2/3] RUN pip install\n#1 0.300 100%\n#1 0.400 ok\n");
}

#[test]
fn a_vertex_that_runs_again_gets_a_new_block_with_the_same_number() {
    let text = rendered([
        (0, Some(TraceScript::new().done("r", PIP, 0, 100))),
        (200, Some(TraceScript::new().done("n", NPM, 100, 200))),
        (300, Some(TraceScript::new().cached("r", PIP, 300))),
    ]);
    insta::assert_snapshot!(text, @r#"
    #1 [2/3] RUN pip install
    #1 DONE 0.1s

    #2 [web 2/2] RUN npm ci
    #2 DONE 0.1s

    #1 [2/3] RUN pip install
    #1 CACHED
    "#);
}

proptest! {
    #[test]
    fn the_split_points_of_the_output_do_not_matter(
        text in "[a-c€\u{1b}\r\n]{0,80}", cuts in prop::collection::vec(0usize..240, 0..8)
    ) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let start = || (0, Some(TraceScript::new().start("r", PIP, 0)));
        let end = || (500, Some(TraceScript::new().done("r", PIP, 0, 500)));
        let log = |bytes: &[u8]| (100, Some(TraceScript::new().log("r", 100, bytes)));
        let pieces = cuts.windows(2).map(|pair| log(&bytes[pair[0]..pair[1]]));
        let split = rendered([start()].into_iter().chain(pieces).chain([end()]));
        prop_assert_eq!(split, rendered([start(), log(bytes), end()]));
    }
}
