//! Pushes with `--push-with larder`: images of graph drivers, whose layers larder itself compresses and uploads.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::engines::{Engine, builders, every_engine};
use crate::polling::await_true;
use crate::registries::Registry;
use crate::registry_tiers::front::{Fault, RegistryProxy};
use crate::running::Running;
use crate::support::{BUSYBOX, Run, TestContext, run_to_end};

/// Part of the warning that larder prints when it leaves a push to the engine.
const FALLBACK: &str = "is pushed by the engine, because larder could not";

/// Creates a project with two layers, one of which has three megabytes of incompressible data.
fn project(engine: &Engine) -> TestContext {
    let context = TestContext::new(engine);
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u8::try_from(state >> 24).unwrap()
    });
    let noise: Vec<u8> = noise.take(3_000_000).collect();
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN echo {} > /made && ln -s made /link && mkfifo /pipe\nCOPY data /data\nCMD cat /made\n",
        context.tag("mark")
    );
    context.write("data", noise).write("Dockerfile", dockerfile);
    context
}

/// Returns a command that runs `larder build --push --push-with larder` with this image name.
fn push(context: &TestContext, name: &str, more: &[&str]) -> Command {
    let cache = context.path("cache").to_string_lossy().into_owned();
    // Without the graft tier: a graft leaves no layers to push.
    let tiers = "engine,registry,prefix,layers,mounts";
    let own =
        ["build", "--cache-dir", &cache, "--tiers", tiers, "--push", "--push-with", "larder", "-t", name];
    context.command(&[&own[..], more, &["."]].concat())
}

/// Runs a command as the last arguments of an outer command.
fn run_inside(outer: &[&str], command: &Command) -> Run {
    let mut outer_command = Command::new(outer[0]);
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    outer_command
        .args(&outer[1..])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(variables)
        .current_dir(command.get_current_dir().unwrap());
    run_to_end(&mut outer_command, None)
}

/// Runs a command in its own mount namespace, after the shell command `mount` has changed the mounts there.
fn run_with_mount(mount: &str, command: &Command) -> Run {
    let script = format!("{mount} && exec \"$@\"");
    run_inside(&["unshare", "-m", "sh", "-c", &script, "sh"], command)
}

