//! Cache mounts on real engines: files saved from one builder are restored on a different one, and only into the same
//! mount.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::Value;

use crate::engines::{Engine, any_engine, engines, special};
use crate::support::{BUSYBOX, TestContext, json};

/// Creates a context with this Dockerfile.
fn project(engine: &Engine, dockerfile: &str) -> TestContext {
    let context = TestContext::new(engine);
    context.write("Dockerfile", dockerfile);
    context
}

impl TestContext {
    /// Runs `larder mount ACTION` on the project with this cache directory and returns the report.
    fn mount(&self, action: &str, cache: &std::path::Path, more: &[&str]) -> Value {
        let cache = cache.to_string_lossy();
        let arguments = ["mount", action, "--cache-dir", &cache, "--mount-scope", "test", "--format", "json"];
        let run = self.larder(&[&arguments, more, &["."]].concat()).success();
        serde_json::from_str(&run.stdout).expect("a report in JSON")
    }

    /// Builds the project with a local output and returns the text of each file by its name.
    fn files(&self, more: &[&str]) -> BTreeMap<String, String> {
        let out = self.path("out");
        drop(std::fs::remove_dir_all(&out));
        let destination = format!("type=local,dest={}", out.display());
        self.larder(&[&["build", "--read-only", "--output", &destination], more, &["."]].concat()).success();
        let files = std::fs::read_dir(&out).expect("a directory").map(|entry| entry.expect("an entry"));
        files
            .map(|file| {
                let name = file.file_name().to_string_lossy().into_owned();
                (name, std::fs::read_to_string(file.path()).expect("a text"))
            })
            .collect()
    }
}

fn outcomes(report: &Value) -> Vec<(&str, &str)> {
    let mounts = report["mounts"].as_array().expect("mounts");
    mounts.iter().map(|mount| (mount["id"].as_str().unwrap(), mount["outcome"].as_str().unwrap())).collect()
}

/// Returns pairs of engines in which each engine is once the writer and once the reader. Returns nothing, and prints
/// that the test is skipped, if there is only one engine.
fn pairs() -> Vec<(Engine, Engine)> {
    let engines = engines();
    if engines.len() == 1 {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "SKIPPED: needs two engines").expect("stdout");
        return Vec::new();
    }
    let others = engines.iter().cycle().skip(1);
    engines.iter().cloned().zip(others.cloned()).collect()
}

/// Options of cache mounts, each with the path at which its RUN sees the mount. `U` is replaced by a name that is
/// unique to the test.
const MOUNT_OPTIONS: [(&str, &str); 27] = [
    ("target=/U/default", "/U/default"),
    ("target=/U/./x/../unclean/", "/U/unclean"),
    ("id=U-named,target=/U/named", "/U/named"),
    ("id=U-named-$NAME,target=/U/arg", "/U/arg"),
    ("target=/U/${NAME}/target", "/U/value/target"),
    ("id=U-env-$FROM_ENV,dst=/U/env", "/U/env"),
    ("target=relative-U", "/work/relative-U"),
    ("target=/U/default,uid=1000", "/U/default"),
    ("target=/U/default,gid=1000", "/U/default"),
    ("target=/U/default,mode=0700", "/U/default"),
    ("target=/U/default,uid=1000,gid=1000", "/U/default"),
    ("target=/U/default,uid=1000,mode=0770", "/U/default"),
    ("target=/U/default,gid=1000,mode=0770", "/U/default"),
    ("target=/U/default,uid=1000,gid=1000,mode=0777", "/U/default"),
    ("target=/U/default,uid=0", "/U/default"),
    ("id=U-locked,target=/U/locked,sharing=locked", "/U/locked"),
    ("id=U-private,target=/U/private,sharing=private", "/U/private"),
    ("id=U-shared,target=/U/shared,sharing=shared", "/U/shared"),
    ("id=U-readonly,target=/U/readonly", "/U/readonly"),
    ("id=U-empty-from,target=/U/scratch,from=scratch", "/U/scratch"),
    ("id=/U/default/x/..,target=/U/uncleaned", "/U/uncleaned"),
    ("target=/U/default,from=seed,source=seed", "/U/default"),
    ("target=/U/default,from=seed,source=/other", "/U/default"),
    ("target=/U/default,from=seed,uid=1000,mode=0770", "/U/default"),
    ("id=U-seed,target=/U/seed,from=seed,source=/seed,sharing=locked", "/U/seed"),
    ("target=/U/default,from=larder-test/busybox:1,source=/root", "/U/default"),
    ("id=U-$NAME-image,target=/U/image,from=larder-test/busybox:1,source=/root", "/U/image"),
];

