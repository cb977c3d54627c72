//! Failures of the engine: a full disk, and base images that it cannot pull.

use std::time::Duration;

use crate::engines::{engines, special};
use crate::polling::await_true;
use crate::support::{BUSYBOX, TestContext};

#[test]
fn a_full_disk_of_the_engine_is_reported_with_a_remedy_and_later_builds_work() {
    let Some(engine) = special("small") else { return };
    let context = TestContext::new(&engine);
    let full = |context: &TestContext| {
        let run = context.larder(&["build", "."]).failure(1, "no space left on device");
        run.hint("docker builder prune");
    };
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN dd if=/dev/zero of=/big bs=1M count=200\n"));
    full(&context);
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY big /\n")).write("big", vec![1; 130 << 20]);
    full(&context);
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN echo small > /small\n")).write("big", "");
    // The engine removes the data of the failed build with a delay.
    let builds = || context.larder(&["build", "--no-cache", "."]).code == 0;
    await_true(Duration::from_secs(30), "a small build works again", builds);
}

#[test]
fn the_error_for_a_base_image_that_cannot_be_pulled_names_it() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        context.write("Dockerfile", "FROM registry.invalid/team/app:1\nRUN true\n");
        let run =
            context.larder(&["build", "."]).failure(1, "the engine cannot get registry.invalid/team/app:1: ");
        let run = run.hint("network");
        let cause = run.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(!cause.contains("failed to resolve source metadata"), "{cause}");
        context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY --from=registry.invalid/other /a /b\n"));
        context
            .larder(&["build", "."])
            .failure(1, "the engine cannot get registry.invalid/other")
            .hint("network");
    }
}
