//! Unusual environments of CI jobs: no home directory, a user that the machine does not list, unreadable directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::engines::{Engine, any_engine, engines};
use crate::support::{BUSYBOX, Run, TestContext, json, run_to_end};

/// A user id that no machine lists.
const STRANGER: u32 = 47_110;

impl TestContext {
    /// Returns a larder command without `HOME`, which runs as [`STRANGER`] if the tests run as root.
    fn stranger(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        if rustix::process::geteuid().is_root() {
            let program = self.path("larder");
            if !program.exists() {
                let built = env!("CARGO_BIN_EXE_larder");
                fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
                // The test's directory belongs to root and is closed to others.
                self.set_mode(&self.path(""), 0o755).set_mode(&self.path("docker"), 0o755);
            }
            let mut own = Command::new(program);
            own.args(arguments).current_dir(self.project()).env_clear();
            own.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let socket = self.engine.host.strip_prefix("unix://").map(Path::new);
            let group =
                socket.and_then(|socket| fs::metadata(socket).ok()).map_or(STRANGER, |socket| socket.gid());
            own.uid(STRANGER).gid(group);
            command = own;
        }
        command.env_remove("HOME");
        command
    }

    /// Sets the mode of a file or directory. Creates a directory if nothing exists at the path.
    fn set_mode(&self, path: &Path, mode: u32) -> &Self {
        if !path.exists() {
            fs::create_dir_all(path).unwrap();
        }
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Creates a directory that every user may write to.
    fn public(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        self.set_mode(&path, 0o777);
        path
    }
}

type Variables<'a> = &'a [(&'a str, &'a str)];

/// Creates a project with a cache mount and a copied directory.
fn project(engine: &Engine) -> TestContext {
    let context = TestContext::new(engine);
    context
        .write(
            "Dockerfile",
            format!(
                "FROM {BUSYBOX}\nRUN --mount=type=cache,target=/c : {}\nCOPY src /src\n",
                context.tag("x")
            ),
        )
        .write("src/main.py", context.tag("src"));
    context
}

fn warnings(run: &Run) -> Vec<&str> {
    run.stderr.lines().filter(|line| line.starts_with("warning: ")).collect()
}

#[test]
fn a_build_without_a_writable_cache_prints_one_warning() {
    let engine = any_engine();
    let context = project(&engine);
    context.write("requirements.txt", "six\n").write("file", "");
    let (file, sealed) = (context.project().join("file"), context.path("sealed"));
    context.set_mode(&sealed, 0o555);
    let (file, sealed) = (file.to_str().unwrap(), sealed.to_str().unwrap());
    let build = ["build", "-t", "app:1", "--enable-cache", "."];
    let tag = context.tag("app");
    let build = build.map(|argument| if argument == "app:1" { tag.as_str() } else { argument });
    let cases: [(&str, Variables<'_>, &str); 5] = [
        ("no HOME", &[], "/.cache/larder: "),
        ("HOME is read-only", &[("HOME", sealed)], "sealed/.cache/larder: Permission denied"),
        ("HOME does not exist", &[("HOME", "/nonexistent")], "/nonexistent/.cache/larder: "),
        ("XDG_CACHE_HOME is read-only", &[("HOME", "/"), ("XDG_CACHE_HOME", sealed)], "sealed/larder: "),
        ("the directory is a file", &[("LARDER_CACHE_DIR", file)], "file: Not a directory"),
    ];
    for (case, variables, warning) in cases {
        let run = run_to_end(context.stranger(&build).envs(variables.iter().copied()), None).success();
        let warned = warnings(&run);
        let [one] = warned.as_slice() else { panic!("{case}: {}", run.stderr) };
        assert!(
            one.starts_with("warning: cannot write to the cache at /") && one.contains(warning),
            "{case}: {one}"
        );
        let strict = [&build[..], &["--strict"]].concat();
        let run = run_to_end(context.stranger(&strict).envs(variables.iter().copied()), None);
        run.failure(3, warning);
        // `larder dir` works without a cache directory, too.
        for verb in ["save", "restore"] {
            let dir = ["dir", verb, "src", "--key-files", "requirements.txt"];
            let run = run_to_end(context.stranger(&dir).envs(variables.iter().copied()), None).success();
            assert_eq!(warnings(&run).len(), 1, "{case}: {}", run.stderr);
            assert!(
                run.stderr.contains("did not save src") || run.stderr.contains("no hit for src"),
                "{}",
                run.stderr
            );
        }
        run_to_end(context.stranger(&["key", "."]).envs(variables.iter().copied()), None).success();
    }
}

#[test]
fn a_read_only_cache_still_gives_hits_and_a_remote_needs_no_cache_directory() {
    let engine = any_engine();
    let context = project(&engine);
    let (home, remote) = (context.public("own"), context.public("remote"));
    let tag = context.tag("app");
    let build = |home: &Path, extra: &[(&str, &str)]| {
        let metadata = context.public("results").join("metadata.json");
        let arguments = ["build", "-t", &tag, "--metadata-file", metadata.to_str().unwrap(), "."];
        let run =
            run_to_end(context.stranger(&arguments).env("HOME", home).envs(extra.iter().copied()), None)
                .success();
        (run, json(&metadata)["outcome"].as_str().unwrap().to_owned())
    };
    build(&home, &[]);
    let seal = |mode: u32| {
        for entry in
            walkdir::WalkDir::new(&home).into_iter().filter_map(Result::ok).filter(|e| e.file_type().is_dir())
        {
            context.set_mode(entry.path(), mode);
        }
    };
    seal(0o555);
    let (run, outcome) = build(&home, &[]);
    assert_eq!((warnings(&run).len(), outcome.as_str()), (1, "image-hit"), "{}", run.stderr);
    seal(0o755);
    // A different agent, without a cache directory.
    let remote = format!("file://{}", remote.display());
    let variables = [("LARDER_REMOTE", remote.as_str())];
    build(Path::new("/nonexistent"), &variables);
    engine.docker().args(["rmi", "-f", &tag]).output().unwrap();
    let (run, outcome) = build(Path::new("/nonexistent"), &variables);
    assert_eq!((warnings(&run).len(), outcome.as_str()), (1, "image-hit"), "{}", run.stderr);
}

#[test]
fn larder_runs_with_a_missing_tmpdir_and_without_a_working_directory() {
    let context = project(&any_engine());
    let home = context.public("own");
    let dockerfile = format!("FROM {BUSYBOX}\nENV A={}\n", context.tag("x"));
    let mut command = context.stranger(&["build", "-"]);
    command.env("HOME", &home).env("TMPDIR", "/nonexistent").stdin(std::process::Stdio::piped());
    let run = run_to_end(&mut command, Some(dockerfile.as_bytes())).success();
    let warned = warnings(&run);
    assert!(warned.len() == 1 && warned[0].contains("/nonexistent"), "{}", run.stderr);
    // The shell removes the working directory before it starts larder.
    let (gone, project) = (context.public("gone"), context.project());
    let program = context.stranger(&["build", project.to_str().unwrap()]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"rmdir "$PWD" && exec "$0" "$@""#])
        .arg(program.get_program())
        .args(program.get_args());
    shell.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let run = run_to_end(shell.env("HOME", &home).current_dir(gone), None).success();
    assert!(warnings(&run).is_empty(), "{}", run.stderr);
}

#[test]
fn an_unreadable_file_is_an_error_only_if_a_step_copies_it() {
    for engine in engines() {
        let context = project(&engine);
        let home = context.public("own");
        context
            .write("pgdata/base/1", "secret")
            .write("private.key", "secret")
            .write("all.Dockerfile", format!("FROM {BUSYBOX}\nCOPY . /all\n"));
        context.write("key.Dockerfile", format!("FROM {BUSYBOX}\nCOPY private.key /\n"));
        context.write("inside.Dockerfile", format!("FROM {BUSYBOX}\nCOPY pgdata/base /\n"));
        let (closed, key) = (context.project().join("pgdata"), context.project().join("private.key"));
        context.set_mode(&closed, 0).set_mode(&key, 0);
        let tag = context.tag("app");
        let metadata = context.public("results").join("metadata.json");
        let build = |flags: &[&str]| {
            let arguments = ["build", "-t", &tag, "--metadata-file", metadata.to_str().unwrap(), "."];
            run_to_end(context.stranger(&[&arguments, flags].concat()).env("HOME", &home), None)
        };
        let builds_and_hits = |what: &str, flags: &[&str]| {
            build(flags).success();
            let run = build(flags).success();
            assert_eq!(json(&metadata)["outcome"], "image-hit", "{} {what}: {}", engine.name, run.stderr);
        };
        builds_and_hits("copied by no step", &[]);
        context.write(".dockerignore", "**/pgdata\n*.key\n");
        builds_and_hits("ignored", &["-f", "all.Dockerfile"]);
        context.write(".dockerignore", "*\n!src\n");
        builds_and_hits("all but the sources ignored", &["-f", "all.Dockerfile"]);
        fs::remove_file(context.project().join(".dockerignore")).unwrap();
        build(&["-f", "all.Dockerfile"]).failure(1, "pgdata");
        build(&["-f", "key.Dockerfile"]).failure(1, "private.key: Permission denied");
        build(&["-f", "inside.Dockerfile"]).failure(1, "pgdata/base").hint("pgdata: Permission denied");
        // An ignore file that cannot be read is an error, not an empty ignore file.
        context.write(".dockerignore", "pgdata\n*.key\n");
        context.set_mode(&context.project().join(".dockerignore"), 0);
        build(&["-f", "all.Dockerfile"]).failure(2, ".dockerignore: Permission denied");
        context.set_mode(&closed, 0o755);
    }
}
