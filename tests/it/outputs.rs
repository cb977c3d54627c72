//! Results that are not an image in the engine: directories, archives, pushes that cannot be.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::engines::{Engine, any_engine, engines, every_engine};
use crate::image::{Archive, entries};
use crate::support::{BUSYBOX, TestContext, is_full};

/// A result with a script, a link, a hard link, an empty directory and something in a directory.
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

/// Kind, mode, time and content or target of everything below a directory.
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
                larder::digest::Digest::of(&std::fs::read(entry.path()).unwrap()).to_string()
            } else {
                String::new()
            };
            let path = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
            // Docker's older client leaves a directory the time of its last entry.
            let time = if metadata.is_dir() { 0 } else { metadata.mtime() };
            (path, format!("{:o} {time} {content}", metadata.mode()))
        })
        .collect()
}

#[test]
fn a_directory_receives_what_dockers_does_and_keeps_what_it_had() {
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
        assert_eq!(metadata["tiers"][0]["outcome"], "skipped", "files are no image of the engine");
        assert_eq!(std::fs::read(ours.join("stranger")).unwrap(), b"mine");
        std::fs::remove_file(ours.join("stranger")).unwrap();
        assert_eq!(tree(&ours), tree(&theirs), "{}", engine.name);
    }
}

#[test]
fn a_tar_archive_goes_to_a_file_or_to_stdout() {
    for engine in engines() {
        let context = project(&engine);
        context.larder(&["build", "-o", "type=tar,dest=../out.tar", "."]).success();
        let file = std::fs::read(context.path("out.tar")).unwrap();
        let listed = entries(&file);
        assert!(listed.iter().any(|entry| entry.content.len() == 3 << 20), "{}", engine.name);
        let stdout = context.command(&["build", "-o", "-", "."]).stderr(Stdio::null()).output().unwrap();
        assert!(stdout.status.success());
        assert!(entries(&stdout.stdout) == listed, "{}: stdout carries the same archive", engine.name);
    }
}

#[test]
fn image_archives_are_made_where_the_engine_can_and_refused_with_what_would_do_it() {
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
            assert!(loaded.unwrap().success(), "docker load takes the {kind} archive");
        }
    }
}

#[test]
fn several_outputs_are_made_where_the_engine_can() {
    for engine in engines() {
        let context = project(&engine);
        let name = context.tag("both");
        let arguments = ["build", "-t", &name, "--load", "-o", "type=tar,dest=../both.tar", "."];
        let run = context.larder(&arguments);
        if engine.major() < 26 {
            run.failure(2, "one output a build").hint("build once for each output");
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
fn a_failed_build_leaves_the_output_as_it_was() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN false\n"));
    std::fs::write(context.path("out.tar"), "the last good one").unwrap();
    context.larder(&["build", "-o", "type=tar,dest=../out.tar", "."]).failure(1, "exit code: 1");
    assert_eq!(std::fs::read(context.path("out.tar")).unwrap(), b"the last good one");
    let strays = std::fs::read_dir(context.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!strays.into_iter().any(|name| name.to_string_lossy().starts_with(".larder")));
}

#[test]
fn a_build_for_the_cache_only_makes_no_image() {
    let context = project(&any_engine());
    let metadata = context.build(&["-o", "type=cacheonly", "."]);
    assert_eq!((&metadata["outcome"], &metadata["image_id"]), (&json!("built"), &json!(null)));
}

#[test]
fn a_push_without_a_name_or_a_registry_says_what_is_missing() {
    let context = project(&any_engine());
    context.larder(&["build", "--push", "."]).failure(2, "the image needs a name");
    let run = context.larder(&["build", "--push", "-t", "127.0.0.1:9/app:1", "."]);
    run.failure(1, "cannot push 127.0.0.1:9/app:1").hint("check that 127.0.0.1:9 is up");
}

#[test]
fn any_number_of_small_files_goes_in_and_out() {
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