/// Returns a Dockerfile with a RUN for each of the `used` entries of [`MOUNT_OPTIONS`]. `step` returns its command for
/// the number of the entry and the path of the mount.
fn dockerfile_with_mounts(unique: &str, used: &[usize], step: impl Fn(usize, &str) -> String) -> String {
    let mut text = format!(
        "FROM {BUSYBOX} AS seed\nRUN mkdir /seed /other\nFROM {BUSYBOX} AS work\nARG NAME=value\nENV FROM_ENV=env\nWORKDIR /work\nRUN mkdir /seen\n"
    );
    for number in used {
        let (options, place) = MOUNT_OPTIONS[*number];
        let (options, place) = (options.replace('U', unique), place.replace('U', unique));
        let _ = writeln!(text, "RUN --mount=type=cache,{options} {}", step(*number, &place));
    }
    text + "FROM scratch AS out\nCOPY --from=work /seen /\n"
}

#[test]
fn each_mount_is_restored_on_a_different_builder_and_seen_by_its_run_only() {
    for (one, other) in pairs() {
        let writer = TestContext::new(&one);
        let unique = writer.tag("x").replace(['/', ':'], "-");
        // Old frontends do not expand variables in mount options, so these options name a different mount there.
        let literal = [&one, &other].iter().any(|engine| engine.version.starts_with("20."));
        let used: Vec<usize> = (0..MOUNT_OPTIONS.len())
            .filter(|number| !(literal && MOUNT_OPTIONS[*number].0.contains('$')))
            .collect();
        writer.write(
            "Dockerfile",
            dockerfile_with_mounts(&unique, &used, |number, place| {
                format!("echo {number} > {place}/of-{number}")
            }),
        );
        let cache = writer.path("carried");
        writer.files(&["--target", "out"]);
        let saved = writer.mount("save", &cache, &["--target", "out"]);
        let saved_all = outcomes(&saved).iter().filter(|(_, outcome)| *outcome == "saved").count();
        assert_eq!((saved_all, saved["faults"].as_array().unwrap().len()), (used.len(), 0), "{saved:#}");

        // The reader's engine never ran the writer's steps, so these files can come only from the restore.
        let reader = project(
            &other,
            &dockerfile_with_mounts(&unique, &used, |number, place| {
                format!(
                    "ls -A {place} > /seen/{number} && ls -dln {place} >> /seen/{number} && cat {place}/* >> /seen/{number}"
                )
            }),
        );
        let restored = reader.mount("restore", &cache, &["--target", "out"]);
        assert!(outcomes(&restored).iter().all(|(_, outcome)| *outcome == "hit"), "{restored:#}");
        let seen = reader.files(&["--target", "out"]);
        for (number, (options, _)) in used.iter().map(|number| (number, MOUNT_OPTIONS[*number])) {
            let text = &seen[&number.to_string()];
            let lines: Vec<&str> = text.lines().collect();
            let names = (lines[0].to_owned(), (*lines.last().unwrap()).to_owned());
            assert_eq!(
                names,
                (format!("of-{number}"), number.to_string()),
                "{options} on {}:\n{text}",
                other.name
            );
            assert_eq!(lines.len(), 3, "{options} on {}:\n{text}", other.name);
            let option = |name: &str| options.split(',').find_map(|option| option.strip_prefix(name));
            let owner = (option("uid=").unwrap_or("0"), option("gid=").unwrap_or("0"));
            let words: Vec<&str> = lines[1].split_whitespace().collect();
            assert_eq!((words[2], words[3]), owner, "{options} on {}:\n{text}", other.name);
        }
    }
}

