//! Prefixes that cannot be used: the image is built without them, and the record of the tier has the reason.

use std::time::{Duration, Instant};

use super::super::front::Fault;
use super::{Project, every_engine};

const MISSING: Fault = Fault::Answer(
    "404 Not Found",
    r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#,
);

/// The time limit for a build with a broken prefix on a busy machine. A normal build takes a few seconds.
const BOUND: Duration = Duration::from_secs(40);

/// Damage to a prefix, and the reason that the record must contain.
struct Case {
    name: &'static str,
    damage: fn(&Project),
    reason: &'static str,
}

fn digest(project: &Project, pointer: &str) -> String {
    project.prefix().pointer(pointer).and_then(serde_json::Value::as_str).expect("a digest").to_owned()
}

fn last_layer(project: &Project) -> String {
    let last = project.prefix()["layers"].as_array().map_or(0, Vec::len) - 1;
    digest(project, &format!("/layers/{last}/digest"))
}

fn fail_layer(project: &Project, fault: Fault) {
    // The rules of a front need a `'static` string.
    project.front.fail("GET", last_layer(project).leak(), fault, usize::MAX);
}

#[test]
fn a_prefix_that_cannot_be_used_is_detected_and_the_image_is_built_without_it() {
    let cases = [
        Case {
            name: "tag removed",
            damage: |project| {
                project.prefix_tags().iter().for_each(|tag| project.registry.remove_tag("app", tag));
            },
            reason: "has no prefix of this image",
        },
        Case {
            name: "config removed",
            damage: |project| project.registry.remove_blob(&digest(project, "/config/digest")),
            reason: "the config of the image is missing",
        },
        Case {
            name: "tag moved",
            damage: |project| {
                project.prefix_tags().iter().for_each(|tag| project.registry.move_tag("app", tag, "a"));
            },
            reason: "was moved to a different image",
        },
        Case {
            name: "layer removed",
            damage: |project| project.registry.remove_blob(&last_layer(project)),
            reason: "the build cannot continue from",
        },
        Case {
            name: "different content",
            damage: |project| fail_layer(project, Fault::Corrupt),
            reason: "the build cannot continue from",
        },
        Case {
            name: "truncated",
            damage: |project| fail_layer(project, Fault::Reset),
            reason: "the build cannot continue from",
        },
        Case {
            name: "refused",
            damage: |project| fail_layer(project, MISSING),
            reason: "the build cannot continue from",
        },
        Case {
            name: "hangs",
            damage: |project| fail_layer(project, Fault::Stall),
            reason: "received no data of a layer for 5 s",
        },
    ];
    let all = every_engine();
    std::thread::scope(|scope| {
        for (index, from) in all.iter().enumerate() {
            let (to, cases) = (&all[(index + 1) % all.len()], &cases);
            scope.spawn(move || {
                for Case { name, damage, reason } in cases {
                    let case = format!("{name}, {} to {}", from.name, to.name);
                    let project = Project::published(from);
                    damage(&project);
                    let agent = project.agent(to, "b");
                    // This build records how long the steps take.
                    let known = project.name(&agent.name);
                    let steps_run = ["--tiers", "engine", "--no-cache", "-t", &known];
                    project.agent(from, "b").build(&steps_run);
                    let clock = Instant::now();
                    let built = project.push(&agent, &[]);
                    let took = clock.elapsed();
                    let (outcome, recorded) = built.tier("prefix");
                    let stderr = &built.run.stderr;
                    println!("{case}: {took:?}: {outcome}: {recorded}");
                    assert!(outcome == "miss" && recorded.contains(reason), "{case}: {recorded}: {stderr}");
                    assert!(took < BOUND, "{case}: {took:?}: {stderr}");
                    assert_eq!(built.record["outcome"], "built", "{case}: {stderr}");
                    assert_eq!(built.steps()[0], 4, "{case}: {stderr}");
                    project.front.heal();
                    project.first.context.write("app.py", "3\n");
                    let next = project.push(&project.agent(from, "c"), &[]);
                    assert_eq!(next.tier("prefix").0, "hit", "{case}: {}", next.run.stderr);
                }
            });
        }
    });
}
