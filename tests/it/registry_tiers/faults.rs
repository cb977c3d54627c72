//! Failing registries: the build succeeds, and the cause and a remedy are reported.

use super::front::{Fault, RegistryProxy};
use super::{Agent, tags};
use crate::engines::{any_engine, engines};
use crate::registries::Registry;

/// A fault of a registry, and the cause and the remedy that the build must report.
struct Case {
    method: &'static str,
    path: &'static str,
    fault: Fault,
    cause: &'static str,
    remedy: &'static str,
}

fn answer(head: &'static str, body: &'static str) -> Fault {
    Fault::Answer(head, body)
}

#[test]
fn a_build_succeeds_whatever_a_registry_answers_and_reports_cause_and_remedy() {
    let registry = Registry::open();
    let front = RegistryProxy::before(&registry.host);
    let agent = Agent::new(&any_engine());
    let repository = format!("{}/app", front.host);
    agent.build(&["--push", "-t", &format!("{repository}:1")]);
    let denied = r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
    let expired = r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired."}]}"#;
    let cases = [
        Case {
            method: "GET",
            path: "/manifests/",
            fault: answer("401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"\r\n", "{}"),
            cause: "401 Unauthorized",
            remedy: "docker login",
        },
        Case {
            method: "GET",
            path: "/manifests/",
            fault: answer("403 Forbidden", denied),
            cause: "requested access to the resource is denied",
            remedy: "give this login read and write access",
        },
        Case {
            method: "GET",
            path: "/manifests/",
            fault: answer("403 Forbidden", expired),
            cause: "token has expired",
            remedy: "docker login",
        },
        Case {
            method: "GET",
            path: "/manifests/",
            fault: answer("429 Too Many Requests\r\nretry-after: 600", "{}"),
            cause: "429 Too Many Requests",
            remedy: "fewer jobs",
        },
        Case {
            method: "GET",
            path: "/manifests/",
            fault: answer("500 Internal Server Error", "{}"),
            cause: "500 Internal Server Error",
            remedy: "contact its operator",
        },
        Case {
            method: "GET",
            path: "/blobs/",
            fault: Fault::Corrupt,
            cause: "does not have the requested digest",
            remedy: "push the image again",
        },
        Case {
            method: "GET",
            path: "/blobs/",
            fault: Fault::Reset,
            cause: "cannot reach the registry",
            remedy: "check that",
        },
        Case {
            method: "GET",
            path: "/manifests/larder-",
            fault: Fault::Reset,
            cause: "cannot reach the registry",
            remedy: "check that",
        },
    ];
    for (index, Case { method, path, fault, cause, remedy }) in cases.into_iter().enumerate() {
        front.fail(method, path, fault, usize::MAX);
        let other = agent.other_agent(&any_engine(), &format!("agent-{index}"));
        let tag = agent.context.tag(&format!("case-{index}"));
        let built = other.build(&["--cache-repo", &repository, "-t", &tag]);
        let summary = built.run.stderr.rsplit("\nlarder\n").next().unwrap_or_default().to_owned();
        assert!(built.record["outcome"] == "built", "{cause}: {}", built.run.stderr);
        assert!(built.run.stderr.contains("going on without it"), "{cause}: {}", built.run.stderr);
        assert!(summary.contains(cause) && summary.contains(remedy), "{cause}, {remedy}: {summary}");
        front.heal();
    }
    let strict = agent.other_agent(&any_engine(), "strict");
    front.fail("GET", "/manifests/", answer("403 Forbidden", denied), usize::MAX);
    let (cache, repository) = (strict.path("cache"), format!("{}/app", front.host));
    let arguments = ["build", "--strict", "--cache-dir", &cache, "--cache-repo", &repository, "."];
    strict.context.larder(&arguments).failure(3, "403 Forbidden");
}

#[test]
fn temporary_faults_are_retried() {
    let registry = Registry::open();
    let front = RegistryProxy::before(&registry.host);
    let agent = Agent::new(&any_engine());
    let name = |tag: &str| format!("{}/app:{tag}", front.host);
    agent.build(&["--push", "-t", &name("1")]);
    for (index, fault) in [
        answer("429 Too Many Requests\r\nretry-after: 1", "{}"),
        answer("503 Service Unavailable", "{}"),
        Fault::Reset,
    ]
    .into_iter()
    .enumerate()
    {
        front.fail("GET|PUT", "/manifests/", fault, 2);
        let other = agent.other_agent(&any_engine(), &format!("agent-{index}"));
        let hit = other.build(&["--push", "-t", &name("2")]);
        assert!(hit.is_hit_in_registry(), "{}", hit.run.stderr);
        assert!(!hit.run.stderr.contains("warning"), "{}", hit.run.stderr);
        front.heal();
    }
}

#[test]
fn a_registry_that_is_down_causes_a_warning() {
    let agent = Agent::new(&any_engine());
    // Nothing listens on this port.
    let built = agent.build(&["--cache-repo", "127.0.0.1:9/app", "-t", &agent.context.tag("down")]);
    assert_eq!(built.record["outcome"], "built");
    let (outcome, reason) = built.tier("registry");
    assert_eq!(outcome, "miss");
    assert!(
        reason.contains("cannot reach the registry 127.0.0.1:9; check that 127.0.0.1:9 is up"),
        "{reason}"
    );
}

#[test]
fn immutable_tags_and_a_full_disk_cause_a_warning() {
    for engine in engines() {
        let registry = Registry::open();
        let front = RegistryProxy::before(&registry.host);
        let agent = Agent::new(&engine);
        let immutable = r#"{"errors":[{"code":"TAG_INVALID","message":"The image tag 'cache' already exists in the 'app' repository and cannot be overwritten because the tag is immutable."}]}"#;
        let name = format!("{}/app:1", front.host);
        front.fail(
            "PUT",
            "/manifests/cache",
            answer("400 Bad Request\r\ncontent-type: application/json", immutable),
            usize::MAX,
        );
        let built = agent.build(&["--push", "-t", &name]);
        assert_eq!(built.record["outcome"], "built");
        assert!(
            built.run.stderr.contains("immutable")
                && built.run.stderr.contains("not exported to the registry"),
            "{}: {}",
            engine.name,
            built.run.stderr
        );
        assert!(built.tier("layers").1.contains("be replaced"), "{}", built.run.stderr);
        assert!(!tags(&registry, "app").contains(&"cache".to_owned()));
        front.heal();

        let full = r#"{"errors":[{"code":"UNKNOWN","message":"no space left on device"}]}"#;
        let elsewhere = format!("{}/elsewhere", front.host);
        front.fail(
            "PUT|PATCH|POST",
            "/elsewhere/blobs/uploads",
            answer("500 Internal Server Error\r\ncontent-type: application/json", full),
            usize::MAX,
        );
        let tag = agent.context.tag("full");
        let built = agent.build(&[
            "--cache-repo",
            &elsewhere,
            "-t",
            &tag,
            "--key-extra",
            "full=1",
            "--archive-timeout",
            "6s",
        ]);
        assert_eq!(built.record["outcome"], "built");
        assert!(
            built.run.stderr.contains("not exported to the registry"),
            "{}: {}",
            engine.name,
            built.run.stderr
        );
        assert!(tags(&registry, "elsewhere").is_empty());
    }
}

#[test]
fn a_registry_with_a_full_disk_causes_a_warning_and_has_no_cache() {
    for engine in engines() {
        // The disk is smaller than the only layer of the base image.
        let registry = Registry::on_disk_of(256 << 10);
        let repository = format!("{}/app", registry.host);
        let agent = Agent::new(&engine);
        let tag = agent.context.tag("full");
        let caches = ["--cache-repo", &repository, "-t", &tag, "--archive-timeout", "4s"];
        let built = agent.build(&caches);
        assert_eq!(built.record["outcome"], "built");
        let (_, reason) = built.tier("layers");
        assert!(
            reason.contains("not exported to the registry") && reason.contains("; "),
            "{}: {reason}",
            engine.name
        );
        assert!(built.run.stderr.contains("going on without it"), "{}: {}", engine.name, built.run.stderr);
        assert!(tags(&registry, "app").is_empty(), "{}", engine.name);
        let other = agent.other_agent(&engine, "b").build(&[&caches[..], &["--read-only"]].concat());
        assert!(other.tier("layers").1.contains("has no cache yet"), "{}: {}", engine.name, other.run.stderr);
    }
}

#[test]
fn an_image_with_damaged_layers_is_rebuilt() {
    for engine in engines() {
        let registry = Registry::open();
        let front = RegistryProxy::before(&registry.host);
        let agent = Agent::new(&engine);
        let repository = format!("{}/app", front.host);
        agent.build(&["--push", "-t", &format!("{repository}:1")]);
        let other = engines().into_iter().find(|other| other.name != engine.name).unwrap_or(engine.clone());
        registry.damage_layers();
        let agent = agent.other_agent(&other, "b");
        let tag = agent.context.tag("damaged");
        let built = agent.build(&["--cache-repo", &repository, "--tiers", "engine,registry", "-t", &tag]);
        assert_eq!(
            built.record["outcome"], "built",
            "{} to {}: {}",
            engine.name, other.name, built.run.stderr
        );
        let (outcome, reason) = built.tier("registry");
        assert!(outcome == "miss" && reason.contains("cannot pull"), "{reason}");
    }
}