#[test]
fn a_mount_with_from_gets_the_files_of_the_stage_and_the_stage_is_built_once() {
    for (one, other) in pairs() {
        let writer = TestContext::new(&one);
        let unique = writer.tag("from").replace(['/', ':'], "-");
        // The stage copies a file of the context. The Dockerfile ends without a newline.
        let text = |seed: &str, step: &str| {
            format!(
                "FROM {BUSYBOX} AS seed\nCOPY seed /seed/seed\nRUN echo {seed} > /seed/version # {unique}\n\
                 FROM {BUSYBOX}\nRUN --mount=type=cache,id={unique},target=/c,from=seed,source=/seed : {unique} && {step}"
            )
        };
        writer.write("seed", "of the context");
        writer.write("Dockerfile", text("one", "cat /c/seed /c/version && echo new > /c/new"));
        let cache = writer.path("carried");
        let carried = ["--cache-dir", &cache.to_string_lossy(), "--mount-scope", "test"].map(str::to_owned);
        let carried: Vec<&str> = carried.iter().map(String::as_str).collect();
        let first = writer.build(&[&carried[..], &["."]].concat());
        let mount = &first["mounts"][0];
        assert_eq!(mount["id"], format!("/{unique} from seed:/seed"), "{first:#}");
        assert_eq!((&mount["restored_files"], &mount["saved_files"]), (&0.into(), &3.into()), "{first:#}");

        let reader =
            project(&other, &text("two", "test \"$(cat /c/version /c/new)\" = \"$(echo two; echo new)\""));
        reader.write("seed", "of the context");
        let second = reader.build(&[&carried[..], &["."]].concat());
        assert_eq!(
            (second["mounts"][0]["restored_files"].as_u64(), &second["steps"]["total"]),
            (Some(1), &3.into())
        );
        let steps = second["step_list"].as_array().unwrap();
        let seeded = steps.iter().find(|step| step["name"].as_str().unwrap().contains("seed 3/3")).unwrap();
        assert_eq!(seeded["cached"], false, "it ran, during the restore before the build: {second:#}");

        // A failing stage is reported as a failure of the build (exit code 1), not of the cache (exit code 3).
        reader.write("Dockerfile", text("three && exit 9", "true"));
        let failed = reader
            .larder(&[&["build", "--strict"], &carried[..], &["."]].concat())
            .failure(1, "exit code: 9");
        assert!(failed.stderr.contains("cannot build the initial content"), "{}", failed.stderr);
        let alone = ["mount", "restore", "--strict"];
        let alone = reader
            .larder(&[&alone, &carried[..], &["."]].concat())
            .failure(3, "cannot build the initial content");
        assert!(alone.stderr.contains("exit code: 9"), "{}", alone.stderr);
    }
}

#[test]
fn two_mounts_with_the_same_id_share_their_files() {
    for (one, other) in pairs() {
        let writer = TestContext::new(&one);
        let unique = writer.tag("twice").replace(['/', ':'], "-");
        let text = |first: &str, second: &str| {
            format!(
                "FROM {BUSYBOX} AS work\nRUN mkdir /seen\nRUN --mount=type=cache,id={unique},target=/one : {unique}; {first}\n\
                 RUN --mount=type=cache,id={unique},target=/two : {unique}; {second}\nFROM scratch AS out\nCOPY --from=work /seen /\n"
            )
        };
        writer.write("Dockerfile", text("echo 1 > /one/first", "echo 2 > /two/second"));
        writer.files(&[]);
        let cache = writer.path("carried");
        let saved = writer.mount("save", &cache, &[]);
        assert_eq!(outcomes(&saved), [(format!("/{unique}").as_str(), "saved")]);
        let list = |place: &str, name: &str| format!("ls {place} > /seen/{name}");
        let reader = project(&other, &text(&list("/one", "one"), &list("/two", "two")));
        reader.mount("restore", &cache, &[]);
        let seen = reader.files(&[]);
        assert_eq!((seen["one"].as_str(), seen["two"].as_str()), ("first\nsecond\n", "first\nsecond\n"));
    }
}

#[test]
fn an_old_frontend_does_not_expand_variables_in_mount_options() {
    for engine in engines().iter().filter(|engine| engine.version.starts_with("20.")) {
        let writer = TestContext::new(engine);
        let unique = writer.tag("old").replace(['/', ':'], "-");
        let text = |value: &str, step: &str| {
            format!(
                "FROM {BUSYBOX} AS work\nARG NAME={value}\nRUN mkdir /seen\n\
                 RUN --mount=type=cache,id={unique}-$NAME,target=/c {step}\n\
                 FROM scratch AS out\nCOPY --from=work /seen /\n"
            )
        };
        writer.write("Dockerfile", text("a", "echo a > /c/file"));
        writer.files(&[]);
        let saved = writer.mount("save", &writer.path("carried"), &[]);
        assert_eq!(outcomes(&saved), [(format!("/{unique}-$NAME").as_str(), "saved")]);
        // The same mount, although the value of the variable differs.
        writer.write("Dockerfile", text("b", "ls /c > /seen/files"));
        assert_eq!(writer.files(&[])["files"], "file\n");
    }
}

#[test]
fn the_namespace_build_argument_separates_mounts() {
    for (one, other) in pairs() {
        let writer = TestContext::new(&one);
        let target = format!("/{}", writer.tag("ns").replace(['/', ':'], "-"));
        let text = |step: &str| {
            format!(
                "FROM {BUSYBOX} AS work\nRUN mkdir /seen\nRUN --mount=type=cache,target={target} {step}\n\
                 FROM scratch AS out\nCOPY --from=work /seen /\n"
            )
        };
        let cache = writer.path("carried");
        let namespace = ["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=team"];
        writer.write("Dockerfile", text(&format!("echo team > {target}/file")));
        writer.files(&namespace);
        writer.mount("save", &cache, &namespace);

        let reader = project(&other, &text(&format!("ls {target} > /seen/files")));
        let missed = reader.mount("restore", &cache, &[]);
        assert_eq!(missed["mounts"][0]["outcome"], "miss", "{missed:#}");
        assert_eq!(reader.files(&[])["files"], "");
        let restored = reader.mount("restore", &cache, &namespace);
        assert_eq!(restored["mounts"][0]["outcome"], "hit", "{restored:#}");
        assert_eq!(reader.files(&namespace)["files"], "file\n");
    }
}