fn data_root(engine: &Engine) -> String {
    let output = engine.docker().args(["info", "--format", "{{.DockerRootDir}}"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn manifest(registry: &Registry, tag: &str) -> Value {
    serde_json::from_str(&registry.manifest("app", tag)).unwrap()
}

/// Pulls an image into an engine that does not have it, runs a program in it, and removes it.
fn pull_and_run(engine: &Engine, name: &str, data: &[u8]) {
    let docker = |arguments: &[&str]| {
        let output = engine.docker().args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{}: {arguments:?}: {}",
            engine.name,
            String::from_utf8_lossy(&output.stderr)
        );
    };
    docker(&["pull", name]);
    docker(&["run", "--rm", name, "test", "-p", "/pipe", "-a", "-L", "/link"]);
    assert!(engine.read(name, "/data") == data, "{}", engine.name);
    docker(&["rmi", name]);
}

#[test]
fn a_pushed_image_keeps_its_id_has_a_digest_and_runs_on_every_engine() {
    for engine in builders() {
        let registry = Registry::open();
        let context = project(&engine);
        let name = format!("{}/app:1", registry.host);
        let run = run_to_end(&mut push(&context, &name, &[]), None).success();
        assert!(!run.stderr.contains(FALLBACK), "{}: {}", engine.name, run.stderr);
        assert!(run.stderr.contains("3 layers sent, 0 already there"), "{}", run.stderr);
        let image = engine.inspect(&name);
        let manifest = manifest(&registry, "1");
        assert_eq!(manifest["config"]["digest"], image["Id"]);
        assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
        for layer in manifest["layers"].as_array().unwrap() {
            assert_eq!(layer["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
        }
        let digests = image["RepoDigests"].to_string();
        assert!(digests.contains(&format!("{}/app@sha256:", registry.host)), "{}: {digests}", engine.name);
        let data = std::fs::read(context.project().join("data")).unwrap();
        for other in every_engine().iter().filter(|other| other.name != engine.name) {
            pull_and_run(other, &name, &data);
        }
    }
}

#[test]
fn the_pushed_bytes_do_not_depend_on_the_number_of_cores_or_on_how_layers_are_read() {
    for engine in builders() {
        let registry = Registry::open();
        let context = project(&engine);
        let name = |tag: &str| format!("{}/app-{tag}:1", registry.host);
        let hidden = format!("mount -t tmpfs larder-test {}", data_root(&engine));
        let runs = [
            run_to_end(&mut push(&context, &name("all"), &[]), None),
            run_inside(&["taskset", "-c", "0"], &push(&context, &name("one"), &[])),
            run_with_mount(&hidden, &push(&context, &name("saved"), &[])),
        ];
        for run in runs {
            let run = run.success();
            assert!(!run.stderr.contains(FALLBACK), "{}: {}", engine.name, run.stderr);
        }
        let all = registry.manifest("app-all", "1");
        assert!(all.contains("schemaVersion"), "{all}");
        assert_eq!(registry.manifest("app-one", "1"), all, "{}", engine.name);
        assert_eq!(registry.manifest("app-saved", "1"), all, "{}", engine.name);
    }
}

#[test]
fn layers_that_the_registry_already_has_are_reused() {
    for engine in builders() {
        let registry = Registry::open();
        let context = project(&engine);
        let base = format!("{}/base:1", registry.host);
        let docker =
            |arguments: &[&str]| assert!(engine.docker().args(arguments).status().unwrap().success());
        docker(&["tag", BUSYBOX, &base]);
        docker(&["push", &base]);
        context.write("Dockerfile", format!("FROM {base}\nCOPY data /data\nCOPY code /code\n"));
        context.write("code", context.tag("1"));
        let name = |tag: &str| format!("{}/app:{tag}", registry.host);
        let run = run_to_end(&mut push(&context, &name("1"), &[]), None).success();
        assert!(run.stderr.contains("2 layers sent, 1 already there"), "{}: {}", engine.name, run.stderr);
        let layers = |image: &Value| image["layers"].as_array().unwrap().clone();
        let base: Value = serde_json::from_str(&registry.manifest("base", "1")).unwrap();
        let first = layers(&manifest(&registry, "1"));
        assert_eq!(first[0]["digest"], layers(&base)[0]["digest"], "the base's blob is mounted");
        context.write("code", context.tag("2"));
        let run = run_to_end(&mut push(&context, &name("2"), &[]), None).success();
        assert!(run.stderr.contains("1 layer sent, 2 already there"), "{}: {}", engine.name, run.stderr);
        assert_eq!(layers(&manifest(&registry, "2"))[..2], first[..2]);
        drop(engine.docker().args(["rmi", &format!("{}/base:1", registry.host)]).output());
    }
}

#[test]
fn an_upload_continues_after_lost_connections() {
    let engine = builders().swap_remove(0);
    let registry = Registry::open();
    let front = RegistryProxy::before(&registry.host);
    let context = project(&engine);
    // The fault hits the first layer that is larger than the part that `Fault::Cut` lets through.
    front.fail("PATCH", "/blobs/uploads/", Fault::Cut, 3);
    let run = run_to_end(&mut push(&context, &format!("{}/app:1", front.host), &[]), None).success();
    assert!(!run.stderr.contains(FALLBACK), "{}", run.stderr);
    let begun = front.begun();
    let count = |method: &str| begun.iter().filter(|line| line.starts_with(method)).count();
    assert!(count("POST") > 3, "{begun:?}");
    let data = std::fs::read(context.project().join("data")).unwrap();
    let others = every_engine();
    let other = others.iter().find(|other| other.name != engine.name).unwrap_or(&engine);
    pull_and_run(other, &format!("{}/app:1", registry.host), &data);
}

#[test]
fn an_interrupt_ends_the_push_and_no_tag_is_written() {
    let engine = builders().swap_remove(0);
    let registry = Registry::open();
    let front = RegistryProxy::before(&registry.host);
    let context = project(&engine);
    front.fail("PATCH", "/blobs/uploads/", Fault::Stall, 100);
    let begun = front.begun_handle();
    let running = Running::start(&mut push(&context, &format!("{}/app:1", front.host), &[]));
    await_true(Duration::from_mins(1), "a layer is sent", || {
        begun.lock().unwrap().iter().any(|line| line.starts_with("PATCH"))
    });
    running.signal(Signal::INT);
    let run = running.end(Duration::from_secs(10)).failure(130, "interrupted");
    assert!(!run.stderr.contains(FALLBACK), "{}", run.stderr);
    assert!(registry.manifest("app", "1").contains("MANIFEST_UNKNOWN"));
}

#[test]
fn the_engine_pushes_if_larder_cannot() {
    let registry = Registry::open();
    for engine in builders() {
        let front = RegistryProxy::before(&registry.host);
        let context = project(&engine);
        let name = |case: &str| format!("{}/app:{case}", front.host);
        let run = |run: Run, cause: &str| {
            let run = run.success();
            let warning = run.stderr.lines().find(|line| line.contains(FALLBACK));
            let warning = warning.unwrap_or_else(|| panic!("{}: {cause}: {}", engine.name, run.stderr));
            assert!(warning.contains(cause), "{}: {warning}", engine.name);
        };
        let local = context.tag("built");
        context.larder(&["build", "-t", &local, "."]).success();
        let upper = engine.inspect(&local)["GraphDriver"]["Data"]["UpperDir"].as_str().unwrap().to_owned();
        let other = context.path("other");
        std::fs::write(&other, vec![7; 3_000_000]).unwrap();

        let wrong = format!("mount --bind {} {upper}/data", other.display());
        run(
            run_with_mount(&wrong, &push(&context, &name("wrong"), &[])),
            "the engine returned different content",
        );

        let full = context.path("full");
        std::fs::create_dir(&full).unwrap();
        let mount = format!("mount -t tmpfs -o size=1m larder-test {}", full.display());
        let mut command = push(&context, &name("full"), &["--key-extra", "case=full"]);
        command.env("TMPDIR", &full);
        // A layer that the registry already has would need no disk space.
        context.write("data", vec![context.tag("full").len().to_le_bytes()[0]; 3_000_000]);
        run(run_with_mount(&mount, &command), "has no space");

        context.write("data", context.tag("refused"));
        front.fail("POST", "/blobs/uploads/", Fault::Answer("403 Forbidden", "{}"), 1);
        run(run_to_end(&mut push(&context, &name("refused"), &[]), None), "403 Forbidden");
        front.heal();
        for case in ["wrong", "full", "refused"] {
            assert_eq!(
                manifest(&registry, case)["config"]["digest"],
                engine.inspect(&name(case))["Id"],
                "{case}"
            );
        }
    }
}

#[test]
fn engines_from_version_23_pull_pushed_zstd_layers() {
    for engine in every_engine() {
        let registry = Registry::open();
        let context = project(&engine);
        let name = format!("{}/app:1", registry.host);
        let run = run_to_end(&mut push(&context, &name, &["--push-compression", "zstd"]), None).success();
        assert!(!run.stderr.contains(FALLBACK), "{}: {}", engine.name, run.stderr);
        let mut image = manifest(&registry, "1");
        if let Some(entry) = image["manifests"][0]["digest"].as_str() {
            // With attestations, which are separate manifests, the pushed image is an index.
            image = manifest(&registry, entry);
        }
        let top = image["layers"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(top["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd", "{}", engine.name);
        let data = std::fs::read(context.project().join("data")).unwrap();
        for other in every_engine().iter().filter(|other| other.name != engine.name) {
            if other.major() >= 23 {
                pull_and_run(other, &name, &data);
            } else {
                let pulled = other.docker().args(["pull", &name]).output().unwrap();
                assert!(
                    !pulled.status.success(),
                    "{} pulls zstd: the documentation says it does not",
                    other.name
                );
            }
        }

        // An image that was pushed with zstd is not a hit for a push with the default compression, which every engine can
        // pull.
        if !engine.is_containerd() {
            let name = format!("{}/app:2", registry.host);
            run_to_end(&mut push(&context, &name, &[]), None).success();
            for other in every_engine() {
                pull_and_run(&other, &name, &data);
            }
        }
    }
}
