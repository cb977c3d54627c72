//! Build contexts: where their files come from, which are ignored, and which attributes are preserved.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Bench, NEWER_FRONTEND, age, on_engines};

const COPY_ALL: &str = "FROM larder-test/busybox:1\nCOPY . /all/\n";

#[test]
fn ignore_files_have_the_same_effect_as_with_docker() {
    let ignores = [
        ("everything except some files", "*\n!src/**\n!run.sh\nsrc/deep\n"),
        ("wildcards, comments, blanks", "# a comment\n\n  **/c  \n./notes.md\n/run.sh\n!notes.*\n"),
        ("a directory, then an exception in it", "src/\n!src/deep/er/c\n"),
        ("the Dockerfile and the ignore file", "Dockerfile*\n.dockerignore\n"),
        ("an exception that a later pattern excludes", "src\n!src/a\nsrc/?\n!src/b\n"),
    ];
    on_engines(0, |engine| {
        for (what, ignore) in ignores {
            let bench = Bench::with_files(engine, COPY_ALL);
            bench.context.write(".dockerignore", ignore);
            bench.assert_same(what, &[&bench.directory], None);
        }
        let bench = Bench::with_files(engine, COPY_ALL);
        bench.context.write("docker/App", COPY_ALL).write("docker/App.dockerignore", "src/a\n**/App\n");
        let file = format!("{}/docker/App", bench.directory);
        let image = bench.assert_same(
            "an ignore file next to the Dockerfile",
            &["-f", &file, &bench.directory],
            None,
        );
        let seen: Vec<String> =
            engine.entries(&image, "/all/src").into_iter().map(|entry| entry.attributes).collect();
        assert!(!seen.iter().any(|entry| entry.starts_with("src/a ")), "{}: {seen:?}", engine.name);
        for expected in ["src/b ", "src/deep "] {
            assert!(seen.iter().any(|entry| entry.starts_with(expected)), "{}: {seen:?}", engine.name);
        }
    });
}

#[test]
fn non_ascii_names_are_ignored_and_copied_as_with_docker() {
    on_engines(0, |engine| {
        let dockerfile = "FROM larder-test/busybox:1\nCOPY . /all/\nCOPY test-äöü.txt данные /some/\n";
        let bench = Bench::with_files(engine, dockerfile);
        for name in ["test-äöü.txt", "emoji-🚀.txt", "данные/ü/файл.csv", "данные/пароли.txt"]
        {
            bench.context.write(name, format!("{name} {}\n", bench.context.tag("for")));
        }
        bench.context.write(".dockerignore", "**/пароли.txt\n");
        let image = bench.assert_same("non-ASCII names", &[&bench.directory], None);
        for directory in ["/all/данные", "/some"] {
            let seen: Vec<String> =
                engine.entries(&image, directory).into_iter().map(|entry| entry.attributes).collect();
            let has = |name: &str| seen.iter().any(|entry| entry.contains(name));
            assert!(has("файл.csv") && !has("пароли"), "{}: {seen:?}", engine.name);
        }
    });
}

#[test]
fn a_dockerfile_outside_the_context_gives_the_same_image_as_with_docker() {
    on_engines(0, |engine| {
        let bench = Bench::with_files(engine, "FROM never-read\n");
        std::fs::create_dir(bench.context.path("elsewhere")).unwrap();
        let elsewhere = bench.context.path("elsewhere/App.Dockerfile");
        std::fs::write(&elsewhere, COPY_ALL).unwrap();
        let directory = &bench.directory;
        bench.assert_same("a path", &["-f", &elsewhere.to_string_lossy(), directory], None);
        bench.assert_same("a relative path", &["-f", "../elsewhere/App.Dockerfile", directory], None);
        let from_stdin = format!("{COPY_ALL}LABEL from=stdin\n");
        bench.assert_same("stdin", &["-f", "-", directory], Some(from_stdin.as_bytes()));
    });
}

