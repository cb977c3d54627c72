//! Builds that succeed: a hit in each tier, and options that change what a build does.

use super::record::{Scenario, recorded_engine};
use crate::support::BUSYBOX;

const OLD: &str = "docker-20.10";
const CONTAINERD: &str = "docker-28.5-containerd";

#[test]
fn a_miss_and_a_hit_in_the_engine() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let tag = scenario.context.tag("app");
    scenario.larder(&["build", "-t", &tag, "."]).larder(&["build", "-t", &tag, "."]);
    scenario.context.write("app.py", "2\n");
    scenario.larder(&["build", "-t", &tag, "."]);
    scenario.compare("a_miss_and_a_hit_in_the_engine");
}

#[test]
fn a_push_and_a_hit_in_the_registry() {
    for (name, recording) in [(OLD, "registry"), (CONTAINERD, "registry_containerd")] {
        let Some(engine) = recorded_engine(name) else { return };
        let mut scenario = Scenario::new(&engine).with_registry();
        let [one, two, three] = ["1", "2", "3"].map(|tag| scenario.name(tag));
        scenario.larder(&["build", "--push", "-t", &one, "."]);
        scenario.as_agent("b").larder(&["build", "--push", "-t", &two, "."]);
        scenario.context.write("app.py", "2\n");
        scenario.as_agent("c").larder(&["build", "--push", "-t", &three, "."]);
        scenario.compare(recording);
    }
}

#[test]
fn an_archived_image_is_loaded_again() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let tag = scenario.context.tag("app");
    scenario.larder(&["build", "--enable-cache", "-t", &tag, "."]);
    assert!(engine.docker().args(["rmi", "-f", &tag]).output().unwrap().status.success());
    scenario.larder(&["build", "-t", &tag, "."]);
    scenario.compare("an_archived_image_is_loaded_again");
}

#[test]
fn a_remote_store_has_the_image_of_a_different_agent() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine).with_store();
    let tag = scenario.context.tag("app");
    scenario.larder(&["build", "-t", &tag, "."]);
    assert!(engine.docker().args(["rmi", "-f", &tag]).output().unwrap().status.success());
    scenario.as_agent("b").larder(&["build", "-t", &tag, "."]);
    scenario.compare("a_remote_store_has_the_image_of_a_different_agent");
}

#[test]
fn cache_mounts_are_saved_and_restored() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let tag = scenario.context.tag("app");
    let dockerfile = |step: &str| {
        format!(
            "FROM {BUSYBOX}\nCOPY requirements.txt /\nRUN --mount=type=cache,id={tag},target=/root/.cache/pip {step}\n"
        )
    };
    scenario.context.write("Dockerfile", dockerfile("echo 1 > /root/.cache/pip/a.whl"));
    scenario.larder(&["build", "-t", &tag, "."]);
    scenario.context.write("requirements.txt", format!("{tag} 2\n"));
    scenario.larder(&["build", "-t", &tag, "."]);
    scenario.context.write("Dockerfile", dockerfile("echo 2 > /root/.cache/pip/b.whl; false"));
    scenario.larder(&["build", "-t", &tag, "."]);
    scenario.larder(&["build", "--progress", "json", "-t", &tag, "."]);
    scenario.compare("cache_mounts_are_saved_and_restored");
}

#[test]
fn a_base_image_is_built_first() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine).with_registry();
    let (tag, repository) = (scenario.name("1"), format!("{}/base", scenario.front().host));
    let mark = scenario.context.tag("mark");
    scenario
        .context
        .write("Dockerfile.base", format!("FROM {BUSYBOX}\nCOPY requirements.txt /\nRUN echo {mark}\n"))
        .write("Dockerfile", "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY app.py /\n");
    let build = ["build", "--base", "Dockerfile.base", "--base-repo", &repository, "--push", "-t", &tag, "."];
    scenario.larder(&build);
    scenario.context.write("app.py", "2\n");
    scenario.as_agent("b").larder(&build);
    scenario.compare("a_base_image_is_built_first");
}

