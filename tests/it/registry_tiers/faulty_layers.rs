//! Registries whose layers cannot be fetched: a build stops using them after the first failure.

use super::front::{Fault, RegistryProxy};
use super::{Agent, BuildResult};
use crate::engines::{any_engine, special};
use crate::registries::Registry;

const MISSING: Fault = Fault::Answer(
    "404 Not Found",
    r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#,
);

/// Returns the digest of the layer of the last RUN in the image `tag` of `app`.
fn layer_of_run(registry: &Registry, tag: &str) -> &'static str {
    let manifest: serde_json::Value = serde_json::from_str(&registry.manifest("app", tag)).unwrap();
    let digest = manifest["layers"][2]["digest"].as_str().unwrap().to_owned();
    // The rules of a front need a `'static` string.
    digest.leak()
}

/// Returns the number of steps that the engine reported as `CACHED` in the last solve.
fn cached_for_engine(built: &BuildResult) -> usize {
    let last_solve = built.run.stderr.rsplit("going on without it").next().unwrap_or_default();
    let is_step = |line: &&str| [" RUN ", " COPY "].iter().any(|word| line.contains(word));
    let number = |line: &str| line.split_once(' ').map(|(number, _)| number.to_owned());
    let steps = last_solve.lines().filter(|line| line.starts_with('#')).filter(is_step).filter_map(number);
    let steps: std::collections::BTreeSet<String> = steps.collect();
    let is_cached = |step: &&String| last_solve.contains(&format!("{step} CACHED"));
    steps.iter().filter(is_cached).count()
}

#[test]
fn layers_that_cannot_be_fetched_are_rebuilt_and_not_counted_as_cached() {
    let (from, Some(to)) = (any_engine(), special("guarded")) else { return };
    let faults = [
        (MISSING, "fails to pull the layer"),
        (Fault::Answer("500 Internal Server Error", "{}"), "fails to pull the layer"),
        (Fault::Reset, "fails to pull the layer"),
        (Fault::Stall, "takes longer than building them (10 s)"),
    ];
    std::thread::scope(|scope| {
        for (fault, cause) in faults {
            let (from, to) = (&from, &to);
            scope.spawn(move || {
                let registry = Registry::open();
                let front = RegistryProxy::before(&registry.host);
                let agent = Agent::new(from);
                let name = |tag: &str| format!("{}/app:{tag}", front.host);
                agent.build_of_layers(&["--push", "-t", &name("1")]);
                agent.context.write("app.py", "2\n");
                // This build records how long the steps take.
                agent.other_agent(from, "b").build_of_layers(&["--no-cache", "-t", &name("2")]);
                front.fail("GET", layer_of_run(&registry, "cache"), fault, usize::MAX);
                let built = agent.other_agent(to, "b").build_of_layers(&["--push", "-t", &name("2")]);
                let stderr = &built.run.stderr;
                assert!(stderr.contains("cannot use the layers in the registry"), "{stderr}");
                assert!(stderr.contains(cause), "{cause}: {stderr}");
                let [total, cached, imported] = built.steps();
                assert_eq!((total, imported), (5, 0), "{stderr}");
                assert_eq!(cached, cached_for_engine(&built) as u64, "{stderr}");
                front.heal();
                let again = agent.other_agent(&any_engine(), "c").build(&["--push", "-t", &name("3")]);
                assert!(
                    again.is_hit_in_registry(),
                    "the image was pushed despite the fault: {}",
                    again.run.stderr
                );
            });
        }
    });
}

#[test]
fn an_image_that_cannot_be_pulled_is_built_without_the_layers_of_its_registry() {
    let (from, Some(to)) = (any_engine(), special("guarded")) else { return };
    std::thread::scope(|scope| {
        for fault in [MISSING, Fault::Reset] {
            let (from, to) = (&from, &to);
            scope.spawn(move || {
                let registry = Registry::open();
                let front = RegistryProxy::before(&registry.host);
                let agent = Agent::new(from);
                let repository = format!("{}/app", front.host);
                agent.build(&["--push", "-t", &format!("{repository}:1")]);
                let layer = layer_of_run(&registry, "1");
                front.fail("GET", layer, fault, usize::MAX);
                front.begun();
                let tag = agent.context.tag("app");
                let built = agent.other_agent(to, "b").build(&["--cache-repo", &repository, "-t", &tag]);
                assert!(built.tier("registry").1.contains("cannot pull"), "{}", built.run.stderr);
                assert!(built.tier("layers").1.contains("the registry failed earlier"));
                assert_eq!(built.steps(), [5, 0, 0], "{}", built.run.stderr);
                // A single attempt, where the engine itself would try five times or more.
                let requests = front.begun().iter().filter(|call| call.contains(layer)).count();
                assert!(requests <= 2, "{requests} calls");
            });
        }
    });
}