#[test]
fn a_build_restores_and_saves_its_mounts_and_reads_only_new_files() {
    for (one, other) in pairs() {
        let writer = TestContext::new(&one);
        let target = format!("/{}/.cache/pip", writer.tag("build").replace(['/', ':'], "-"));
        let text = |step: &str| format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target={target} {step}\n");
        writer.write("Dockerfile", text(&format!("echo one > {target}/one && echo two > {target}/two")));
        let cache = writer.path("carried");
        let carried = ["--cache-dir", &cache.to_string_lossy(), "--mount-scope", "test"].map(str::to_owned);
        let carried: Vec<&str> = carried.iter().map(String::as_str).collect();
        let first = writer.build(&[&carried[..], &["."]].concat());
        let mount = &first["mounts"][0];
        assert_eq!(
            (&mount["kind"], &mount["restored_files"], &mount["added_files"], &mount["saved_files"]),
            (&"pip".into(), &0.into(), &2.into(), &2.into()),
            "{first:#}"
        );

        let reader = project(&other, &text(&format!("cat {target}/one && echo three > {target}/three")));
        let second = reader.build(&[&carried[..], &["."]].concat());
        let mount = &second["mounts"][0];
        assert_eq!(
            (&mount["restored_files"], &mount["used_files"], &mount["added_files"], &mount["saved_files"]),
            (&2.into(), &1.into(), &1.into(), &3.into()),
            "{second:#}"
        );
        let tier = second["tiers"].as_array().unwrap().iter().find(|tier| tier["tier"] == "mounts").unwrap();
        assert_eq!((&tier["outcome"], &tier["bytes"]), (&"hit".into(), &8.into()), "{second:#}");

        let again = reader.build(&[&carried[..], &["--build-arg", "BUILDKIT_INLINE_CACHE=1", "."]].concat());
        assert_eq!(again["mounts"][0]["saved_files"], 0, "no step ran: {again:#}");
    }
}

/// Simulates a tool that unpacks a module once and from then on assumes that the directory is complete.
const MODULE: &str = "m=/$PLACE/lib@v1; [ -d $m ] || { mkdir -p $m; echo a > $m/a; echo b > $m/b; }; \
                      for part in $(cat /parts); do cat $m/$part >> /seen/parts || exit 1; done";

#[test]
fn files_that_many_builds_did_not_read_are_still_restored() {
    for (one, other) in pairs() {
        let builders = [TestContext::new(&one), TestContext::new(&other)];
        let place = builders[0].tag("module").replace(['/', ':'], "-");
        let cache = builders[0].path("carried");
        for (number, parts) in ["a"; 7].into_iter().chain(["a b"]).enumerate() {
            // The builders take turns, so that each build depends on files that the other builder saved.
            let context = &builders[number % 2];
            let step = MODULE.replace("$PLACE", &place);
            context.write("parts", parts).write(
                "Dockerfile",
                format!(
                    "FROM {BUSYBOX} AS work\nRUN mkdir /seen\nCOPY parts /\n\
                 RUN --mount=type=cache,target=/{place} : {number}; {step}\n\
                 FROM scratch AS out\nCOPY --from=work /seen /\n"
                ),
            );
            let is_kept = context.mount("restore", &cache, &[])["mounts"][0]["outcome"] == "hit";
            assert_eq!(is_kept, number > 0, "build {number}");
            let expected = parts.replace(' ', "\n") + "\n";
            assert_eq!(context.files(&[])["parts"], expected, "build {number}");
            let saved = context.mount("save", &cache, &[]);
            assert_eq!(saved["mounts"][0]["trimmed"]["files"], 0, "{saved:#}");
        }
    }
}

#[test]
fn a_mount_that_a_killed_step_used_is_not_saved() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let unique = context.tag("killed").replace(['/', ':'], "-");
        for (killed, other) in [("sleep 60", "sleep 1; false"), ("sh -c 'kill -9 $$' || exit $?", "true")] {
            context.write("Dockerfile", format!(
                "FROM {BUSYBOX} AS work\nRUN --mount=type=cache,target=/{unique} echo a > /{unique}/a; {killed}; echo b > /{unique}/b\n\
                 FROM {BUSYBOX}\nRUN {other} # {unique}\nCOPY --from=work / /work\n"
            ));
            let failed = context.larder(&["build", "--mount-scope", "test", "."]).failure(1, "exit code");
            assert!(
                failed.stderr.contains("is not saved: a step that uses it was killed"),
                "{}",
                failed.stderr
            );
        }
        let listed =
            context.larder(&["mount", "list", "--mount-scope", "test", "--format", "json", "."]).success();
        let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
        assert_eq!(listed["mounts"][0]["outcome"], "miss", "{listed:#}");
    }
}

