//! Named contexts that are directories: which edits count.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::context_edits::cached;
use super::edit::Edit::{self, Mode, Overwrite, Plant, Replace};
use super::edit::create_entries;
use crate::engines::builders;
use crate::support::{BUSYBOX, TestContext};

const DATA: &str = "d/x\nd/x.md\nd/sub/y\nother\nlink -> d\n.dockerignore = *.log\na.log";

/// Name, step that copies from the context `data`, edit of that context, and `true` if the edit counts.
const CASES: &[(&str, &str, Edit, bool)] = &[
    ("a file's content", "COPY --from=data d/x /%/", Overwrite("d/x"), true),
    ("a different file", "COPY --from=data d/x /%/", Overwrite("other"), false),
    ("a directory's file", "COPY --from=data d /%/", Overwrite("d/sub/y"), true),
    ("a directory's mode", "COPY --from=data d /%/", Mode("d", 0o700), true),
    ("beside a directory", "COPY --from=data d /%/", Plant("new/"), false),
    ("no match", "COPY --from=data d/*.md /%/", Overwrite("d/x"), false),
    ("behind a link", "COPY --from=data link/x /%/", Overwrite("d/x"), true),
    ("an excluded file", "COPY --from=data --exclude=*.md d /%/", Overwrite("d/x.md"), false),
    ("everything", "COPY --from=data . /%/", Overwrite("other"), true),
    ("a file that its own ignore file excludes", "COPY --from=data . /%/", Overwrite("a.log"), false),
    (
        "a file that its own ignore file no longer excludes",
        "COPY --from=data a* /%/",
        Replace(".dockerignore", ".dockerignore = *.md"),
        true,
    ),
    ("a mounted directory", "RUN --mount=from=data,source=d,target=/m : %", Overwrite("d/x"), true),
    ("beside a mounted directory", "RUN --mount=from=data,source=d,target=/m : %", Overwrite("other"), false),
    ("a file of the context that replaces a stage", "COPY --from=stage d /%/", Overwrite("d/x"), true),
    ("a different file of that context", "COPY --from=stage d /%/", Overwrite("other"), false),
];

#[test]
fn the_key_counts_the_same_edits_of_a_named_context_as_the_engine() {
    let mut wrong = Vec::new();
    for engine in builders().iter().filter(|engine| engine.major() > 20) {
        for (what, step, edit, counts) in CASES {
            let context = TestContext::new(engine);
            let data = context.path(&context.tag("data").replace(['/', ':'], "-"));
            fs::create_dir(&data).unwrap();
            create_entries(&data, DATA);
            let name = if step.contains("stage") { "stage" } else { "data" };
            let step = step.replace('%', &context.tag("x").replace(['/', ':'], "-"));
            context.write(
                "Dockerfile",
                format!("FROM {BUSYBOX} AS stage\nRUN false\nFROM {BUSYBOX} AS c0\n{step}\n"),
            );
            // The ignore file of the main context does not apply.
            context.write(".dockerignore", "d\nother\n");
            let given = |place: &Path| format!("{name}={}", place.display());
            let key = |place: &Path| {
                let arguments = ["key", "--format", "json", "--build-context", &given(place), "."];
                let key: Value = serde_json::from_str(&context.larder(&arguments).success().stdout).unwrap();
                key["image_key"].as_str().unwrap().to_owned()
            };
            let before = key(&data);
            cached(engine, &context, &context.project(), &["--build-context", &given(&data)]);
            edit.apply(&data, ".");
            // The directory is renamed, so that BuildKit receives all of it again.
            let elsewhere = data.with_extension("again");
            fs::rename(&data, &elsewhere).unwrap();
            if (before != key(&elsewhere)) != *counts {
                wrong.push(format!("the key is wrong about {what} ({step})"));
            }
            let project = context.path(&format!("again-{}", data.file_name().unwrap().display()));
            fs::rename(context.project(), &project).unwrap();
            let cached = cached(engine, &context, &project, &["--build-context", &given(&elsewhere)]);
            if cached.contains(&0) == *counts {
                let state = if *counts { "cached" } else { "not cached" };
                wrong.push(format!("{}: {what} is {state} ({step})", engine.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
