//! Builds that fail or are interrupted, each at a different stage.

use std::time::Duration;

use super::record::{Scenario, recorded_engine};
use crate::polling::await_true;
use crate::registry_tiers::front::Fault;
use crate::support::BUSYBOX;

const OLD: &str = "docker-20.10";

#[test]
fn a_step_fails() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let tag = scenario.context.tag("app");
    scenario.context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY app.py /\nRUN echo no; exit 3\n"));
    scenario.larder(&["build", "-t", &tag, "."]);
    scenario.compare("a_step_fails");
}

#[test]
fn a_dockerfile_has_an_error() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    scenario.larder(&["build", "--target", "weels", "."]);
    scenario.context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUNN echo\n"));
    scenario.larder(&["build", "."]);
    scenario.larder(&["build", "--metadata-file", "none/metadata.json", "."]);
    scenario.larder(&["build", "--file", "Dockerfil", "."]);
    scenario.compare("a_dockerfile_has_an_error");
}

#[test]
fn a_step_takes_too_long() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let mark = scenario.context.tag("mark");
    scenario.context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN echo {mark}; sleep 60\n"));
    scenario.larder(&["build", "--timeout", "3s", "."]);
    scenario.compare("a_step_takes_too_long");
}

#[test]
fn an_interrupt_while_a_step_runs() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let mark = scenario.context.tag("mark");
    let mount = format!("--mount=type=cache,id={mark},target=/c");
    scenario
        .context
        .write("Dockerfile", format!("FROM {BUSYBOX}\nRUN {mount} echo {mark} > /c/a; sleep 60\n"));
    scenario.interrupted(&["build", "."], |running| running.await_stderr("RUN --mount"));
    scenario.compare("an_interrupt_while_a_step_runs");
}

/// Records a build that is interrupted while the registry stalls in its answer to a call of `method` and `path`.
fn record_interrupt_of_stalled_call(
    method: &'static str,
    path: &'static str,
    recording: &str,
    arguments: &[&str],
) {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine).with_registry();
    let tag = scenario.name("1");
    scenario.front().fail(method, path, Fault::Stall, 100);
    let all = [&["build", "-t", &tag], arguments, &["."]].concat();
    let host = scenario.front().host.clone();
    let begun = scenario.front().begun_handle();
    scenario.interrupted(&all, |_| {
        await_true(Duration::from_secs(30), &host, || {
            begun.lock().unwrap().iter().any(|line| {
                let (called, rest) = line.split_once(' ').unwrap_or_default();
                method.split('|').any(|one| one == called) && rest.contains(path)
            })
        });
        // Waits until the answer is on its way.
        std::thread::sleep(Duration::from_millis(300));
    });
    scenario.compare(recording);
}

#[test]
fn an_interrupt_while_a_registry_is_queried() {
    record_interrupt_of_stalled_call(
        "GET|HEAD",
        "/manifests/larder-",
        "an_interrupt_while_a_registry_is_queried",
        &["--push"],
    );
}

#[test]
fn an_interrupt_while_layer_caches_are_queried() {
    record_interrupt_of_stalled_call(
        "GET|HEAD",
        "/manifests/cache",
        "an_interrupt_while_layer_caches_are_queried",
        &["--push"],
    );
}

#[test]
fn an_interrupt_while_the_image_is_pushed() {
    record_interrupt_of_stalled_call(
        "POST",
        "/blobs/uploads/",
        "an_interrupt_while_the_image_is_pushed",
        &["--push"],
    );
}

#[test]
fn an_interrupt_while_layers_are_exported() {
    record_interrupt_of_stalled_call(
        "PUT",
        "/manifests/cache",
        "an_interrupt_while_layers_are_exported",
        &["--push"],
    );
}

#[test]
fn an_interrupt_while_the_image_is_archived() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine).with_store();
    let tag = scenario.context.tag("app");
    scenario.store_front().fail("PUT", "/chunks/", Fault::Stall, 100);
    let begun = scenario.store_front().begun_handle();
    scenario.interrupted(&["build", "-t", &tag, "."], |_| {
        await_true(Duration::from_secs(30), "a chunk is sent", || {
            begun.lock().unwrap().iter().any(|line| line.starts_with("PUT") && line.contains("/chunks/"))
        });
    });
    scenario.compare("an_interrupt_while_the_image_is_archived");
}