#[test]
fn a_mount_that_outgrew_its_limit_is_not_restored_and_the_reason_is_reported() {
    let context = TestContext::new(&any_engine());
    let place = context.tag("outgrown").replace(['/', ':'], "-");
    let cache = context.path("carried");
    for (bytes, outcome) in [(10, "saved"), (2000, "refused")] {
        context.write(
            "Dockerfile",
            format!(
                "FROM {BUSYBOX} AS work\nRUN mkdir /seen\n\
             RUN --mount=type=cache,target=/{place} head -c {bytes} /dev/zero > /{place}/{bytes}\n\
             FROM scratch AS out\nCOPY --from=work /seen /\n"
            ),
        );
        context.files(&[]);
        let saved = context.mount("save", &cache, &["--max-mount-size", "1kB"]);
        assert_eq!(saved["mounts"][0]["outcome"], outcome, "{saved:#}");
    }
    let restored = context.mount("restore", &cache, &[]);
    assert_eq!(
        (&restored["mounts"][0]["outcome"], &restored["mounts"][0]["reason"]),
        (&"miss".into(), &"it was larger than --max-mount-size when it was saved last".into())
    );
}

#[test]
fn a_dropped_mount_is_reported_only_if_the_builder_is_known_to_have_had_it() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let target = format!("/{}/.cache/pip", context.tag("dropped").replace(['/', ':'], "-"));
        let text = |step: &str| format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target={target} {step}\n");
        let (cache, other) = (context.path("carried"), context.path("other"));
        context.write("Dockerfile", text(&format!("echo one > {target}/one")));
        context.build(&["--cache-dir", &cache.to_string_lossy(), "--mount-scope", "test", "."]);
        let warnings_once_empty = |step: &str| {
            // The build uses a different cache directory, so that the builder's note is not updated.
            context.write("Dockerfile", text(&format!("rm {target}/one && echo {step}")));
            context.build(&["--cache-dir", &other.to_string_lossy(), "--read-only", "."]);
            context.mount("restore", &cache, &[])["warnings"].to_string()
        };
        let warned = warnings_once_empty("1");
        assert!(warned.contains("has deleted the cache mount"), "{}: {warned}", engine.name);

        // Notes with an earlier time look like those of an engine that was replaced.
        for file in walkdir::WalkDir::new(&cache).into_iter().map(Result::unwrap) {
            let is_builder =
                std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains("larder.builder.v1"));
            if is_builder {
                let mut entry = json(file.path());
                for seen in entry["mounts"].as_object_mut().unwrap().values_mut() {
                    *seen = "2001-01-01T00:00:00Z".into();
                }
                std::fs::write(file.path(), entry.to_string()).unwrap();
            }
        }
        let warned = warnings_once_empty("2");
        assert!(!warned.contains("has deleted"), "{}: {warned}", engine.name);
    }
}

#[test]
fn a_mount_whose_steps_are_cached_as_layers_is_skipped() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let unique = context.tag("unneeded").replace(['/', ':'], "-");
        context.write(
            "Dockerfile",
            format!(
                "FROM {BUSYBOX}\nCOPY requirements.txt .\n\
                 RUN --mount=type=cache,target=/{unique} pip install x || date +%N >> /{unique}/file\nCOPY app /app\n"
            ),
        );
        context.write("requirements.txt", "x==1\n");
        let build = |app: &str| {
            context.write("app", app);
            // Each build has its own image name: a containerd store can lose layers of an image if its name is moved at
            // once.
            let record = context.build(&["-t", &format!("{unique}:{app}"), "."]);
            let tiers = record["tiers"].as_array().unwrap();
            let tier = tiers.iter().find(|tier| tier["tier"] == "mounts").unwrap();
            let mount = &record["mounts"][0];
            (tier["outcome"].clone(), mount["prediction"].clone(), mount["saved_files"].clone())
        };
        assert_eq!(build("1"), ("miss".into(), Value::Null, 1.into()), "{}", engine.name);
        assert_eq!(build("2"), ("skipped".into(), "right".into(), 0.into()), "{}", engine.name);
        // The same requirements in a file with a different digest: the same dependency key, but a new layer.
        context.write("requirements.txt", "x==1 # a comment\n");
        assert_eq!(build("3"), ("hit".into(), Value::Null, 1.into()), "{}", engine.name);
        assert_eq!(build("4"), ("skipped".into(), "right".into(), 0.into()), "{}", engine.name);
        let stats: Value =
            serde_json::from_str(&context.larder(&["stats", "--format", "json"]).success().stdout).unwrap();
        let sums = &stats["sums"];
        assert_eq!(
            (&sums["mounts_rightly_unneeded"], &sums["mounts_wrongly_unneeded"]),
            (&2.into(), &0.into())
        );
    }
}

