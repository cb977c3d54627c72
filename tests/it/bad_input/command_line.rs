//! Invalid arguments, and flags of docker build that larder does not support.

use crate::engines::any_engine;
use crate::support::{BUSYBOX, TestContext};

/// Creates a project with an unreachable engine, because arguments are checked before larder connects to it.
fn context() -> TestContext {
    let context = TestContext::new(&any_engine().at("none", "unix:///nonexistent/docker.sock"));
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
    context
}

fn words(flags: &str) -> Vec<&str> {
    std::iter::once("build").chain(flags.split(' ')).chain(std::iter::once(".")).collect()
}

#[test]
fn the_error_for_an_unknown_flag_suggests_a_similar_one() {
    let context = context();
    let unknown = context.larder(&["build", "--nope", "."]).failure(2, "unexpected argument '--nope'");
    assert!(!unknown.stderr.contains("similar"), "{}", unknown.stderr);
    for (arguments, cause, hint) in [
        (&["build", "--tagret", "x", "."][..], "unexpected argument '--tagret'", "'--target'"),
        (&["build", "--buildarg", "A=1", "."], "unexpected argument '--buildarg'", "'--build-arg'"),
        (&["build", "--nonesuch", "."], "unexpected argument '--nonesuch'", "larder build --help"),
        (&["biuld", "."], "unrecognized subcommand 'biuld'", "'build'"),
        (&["build"], "required arguments were not provided: <PATH | URL | - | NAME>", "larder build --help"),
        (&["build", ".", "."], "can be built together, and `.` is not one of them", "larder.yaml"),
        (
            &["build", "--progress", "weird", "."],
            "invalid value 'weird' for '--progress <FORM>'",
            "larder build --help",
        ),
        (&["stats", "--last", "0"], "invalid value '0' for '--last <BUILDS>'", "larder stats --help"),
        (&["build", "--tag"], "a value is required for '--tag <NAME[:TAG]>'", "larder build --help"),
    ] {
        let run = context.larder(arguments).failure(2, cause).hint(hint);
        assert!(
            run.stderr.lines().all(|line| line.starts_with("error: ") || line.starts_with("hint: ")),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn unsupported_flags_are_refused_with_a_reason_and_an_alternative() {
    let context = context();
    let limit = ("BuildKit does not limit the resources of steps", "--cgroup-parent");
    for (flags, name, (reason, instead)) in [
        ("--squash", "--squash", ("cannot squash", "multi-stage")),
        ("--compress", "--compress", ("nothing to compress", "leave it out")),
        ("--memory 1g", "--memory", limit),
        ("-m 1g", "--memory", limit),
        ("--memory-swap -1", "--memory-swap", limit),
        ("--cpu-shares 512", "--cpu-shares", limit),
        ("-c 512", "--cpu-shares", limit),
        ("--cpu-period 1", "--cpu-period", limit),
        ("--cpu-quota 1", "--cpu-quota", limit),
        ("--cpuset-cpus 0", "--cpuset-cpus", limit),
        ("--cpuset-mems 0", "--cpuset-mems", limit),
        ("--isolation=hyperv", "--isolation", ("Windows containers", "leave it out")),
        ("--security-opt seccomp=x", "--security-opt", ("no such option", "security.insecure")),
        ("--builder mine", "--builder", ("does not use buildx builders", "--host")),
        ("--check", "--check", ("only runs builds", "docker buildx build")),
        ("--call outline", "--call", ("only runs builds", "docker buildx build")),
        ("--policy x", "--policy", ("not evaluated", "docker buildx build")),
        ("--rm=false", "--rm=false", ("no intermediate containers", "build cache")),
        ("--disable-content-trust=false", "--disable-content-trust=false", ("Content Trust", "digest")),
    ] {
        let run =
            context.larder(&words(flags)).failure(2, &format!("{name} is not supported: ")).hint(instead);
        assert!(run.stderr.contains(reason), "{flags}: {}", run.stderr);
    }
}

#[test]
fn flags_that_match_the_default_behaviour_are_accepted() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN true\n"));
    for flag in
        ["--rm", "--rm=true", "--force-rm", "--disable-content-trust", "--isolation=default", "--call=build"]
    {
        context.larder(&["build", flag, "."]).success();
    }
}

#[test]
fn the_error_for_an_invalid_value_describes_it_and_the_expected_format() {
    let context = context();
    for (flags, cause, hint) in [
        (
            "--secret id=x,src=/nonexistent",
            "`/nonexistent` of secret x is not a file",
            "--secret <SECRET>: Expose a secret",
        ),
        ("--secret tok", "`tok` is not one of id, src, env, type", "id=NAME"),
        ("--secret id=", "has no id", "id=NAME"),
        ("--ssh default", "SSH_AUTH_SOCK is not set", "--ssh <AGENT>"),
        ("--ssh default=/nonexistent", "neither an agent's socket nor a key", "--ssh <AGENT>"),
        ("--output type=weird", "type `weird` is not one of", "--output <OUTPUT>"),
        ("--output dest=x", "has no type", "type=image|local"),
        ("--output type=local", "needs dest=DIRECTORY", "--output <OUTPUT>"),
        ("--platform a/b/c/d", "`a/b/c/d` is not a platform", "linux/amd64"),
        ("--platform li:nux", "`li:nux` is not a platform", "linux/amd64"),
        ("--tag Upper", "must be lower case", "--tag <NAME[:TAG]>"),
        ("--tag a:b:c", "invalid image reference `a:b:c`", "--tag <NAME[:TAG]>"),
        ("--tag app:feature/login", "`app:feature/login`: a tag has letters", "--tag <NAME[:TAG]>"),
        (
            "--tag reg.example:5000/app:a/b",
            "--tag: invalid image reference `reg.example:5000/app:a/b`",
            "--tag",
        ),
        ("--tag reg.example:port/app", "a registry is HOST or HOST:PORT", "--tag <NAME[:TAG]>"),
        ("--output type=image,name=App", "--output: invalid image reference `App`", "--output <OUTPUT>"),
        ("--output type=image,push=maybe", "push=`maybe` is neither true nor false", "--output <OUTPUT>"),
        ("--output type=tar,dest=/", "--output: dest=`/` is a directory", "--output <OUTPUT>"),
        ("--output type=local,dest=Dockerfile", "dest=`Dockerfile` is a file", "--output <OUTPUT>"),
        ("--output type=oci,dest=Dockerfile/x", "dest=`Dockerfile` is a file", "--output <OUTPUT>"),
        ("--output type=local,dest=", "needs dest=DIRECTORY", "--output <OUTPUT>"),
        ("--output=", "--output: it is empty", "--output <OUTPUT>"),
        ("--cache-from App", "--cache-from: invalid image reference `App`", "--cache-from <CACHE>"),
        ("--cache-to type=registry,ref=a:b/c", "--cache-to: invalid image reference `a:b/c`", "--cache-to"),
        (
            "--cache-to type=registry,ref=a,mode=most",
            "mode `most` is neither min nor max",
            "--cache-to <CACHE>",
        ),
        ("--cache-repo App", "--cache-repo: invalid image reference `App`", "--cache-repo <REPOSITORY>"),
        ("--base Dockerfile --base-repo App", "--base-repo: invalid image reference `App`", "--base-repo"),
        (
            "--build-context a=docker-image://App",
            "--build-context: invalid image reference `App`",
            "--build-context",
        ),
        ("--ulimit files=5", "`files=5` is not NAME=SOFT[:HARD]", "--ulimit <NAME=SOFT[:HARD]>"),
        ("--ulimit nofile=5:3", "`nofile=5:3` is not NAME=SOFT[:HARD]", "--ulimit <NAME=SOFT[:HARD]>"),
        ("--add-host a,b:10.0.0.1", "`a,b:10.0.0.1` is not HOST:IP", "--add-host <HOST:IP>"),
        ("--provenance=mode=most", "--provenance: mode `most` is neither min nor max", "--provenance"),
        (
            "--provenance=maybe",
            "--provenance: `maybe` is neither true, false nor ATTRIBUTE=VALUE",
            "--provenance",
        ),
        ("--timeout 18446744073709551615", "is longer than 100 years", "--timeout <DURATION>"),
        ("--mount-timeout soon", "--mount-timeout: `soon` is not a duration", "--mount-timeout <DURATION>"),
        ("--archive-timeout 0", "--archive-timeout: `0` is not a duration", "--archive-timeout <DURATION>"),
        ("--max-mount-size big", "--max-mount-size: `big` is not a size", "--max-mount-size <SIZE>"),
        (
            "--cache-max-size-gb 5GB",
            "`5GB` is not a number of gigabytes such as 20",
            "--cache-max-size-gb <GB>",
        ),
        ("--cache-max-entries 5k", "`5k` is not a whole number such as 500", "--cache-max-entries <ENTRIES>"),
        ("--trusted-key x", "--trusted-key: `x`: not a key (32 bytes in base64", "--trusted-key <KEY>"),
        ("--build-context extra", "`extra` is not NAME=CONTEXT", "--build-context <NAME=CONTEXT>"),
        ("--build-context a=/nonexistent", "`/nonexistent` is not a directory", "docker-image://REF"),
        ("--ulimit nofile", "`nofile` is not NAME=SOFT[:HARD]", "--ulimit <NAME=SOFT[:HARD]>"),
        ("--ulimit nofile=many", "`nofile=many` is not", "--ulimit <NAME=SOFT[:HARD]>"),
        ("--add-host db", "`db` is not HOST:IP", "--add-host <HOST:IP>"),
        ("--add-host db:here", "`here` is not an IP address", "--add-host <HOST:IP>"),
        ("--shm-size big", "`big` is not a size such as 64m or 2GB", "--shm-size <SIZE>"),
        ("--label =x", "`=x` has no name", "--label <NAME=VALUE>"),
        ("--build-arg =x", "`=x` has no name", "--build-arg <NAME[=VALUE]>"),
        (
            "--network weird",
            "`weird` is not one of BuildKit's modes default, none and host",
            "--network <MODE>",
        ),
        ("--allow everything", "neither network.host nor security.insecure", "--allow <ENTITLEMENT>"),
        ("--timeout soon", "`soon` is not a duration such as 90s", "--timeout <DURATION>"),
        ("--cache-from type=nfs", "is not one of registry", "--cache-from <CACHE>"),
        ("--cache-to ref=x", "has no type", "--cache-to <CACHE>"),
        ("--annotation x", "is not [TYPE:]NAME=VALUE", "--annotation"),
        ("--attest type=x", "neither sbom nor provenance", "--attest <ATTESTATION>"),
        ("--key-extra x", "is not NAME=VALUE", "--key-extra <NAME=VALUE>"),
        ("--push", "the image needs a name", "Push the image"),
        ("--host weird", "`weird` is not an engine address", "unix://PATH"),
        ("--host npipe:////./pipe/docker_engine", "is not an engine address", "ssh://[USER@]HOST"),
    ] {
        context.larder(&words(flags)).failure(2, cause).hint(hint);
    }
}

#[test]
fn empty_cache_flags_are_ignored_as_by_docker_build() {
    // The arguments are valid, so larder tries to connect to the engine.
    context().larder(&["build", "--cache-from=", "--cache-to=", "."]).failure(5, "there is no socket");
}

#[test]
fn ecr_commands_validate_image_names_before_they_connect() {
    let context = context();
    for command in [&["ecr", "pull", "ok", "App"][..], &["ecr", "push", "App"], &["ecr", "lifecycle", "App"]]
    {
        context.larder(command).failure(2, "invalid image reference `App`").hint("REGISTRY/NAME");
    }
}

#[test]
fn help_and_version_are_printed_to_stdout() {
    let context = context();
    let version = context.larder(&["--version"]).success();
    assert_eq!(
        (version.stdout.as_str(), version.stderr.as_str()),
        (concat!("larder ", env!("CARGO_PKG_VERSION"), "\n"), "")
    );
    let listed = context.larder(&["--help"]).success().stdout;
    let commands =
        listed.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"build"), "{listed}");
    for command in commands {
        let help = context.larder(&[command, "--help"]).success();
        assert!(help.stdout.contains(&format!("Usage: larder {command}")), "{}", help.stdout);
        assert_eq!(help.stderr, "");
    }
}

