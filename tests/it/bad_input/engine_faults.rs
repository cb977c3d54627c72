//! What goes wrong in the engine: its disk, its network.

use std::time::Duration;

use crate::engines::{engines, special};
use crate::support::{BUSYBOX, TestContext};
use crate::waiting::await_true;

#[test]
fn a_full_disk_in_the_engine_is_named_with_what_frees_it_and_heals() {
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
    // The engine removes what the failed build left a little later.
    let builds = || context.larder(&["build", "--no-cache", "."]).code == 0;
    await_true(Duration::from_secs(30), "a small build works again", builds);
}

#[test]
fn a_base_image_that_cannot_be_pulled_is_named() {
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