#[test]
fn a_context_from_stdin_gives_the_same_image_as_with_docker() {
    on_engines(0, |engine| {
        let bench = Bench::with_files(engine, COPY_ALL);
        let dockerfile =
            format!("FROM larder-test/busybox:1\nLABEL of=\"{}\"\nWORKDIR /empty\n", bench.directory);
        bench.assert_same("a Dockerfile alone", &["-"], Some(dockerfile.as_bytes()));
        bench.context.write("docker/App", format!("{COPY_ALL}LABEL a=b\n"));
        age(&bench.context.project());
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all(".", bench.context.project()).unwrap();
        let tar = tar.into_inner().unwrap();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar).unwrap();
        let gzip = gzip.finish().unwrap();
        bench.assert_same("a tar archive", &["-"], Some(&tar));
        bench.assert_same("a compressed archive", &["-"], Some(&gzip));
        bench.assert_same("a Dockerfile in the archive", &["-f", "docker/App", "-"], Some(&tar));
    });
}

#[test]
fn named_contexts_give_the_same_image_as_with_docker() {
    let dockerfile = "FROM larder-test/busybox:1 AS other\nFROM base\nCOPY --from=libs . /libs/\n\
                      COPY --from=other /src /replaced\nRUN --mount=from=libs,target=/mnt cp /mnt/x /x\n";
    on_engines(0, |engine| {
        let bench = Bench::with_files(engine, dockerfile);
        for (name, content) in [("x", "x"), ("deep/y", "y"), ("z", "z"), (".dockerignore", "z\n")] {
            let path = bench.context.path("libs").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{content}\n# {}", bench.directory)).unwrap();
        }
        let libs = format!("libs={}", bench.context.path("libs").display());
        let other = format!("other={}", bench.directory);
        let flags = ["--build-context", &libs, "--build-context", &other];
        let flags = [&flags[..], &["--build-context", "base=docker-image://larder-test/busybox:1"]].concat();
        let all = [&flags[..], &[&bench.directory]].concat();
        if engine.major() >= NEWER_FRONTEND {
            bench.assert_same("named contexts", &all, None);
        } else {
            // The docker client of this version does not have this flag.
            bench.larder(&all, None).failure(1, "frontend capability moby.buildkit.frontend.contexts");
        }
    });
}

#[test]
fn copied_files_have_the_same_attributes_as_with_docker() {
    on_engines(0, |engine| {
        let bench = Bench::with_files(engine, "FROM scratch\nCOPY . /all/\nCOPY links/relative big /some/\n");
        let project = bench.context.project();
        let mut big = vec![0; 5 << 20];
        getrandom::fill(&mut big).unwrap();
        bench.context.write("big", big).write("empty", "");
        for name in ["Grüße 日本語.txt", "with space", "100%+a", "-dash", "back\\slash", "quote\"'"] {
            bench.context.write(&format!("names/{name}"), name);
        }
        for (name, mode) in [("private", 0o600), ("open", 0o666), ("run", 0o755), ("setuid", 0o6755)] {
            bench.context.write(&format!("modes/{name}"), name);
            std::fs::set_permissions(project.join("modes").join(name), PermissionsExt::from_mode(mode))
                .unwrap();
        }
        for (name, mode) in [("plain", 0o755), ("sticky", 0o1777), ("group", 0o2750), ("private", 0o700)] {
            let path = project.join("directories").join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        std::fs::create_dir_all(project.join("links")).unwrap();
        for (target, name) in [
            ("../src/a", "relative"),
            ("/etc/passwd", "absolute"),
            ("nowhere", "dangling"),
            ("../src", "directory"),
        ] {
            symlink(target, project.join("links").join(name)).unwrap();
        }
        for name in ["links/hard", "same"] {
            std::fs::hard_link(project.join("run.sh"), project.join(name)).unwrap();
        }
        // Some file systems do not support attributes, and some engines do not store them in layers.
        drop(xattr::set(project.join("src/a"), "user.larder.test", b"value"));
        bench.assert_same("files of all kinds", &[&bench.directory], None);
    });
}
