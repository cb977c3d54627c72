//! Outputs other than an image in the engine: directories, archives, and pushes that fail.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::engines::{Engine, any_engine, engines, every_engine};
use crate::image::{Archive, entries};
use crate::support::{BUSYBOX, TestContext, is_full, sha256};

/// Creates a project whose result has a script, a symbolic link, a hard link, an empty directory and a nested file.
fn project(engine: &Engine) -> TestContext {
    let context = TestContext::new(engine);
    context
        .write(
            "Dockerfile",
            format!(
                "FROM {BUSYBOX} AS make\nCOPY . /in\nRUN mkdir -p /out/empty /out/d && cp /in/run.sh /out/ && \
                 chmod 755 /out/run.sh && ln -s run.sh /out/link && ln /out/run.sh /out/d/same && cp /in/big /out/d/\n\
                 FROM scratch\nCOPY --from=make /out /\n"
            ),
        )
        .write("run.sh", "#!/bin/sh\n")
        .write("big", vec![7; 3 << 20])
        .write("unique", context.tag("outputs"));
    context
}

/// Returns mode, time, and digest or link target of everything below a directory, by path.
fn tree(root: &Path) -> BTreeMap<String, String> {
    walkdir::WalkDir::new(root)
        .min_depth(1)
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.path().symlink_metadata().unwrap();
            let content = if metadata.is_symlink() {
                std::fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned()
            } else if metadata.is_file() {
                sha256(&std::fs::read(entry.path()).unwrap())
            } else {
                String::new()
            };
            let path = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
            // The older Docker client leaves a directory with the time at which its last entry was written.
            let time = if metadata.is_dir() { 0 } else { metadata.mtime() };
            (path, format!("{:o} {time} {content}", metadata.mode()))
        })
        .collect()
}

#[test]
fn a_local_output_equals_dockers_and_keeps_existing_files() {
    for engine in engines() {
        let context = project(&engine);
        let theirs = context.path("theirs");
        let output = format!("type=local,dest={}", theirs.display());
        let mut docker = engine.docker();
        docker.args(["build", "--output", &output, "."]).current_dir(context.project());
        assert!(docker.stderr(Stdio::null()).status().unwrap().success(), "{}", engine.name);
        let ours = context.path("ours");
        std::fs::create_dir_all(ours.join("d")).unwrap();
        std::fs::write(ours.join("stranger"), "mine").unwrap();
        std::fs::write(ours.join("run.sh"), "old").unwrap();
        let metadata = context.build(&["-o", "../ours", "."]);
        assert_eq!(metadata["outcome"], "built");
        assert_eq!(
            metadata["tiers"][0]["outcome"], "skipped",
            "a local output is not an image in the engine"
        );
        assert_eq!(std::fs::read(ours.join("stranger")).unwrap(), b"mine");
        std::fs::remove_file(ours.join("stranger")).unwrap();
        assert_eq!(tree(&ours), tree(&theirs), "{}", engine.name);
    }
}

#[test]
fn a_tar_output_is_written_to_a_file_or_to_stdout() {
    for engine in engines() {
        let context = project(&engine);
        context.larder(&["build", "-o", "type=tar,dest=../out.tar", "."]).success();
        let file = std::fs::read(context.path("out.tar")).unwrap();
        let listed = entries(&file);
        assert!(listed.iter().any(|entry| entry.content.len() == 3 << 20), "{}", engine.name);
        let stdout = context.command(&["build", "-o", "-", "."]).stderr(Stdio::null()).output().unwrap();
        assert!(stdout.status.success());
        assert!(entries(&stdout.stdout) == listed, "{}: stdout receives the same archive", engine.name);
    }
}

#[test]
fn image_archives_need_a_containerd_image_store_and_the_hint_names_it() {
    for engine in engines() {
        let context = project(&engine);
        let name = context.tag("archive");
        for kind in ["oci", "docker"] {
            let output = format!("type={kind},dest=../{kind}.tar");
            let run = context.larder(&["build", "-t", &name, "-o", &output, "."]);
            if !engine.is_containerd() {
                run.failure(2, &format!("cannot export type={kind}")).hint("containerd-snapshotter");
                assert!(!context.path(&format!("{kind}.tar")).exists());
                continue;
            }
            run.success();
            let archive = std::fs::read(context.path(&format!("{kind}.tar"))).unwrap();
            assert_eq!(Archive::read(&archive).manifest()["layers"].as_array().unwrap().len(), 1);
            let path = context.path(&format!("{kind}.tar"));
            let loaded = engine.docker().arg("load").arg("-i").arg(path).stdout(Stdio::null()).status();
            assert!(loaded.unwrap().success(), "docker load accepts the {kind} archive");
        }
    }
}

#[test]
fn several_outputs_need_a_recent_engine() {
    for engine in engines() {
        let context = project(&engine);
        let name = context.tag("both");
        let arguments = ["build", "-t", &name, "--load", "-o", "type=tar,dest=../both.tar", "."];
        let run = context.larder(&arguments);
        if engine.major() < 26 {
            run.failure(2, "one output per build").hint("build once for each output");
        } else {
            run.success();
            assert!(
                engine.inspect(&name).is_object() && context.path("both.tar").is_file(),
                "{}",
                engine.name
            );
        }
    }
}

#[test]
fn a_failed_build_does_not_change_the_output_file() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN false\n"));
    std::fs::write(context.path("out.tar"), "the last good one").unwrap();
    context.larder(&["build", "-o", "type=tar,dest=../out.tar", "."]).failure(1, "exit code: 1");
    assert_eq!(std::fs::read(context.path("out.tar")).unwrap(), b"the last good one");
    let strays = std::fs::read_dir(context.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!strays.into_iter().any(|name| name.to_string_lossy().starts_with(".larder")));
}

#[test]
fn a_cacheonly_output_makes_no_image() {
    let context = project(&any_engine());
    let metadata = context.build(&["-o", "type=cacheonly", "."]);
    assert_eq!((&metadata["outcome"], &metadata["image_id"]), (&json!("built"), &json!(null)));
}

#[test]
fn a_push_without_a_name_or_to_an_unreachable_registry_is_an_error() {
    let context = project(&any_engine());
    context.larder(&["build", "--push", "."]).failure(2, "the image needs a name");
    let run = context.larder(&["build", "--push", "-t", "127.0.0.1:9/app:1", "."]);
    run.failure(1, "cannot push 127.0.0.1:9/app:1").hint("check that 127.0.0.1:9 is up");
}

#[test]
fn many_small_files_are_sent_and_received() {
    const DIRECTORIES: usize = 50;
    let files = if is_full() { 1000 } else { 200 };
    for engine in if is_full() { every_engine() } else { engines() } {
        let context = TestContext::new(&engine);
        context.write("Dockerfile", "FROM scratch\nCOPY in /\n").write("in/unique", context.tag("many"));
        for directory in 0..DIRECTORIES {
            let directory = context.project().join(format!("in/{directory}"));
            std::fs::create_dir(&directory).unwrap();
            for file in 0..files {
                std::fs::write(directory.join(file.to_string()), format!("{file}")).unwrap();
            }
        }
        let arguments = ["build", "-o", "out", "."];
        let run = context.larder(&arguments).success();
        assert!(!run.stderr.contains("warning"), "{}: {}", engine.name, run.stderr);
        let received = tree(&context.project().join("out"));
        assert_eq!(received.len(), DIRECTORIES * (files + 1) + 1, "{}", engine.name);
        assert_eq!(received, tree(&context.project().join("in")), "{}", engine.name);
    }
}