/// Returns a command that runs a program in a separate network namespace. Returns `None`, and prints that the test is
/// skipped, if this machine does not allow that.
fn in_network_namespace() -> Option<std::process::Command> {
    let mut command = std::process::Command::new("unshare");
    let works = command.args(["--net", "true"]).status().is_ok_and(|status| status.success());
    if !works {
        writeln!(std::io::stdout(), "SKIPPED: needs the right to create a network namespace")
            .expect("stdout");
    }
    works.then(|| {
        let mut command = std::process::Command::new("unshare");
        command.arg("--net");
        command
    })
}

#[test]
fn a_courier_that_cannot_reach_larder_connects_through_the_engine() {
    let guarded = special("guarded").map(|engine| (engine, false));
    let ordinary = engines().into_iter().map(|engine| (engine, true));
    for (engine, is_isolated) in ordinary.chain(guarded) {
        let context = TestContext::new(&engine);
        let unique = context.tag("through").replace(['/', ':'], "-");
        let text =
            format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target=/{unique} echo one > /{unique}/file\n");
        context.write("Dockerfile", text);
        context.build(&["--read-only", "."]);
        let larder = context.command(&["mount", "save", "--format", "json", "."]);
        let mut command = if is_isolated {
            let Some(mut command) = in_network_namespace() else { continue };
            command.arg(larder.get_program()).args(larder.get_args());
            command.current_dir(context.project());
            for (name, value) in larder.get_envs() {
                command.env(name, value.expect("a value"));
            }
            command
        } else {
            larder
        };
        let run = crate::support::run_to_end(&mut command, None).success();
        let report: Value = serde_json::from_str(&run.stdout).expect("a report in JSON");
        assert_eq!(report["mounts"][0]["outcome"], "saved", "{}: {report:#}", engine.name);
        assert_eq!(report["faults"].as_array().unwrap().len(), 0, "{}: {report:#}", engine.name);
    }
}

#[test]
fn mounts_with_the_same_name_in_two_projects_are_separate() {
    let context = TestContext::new(&any_engine());
    let target = format!("/{}", context.tag("scope").replace(['/', ':'], "-"));
    context.write(
        "Dockerfile",
        format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target={target} echo x > {target}/x\n"),
    );
    let cache = context.path("carried");
    let cache = ["--cache-dir", &cache.to_string_lossy()].map(str::to_owned);
    let run = |scope: &str, action: &str| {
        let arguments =
            ["mount", action, &cache[0], &cache[1], "--mount-scope", scope, "--format", "json", "."];
        let run = context.larder(&arguments).success();
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        report["mounts"][0]["outcome"].as_str().unwrap().to_owned()
    };
    context.larder(&["build", "--read-only", "."]).success();
    assert_eq!(run("shop", "list"), "miss");
    assert_eq!(run("shop", "save"), "saved");
    assert_eq!(run("shop", "list"), "hit");
    assert_eq!(run("shop", "save"), "unchanged");
    assert_eq!(run("web", "restore"), "miss");
    assert_eq!(run("shop", "restore"), "hit");
}

#[test]
fn no_cache_skips_the_mounts_tier_and_reports_the_reason() {
    let context = TestContext::new(&any_engine());
    let target = format!("/{}", context.tag("prune").replace(['/', ':'], "-"));
    context.write(
        "Dockerfile",
        format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target={target} echo x > {target}/x\n"),
    );
    context.build(&["."]);
    for flag in ["--no-cache", "--force-rebuild"] {
        let built = context.build(&[flag, "."]);
        let tier = built["tiers"].as_array().unwrap().iter().find(|tier| tier["tier"] == "mounts").unwrap();
        let expected = format!("{flag} makes BuildKit empty them");
        assert_eq!((&tier["outcome"], &tier["reason"]), (&"skipped".into(), &expected.into()));
    }
}

#[test]
fn a_failed_save_is_a_warning_and_with_strict_an_error() {
    let context = TestContext::new(&any_engine());
    let target = format!("/{}", context.tag("late").replace(['/', ':'], "-"));
    let text = format!("FROM {BUSYBOX}\nRUN --mount=type=cache,target={target} echo x > {target}/x\n");
    context.write("Dockerfile", text);
    // No step can finish within a millisecond.
    let run = context.larder(&["build", "--mount-timeout", "0.001s", "."]).success();
    assert!(run.stderr.contains("saving cache mounts failed: it took longer than"), "{}", run.stderr);
    let strict = context.larder(&["mount", "save", "--strict", "--mount-timeout", "0.001s", "."]);
    strict.failure(3, "saving cache mounts failed").hint("without --strict");
    let metadata = context.path("metadata.json");
    let metadata_text = metadata.to_string_lossy().into_owned();
    context.larder(&["build", "--metadata-file", &metadata_text, "."]).success();
    assert_eq!(json(&metadata)["outcome"], "image-hit");
}

