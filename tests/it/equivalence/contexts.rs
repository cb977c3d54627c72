//! Where the files come from, which of them, and what is kept of them.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Bench, NEWER_FRONTEND, age, on_engines};

const COPY_ALL: &str = "FROM larder-test/busybox:1\nCOPY . /all/\n";

#[test]
fn the_same_files_are_ignored() {
    let ignores = [
        ("everything but some", "*\n!src/**\n!run.sh\nsrc/deep\n"),
        ("wildcards, comments, blanks", "# a comment\n\n  **/c  \n./notes.md\n/run.sh\n!notes.*\n"),
        ("a directory, then an exception in it", "src/\n!src/deep/er/c\n"),
        ("the files that tell how", "Dockerfile*\n.dockerignore\n"),
        ("an exception that a later pattern takes back", "src\n!src/a\nsrc/?\n!src/b\n"),
    ];
    on_engines(0, |engine| {
        for (what, ignore) in ignores {
            let bench = Bench::with_files(engine, COPY_ALL);
            bench.context.write(".dockerignore", ignore);
            bench.assert_same(what, &[&bench.place], None);
        }
        let bench = Bench::with_files(engine, COPY_ALL);
        bench.context.write("docker/App", COPY_ALL).write("docker/App.dockerignore", "src/a\n**/App\n");
        let file = format!("{}/docker/App", bench.place);
        let image =
            bench.assert_same("an ignore file beside the Dockerfile", &["-f", &file, &bench.place], None);
        let seen: Vec<String> =
            engine.entries(&image, "/all/src").into_iter().map(|entry| entry.rest).collect();
        assert!(!seen.iter().any(|entry| entry.starts_with("src/a ")), "{}: {seen:?}", engine.name);
        for there in ["src/b ", "src/deep "] {
            assert!(seen.iter().any(|entry| entry.starts_with(there)), "{}: {seen:?}", engine.name);
        }
    });
}

#[test]
fn names_beyond_ascii_are_ignored_and_copied_the_same() {
    on_engines(0, |engine| {
        let dockerfile = "FROM larder-test/busybox:1\nCOPY . /all/\nCOPY test-äöü.txt данные /some/\n";
        let bench = Bench::with_files(engine, dockerfile);
        for name in ["test-äöü.txt", "emoji-🚀.txt", "данные/ü/файл.csv", "данные/пароли.txt"]
        {
            bench.context.write(name, format!("{name} {}\n", bench.context.tag("for")));
        }
        bench.context.write(".dockerignore", "**/пароли.txt\n");
        let image = bench.assert_same("names beyond ASCII", &[&bench.place], None);
        for directory in ["/all/данные", "/some"] {
            let seen: Vec<String> =
                engine.entries(&image, directory).into_iter().map(|entry| entry.rest).collect();
            let has = |name: &str| seen.iter().any(|entry| entry.contains(name));
            assert!(has("файл.csv") && !has("пароли"), "{}: {seen:?}", engine.name);
        }
    });
}

#[test]
fn a_dockerfile_may_lie_elsewhere() {
    on_engines(0, |engine| {
        let bench = Bench::with_files(engine, "FROM nobody-reads-this\n");
        std::fs::create_dir(bench.context.path("elsewhere")).unwrap();
        let elsewhere = bench.context.path("elsewhere/App.Dockerfile");
        std::fs::write(&elsewhere, COPY_ALL).unwrap();
        let place = &bench.place;
        bench.assert_same("a path", &["-f", &elsewhere.to_string_lossy(), place], None);
        bench.assert_same("a path from here", &["-f", "../elsewhere/App.Dockerfile", place], None);
        let from_stdin = format!("{COPY_ALL}LABEL from=stdin\n");
        bench.assert_same("stdin", &["-f", "-", place], Some(from_stdin.as_bytes()));
    });
}

#[test]
fn a_context_may_come_from_stdin() {
    on_engines(0, |engine| {
        let bench = Bench::with_files(engine, COPY_ALL);
        let dockerfile =
            format!("FROM larder-test/busybox:1\nLABEL of=\"{}\"\nWORKDIR /empty\n", bench.place);
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
        bench.assert_same("a packed archive", &["-"], Some(&gzip));
        bench.assert_same("a Dockerfile of the archive", &["-f", "docker/App", "-"], Some(&tar));
    });
}

#[test]
fn named_contexts_are_the_same() {
    let dockerfile = "FROM larder-test/busybox:1 AS other\nFROM base\nCOPY --from=libs . /libs/\n\
                      COPY --from=other /src /replaced\nRUN --mount=from=libs,target=/mnt cp /mnt/x /x\n";
    on_engines(0, |engine| {
        let bench = Bench::with_files(engine, dockerfile);
        for (name, content) in [("x", "x"), ("deep/y", "y"), ("z", "z"), (".dockerignore", "z\n")] {
            let path = bench.context.path("libs").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{content}\n# {}", bench.place)).unwrap();
        }
        let libs = format!("libs={}", bench.context.path("libs").display());
        let place = format!("other={}", bench.place);
        let flags = ["--build-context", &libs, "--build-context", &place];
        let flags = [&flags[..], &["--build-context", "base=docker-image://larder-test/busybox:1"]].concat();
        let all = [&flags[..], &[&bench.place]].concat();
        if engine.major() >= NEWER_FRONTEND {
            bench.assert_same("named contexts", &all, None);
        } else {
            // Docker's client of that age has no such flag.
            bench.larder(&all, None).failure(1, "frontend capability moby.buildkit.frontend.contexts");
        }
    });
}

#[test]
fn files_keep_what_they_are() {
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
        // Not every file system knows attributes; those of some engines do not put them into layers.
        drop(xattr::set(project.join("src/a"), "user.larder.test", b"value"));
        bench.assert_same("files of all kinds", &[&bench.place], None);
    });
}