#[test]
fn larder_without_arguments_prints_its_help_and_fails() {
    let run = context().larder(&[]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("Usage: larder") && run.stderr.contains("Exit codes: "), "{}", run.stderr);
}

#[test]
fn an_image_name_passed_as_tags_causes_a_warning_that_suggests_tag() {
    let context = TestContext::new(&any_engine());
    context.write("Dockerfile", format!("FROM {BUSYBOX}\n"));
    let warned = |arguments: &[&str]| {
        let run = context.larder(&[arguments, &["."]].concat()).success();
        run.stderr.lines().find(|line| line.starts_with("warning: --tags")).map(str::to_owned)
    };
    let tag = context.tag("app");
    for command in ["build", "run"] {
        let warning = warned(&[command, "--tags", &format!("nlp,{tag}")]).unwrap_or_default();
        assert!(warning.contains(&format!("did you mean --tag {tag}?")), "{warning}");
        assert_eq!(warned(&[command, "--tags", "nlp,pytorch"]), None);
        assert_eq!(warned(&[command, "--tags", &tag, "--tag", &tag]), None);
    }
}

#[test]
fn with_json_progress_errors_are_json_too() {
    let run = context().larder(&["build", "--progress", "json", "nowhere"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let lines: Vec<serde_json::Value> =
        run.stderr.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert!(lines.iter().any(|line| line["level"] == "error"), "{}", run.stderr);
}