#[test]
fn auto_mounts_adds_mounts_without_moving_lines() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let scope = context.tag("auto");
        let text = format!(
            "FROM {BUSYBOX}\nCOPY pip /bin/pip\nRUN pip install \\\n    flask\nRUN pip install --no-cache-dir gunicorn\n"
        );
        context.write("Dockerfile", &text).write("Dockerfile.dockerignore", "secret\n").write("secret", "x");
        // The script contains the scope, which is unique to the test, so that its steps are not cached.
        let script = "mkdir -p /root/.cache/pip && echo $2 > /root/.cache/pip/$(echo $* | tr ' ' -)";
        context.write("pip", format!("#!/bin/sh\n# {scope}\n{script}\n"));
        std::fs::set_permissions(
            context.project().join("pip"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let tag = context.tag("app");
        let arguments = ["--auto-mounts", "--mount-scope", &scope, "-t", &tag, "."];
        let built = context.build(&arguments);
        let mount = &built["mounts"][0];
        let id = format!("//root/.cache/pip@{BUSYBOX}");
        assert_eq!((&mount["id"], &mount["kind"]), (&id.into(), &"pip".into()), "{built:#}");
        assert!(mount["saved_files"].as_u64().unwrap() >= 1, "{built:#}");
        let left = engine.entries(&tag, "/root/.cache/pip");
        let left: Vec<&str> = left.iter().map(|entry| entry.attributes.split(' ').next().unwrap()).collect();
        assert_eq!(left, ["pip", "pip/install---no-cache-dir-gunicorn"]);
        assert_eq!(
            std::fs::read_to_string(context.project().join("Dockerfile")).unwrap(),
            text,
            "the Dockerfile itself is not changed"
        );
        assert_eq!(context.build(&arguments)["outcome"], "image-hit");
        assert_eq!(
            context.build(&["--mount-scope", &scope, "."])["outcome"],
            "built",
            "a build without --auto-mounts has a different key"
        );

        context.write("Dockerfile", text.replace("flask", "flask && false"));
        let failed = context.larder(&[&["build"], &arguments[..]].concat()).failure(1, "exit code: 1");
        let shown: Vec<&str> = failed.stderr.lines().filter(|line| line.contains("3 |")).collect();
        assert!(shown.iter().any(|line| line.contains("RUN pip install")), "{}", failed.stderr);
        assert!(shown.iter().all(|line| !line.contains("--mount")), "{}", failed.stderr);
    }
}

/// A saved mount of 40 files of one megabyte each, and a project on a different engine that uses the same mount.
struct LargeMount {
    cache: std::path::PathBuf,
    /// The output of `md5sum` for its files.
    sums: String,
    reader: TestContext,
    _writer: TestContext,
}

impl LargeMount {
    fn new(one: &Engine, other: &Engine, sharing: &str) -> Self {
        let writer = TestContext::new(one);
        let target = format!("/{}", writer.tag("large").replace(['/', ':'], "-"));
        let text = |step: &str| {
            format!(
                "FROM {BUSYBOX} AS work\nRUN mkdir /seen\n\
                 RUN --mount=type=cache,target={target},sharing={sharing} {step}\n\
                 FROM scratch AS out\nCOPY --from=work /seen /\n"
            )
        };
        let sum = format!("cd {target} && find . -type f | sort | xargs md5sum > /seen/sums");
        let fill = "for i in $(seq 40); do head -c 1000000 /dev/urandom > $i; done";
        writer.write("Dockerfile", text(&format!("cd {target} && {fill} && {sum}")));
        let sums = writer.files(&[])["sums"].clone();
        let cache = writer.path("carried");
        writer.mount("save", &cache, &[]);
        Self { cache, sums, reader: project(other, &text(&sum)), _writer: writer }
    }

    /// Starts a restore in the background.
    fn start(&self) -> std::process::Child {
        let cache = self.cache.to_string_lossy();
        let arguments = ["mount", "restore", "--cache-dir", &cache, "--mount-scope", "test", "."];
        self.reader.command(&arguments).stderr(std::process::Stdio::piped()).spawn().unwrap()
    }

    /// Returns the number of its files that a step on the reader's engine sees.
    fn seen(&self, nonce: u64) -> usize {
        let text = std::fs::read_to_string(self.reader.project().join("Dockerfile")).unwrap();
        self.reader.write("Dockerfile", text.replace("cd /", &format!(": {nonce}; cd /")));
        let sums = self.reader.files(&[])["sums"].clone();
        let count =
            sums.lines().filter(|line| line.contains("./") && !line.contains("/.larder-restore-")).count();
        self.reader.write("Dockerfile", text);
        count
    }