#[test]
fn several_images_of_larder_yaml() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let (one, two) = (scenario.context.tag("one"), scenario.context.tag("two"));
    let file = format!(
        "images:\n  one: {{ names: [\"{one}\"] }}\n  two: {{ names: [\"{two}\"], target: wheels }}\n"
    );
    scenario.context.write("larder.yaml", file);
    // The order of the lines of a parallel build varies, so each image is recorded separately.
    for name in ["one", "two"] {
        scenario.larder(&["build", name]);
    }
    let run = scenario.context.larder(&["build", "one", "two"]).success();
    for name in ["one", "two"] {
        assert!(run.stderr.contains(&format!("{name} | ")), "{}", run.stderr);
    }
    scenario.compare("several_images_of_larder_yaml");
}

#[test]
fn several_engines_run_an_image() {
    let (Some(engine), Some(other)) = (recorded_engine(OLD), recorded_engine(CONTAINERD)) else { return };
    let mut scenario = Scenario::new(&engine);
    let tag = scenario.context.tag("app");
    let hosts = ["--host", &engine.host, "--host", &other.host];
    let run = [&["run"], &hosts[..], &["-t", &tag, ".", "--", "cat", "/app.py"]].concat();
    scenario.larder(&run);
    scenario.compare("several_engines_run_an_image");
}

#[test]
fn several_platforms_are_one_image() {
    let Some(engine) = recorded_engine(CONTAINERD) else { return };
    let mut scenario = Scenario::new(&engine).with_registry();
    for platform in ["amd64", "arm64"] {
        scenario.context.write(&format!("app-{platform}"), scenario.context.tag(platform));
    }
    scenario.context.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY app-${TARGETARCH} /app\n");
    let tag = scenario.name("1");
    let build = ["build", "--push", "--platform", "linux/amd64,linux/arm64", "-t", &tag, "."];
    scenario.larder(&build);
    scenario.as_agent("b").larder(&build);
    scenario.compare("several_platforms_are_one_image");
}

#[test]
fn every_step_runs_again() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let tag = scenario.context.tag("app");
    scenario.larder(&["build", "-t", &tag, "."]);
    for flag in ["--force-rebuild", "--no-cache", "--max-age=1ms"] {
        scenario.larder(&["build", flag, "-t", &tag, "."]);
    }
    scenario.compare("every_step_runs_again");
}

#[test]
fn disabled_and_read_only_tiers_are_not_written() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine).with_registry().with_store();
    let (one, two) = (scenario.name("1"), scenario.name("2"));
    scenario.larder(&["build", "--read-only", "--push", "-t", &one, "."]);
    scenario.larder(&["build", "--tiers", "layers", "--push", "-t", &two, "."]);
    scenario.larder(&["build", "--enable-cache=false", "-t", &two, "."]);
    scenario.compare("disabled_and_read_only_tiers_are_not_written");
}

#[test]
fn results_other_than_an_image() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let tag = scenario.context.tag("app");
    scenario.larder(&["build", "-o", "../out", "."]);
    scenario.larder(&["build", "-q", "--iidfile", "../iid", "-t", &tag, "."]);
    scenario.larder(&["build", "--progress", "quiet", "-t", &tag, "."]);
    scenario.larder(&["build", "--progress", "json", "-t", &tag, "."]);
    let id = std::fs::read_to_string(scenario.context.path("iid")).unwrap();
    assert_eq!(engine.inspect(&tag)["Id"], id);
    scenario.compare("results_other_than_an_image");
}

#[test]
fn an_image_whose_inputs_changed_during_the_build_is_not_cached() {
    let Some(engine) = recorded_engine(OLD) else { return };
    let mut scenario = Scenario::new(&engine);
    let mark = scenario.context.tag("mark");
    scenario
        .context
        .write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY app.py /\nRUN echo {mark}; sleep 4\n"));
    let tag = scenario.context.tag("app");
    let arguments = ["build", "-t", &tag, "."];
    let running = crate::running::Running::start(&mut scenario.command(&arguments));
    running.await_stderr("RUN echo");
    scenario.context.write("app.py", "2\n");
    let run = running.end(std::time::Duration::from_mins(1));
    scenario.record(&arguments, &run);
    scenario.compare("an_image_whose_inputs_changed_during_the_build_is_not_cached");
}