    /// Restores the mount without an interruption and asserts that all of its files are there.
    fn assert_completes(&self) {
        let restored = self.reader.mount("restore", &self.cache, &["--mount-timeout", "20s"]);
        assert_eq!(restored["mounts"][0]["outcome"], "hit", "{restored:#}");
        assert_eq!(restored["faults"].as_array().unwrap().len(), 0, "{restored:#}");
        let sums = self.reader.files(&[])["sums"].clone();
        let of_files = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.contains("/.larder-restore-")).map(str::to_owned).collect()
        };
        assert_eq!(of_files(&sums), of_files(&self.sums));
    }
}

/// Delays in milliseconds until a restore is interrupted: before its step, during the step, at its end.
const DELAYS_MS: [u64; 5] = [40, 90, 160, 250, 400];

#[test]
fn killing_larder_leaves_no_running_step_and_no_partly_restored_mount() {
    for (one, other) in pairs() {
        // With `sharing=locked`, the next step waits until a step that still runs has ended.
        let mount = LargeMount::new(&one, &other, "locked");
        for millis in DELAYS_MS {
            let mut child = mount.start();
            std::thread::sleep(std::time::Duration::from_millis(millis));
            child.kill().unwrap();
            child.wait().unwrap();
            // A tool that finds some of the files would assume that they are all of the files.
            let seen = mount.seen(millis);
            assert!(seen == 0 || seen == 40, "after {millis} ms: {seen}");
        }
        mount.assert_completes();
    }
}

#[test]
fn an_interrupt_ends_a_restore_at_any_moment_and_is_reported() {
    for (one, other) in pairs() {
        let mounts = ["locked", "shared"].map(|sharing| LargeMount::new(&one, &other, sharing));
        let mut is_any_handled = false;
        for (mount, millis) in mounts.iter().flat_map(|mount| DELAYS_MS.map(|millis| (mount, millis))) {
            let child = mount.start();
            std::thread::sleep(std::time::Duration::from_millis(millis));
            let process = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            is_any_handled |= output.status.code().is_some();
            match output.status.code() {
                Some(130) => assert!(stderr.contains("error: interrupted"), "after {millis} ms: {stderr}"),
                // The restore finished before the signal.
                Some(0) => {
                    assert!(stderr.contains("restored plain") && !stderr.contains("warning"), "{stderr}");
                }
                // The signal arrived before larder had installed its handler, which takes longer on a busy machine.
                None if stderr.is_empty() => {}
                code => panic!("{code:?} after {millis} ms: {stderr}"),
            }
        }
        assert!(is_any_handled, "larder handles at least one of the interrupts");
        mounts.iter().for_each(LargeMount::assert_completes);
    }
}

#[test]
fn a_mount_that_the_user_cannot_write_to_causes_a_warning() {
    let context = TestContext::new(&any_engine());
    let target = format!("/{}", context.tag("user").replace(['/', ':'], "-"));
    let warning = format!("line 4: app cannot use the cache mount {target}, which belongs to 0:0 (0755)");
    let text = |options: &str| {
        format!(
            "FROM {BUSYBOX}\nRUN --mount=type=cache,target={target}{options} touch {target}/x\nUSER app\n\
             RUN --mount=type=cache,target={target}{options} ls {target}\n"
        )
    };
    context.write("Dockerfile", text(""));
    let run = context.larder(&["build", "."]).success();
    assert!(run.stderr.contains(&warning), "{}", run.stderr);
    context.write("Dockerfile", text("").replace("touch", "touch --"));
    let again = context.larder(&["build", "."]).success();
    assert_eq!(again.stderr.matches(&warning).count(), 1, "{}", again.stderr);
    let saved = context.larder(&["mount", "save", "--cache-dir", "another", "."]).success();
    assert!(saved.stderr.contains(&warning), "{}", saved.stderr);
    context.write("Dockerfile", text(",uid=1000"));
    let run = context.larder(&["build", "."]).success();
    assert!(!run.stderr.contains("cannot use the cache mount"), "{}", run.stderr);
}

#[test]
fn a_dockerfile_error_is_reported_with_its_reason_and_position() {
    let context = project(&any_engine(), "FROM scratch\nRUN --mount=type=cash,target=/c true\n");
    let run = context
        .larder(&["mount", "list", "."])
        .failure(2, "the Dockerfile has an error: the mount option `type` must be ");
    assert!(run.stderr.contains("Dockerfile:2:13") && run.stderr.contains("not `cash`"), "{}", run.stderr);
}
