//! `larder run`: the image is built, found or loaded, and the container has the requested settings.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::engines::{Engine, any_engine, engines};
use crate::running::Running;
use crate::support::{BUSYBOX, Run, TestContext};

/// Writes a project with a model whose image depends on the guest system that it is built for.
fn model(context: &TestContext) {
    context
        .write(
            "Dockerfile",
            format!(
                "FROM {BUSYBOX}\nARG guest_os=UBUNTU\nCOPY own /own\nRUN echo $guest_os > /system\n\
                 CMD [\"sh\", \"-c\", \"echo model on $(cat /system) for ${{guest_os:-nobody}}\"]\n"
            ),
        )
        .write("own", context.tag("own"));
}

fn id(context: &TestContext, image: &str) -> String {
    let list = context.larder(&["cache", "list", "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let entries = list["entries"].as_array().unwrap();
    entries.iter().find(|entry| entry["image"] == image).unwrap()["id"].as_str().unwrap().to_owned()
}

fn remove(engine: &Engine, image: &str) {
    assert!(engine.docker().args(["rmi", "--force", image]).output().unwrap().status.success());
}

fn containers(engine: &Engine, name: &str) -> String {
    let filter = format!("name={name}");
    let listed = engine.docker().args(["ps", "--all", "--quiet", "--filter", &filter]).output().unwrap();
    String::from_utf8_lossy(&listed.stdout).trim().to_owned()
}

fn stderr_contains(run: &Run, text: &str) -> bool {
    run.stderr.contains(text)
}

#[test]
fn a_repeated_run_is_a_hit_and_a_different_additional_context_is_a_different_image() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        model(&context);
        let tag = context.tag("model");
        let run = |more: &[&str]| {
            let arguments =
                [&["run", "-t", &tag, "--tags", "bert", "--enable-cache", "--live-output"], more, &["."]];
            context.larder(&arguments.concat()).success()
        };
        let first = run(&[]);
        assert_eq!(first.stdout, "model on UBUNTU for nobody\n", "{}", engine.name);
        assert!(
            stderr_contains(&first, "archived the image as entry ") && stderr_contains(&first, "built in "),
            "{}",
            first.stderr
        );
        let second = run(&[]);
        assert_eq!(second.stdout, first.stdout, "{}", engine.name);
        assert!(stderr_contains(&second, "image hit (engine)"), "{}", second.stderr);
        let other = run(&["--additional-context", "{'guest_os': 'CENTOS'}"]);
        assert_eq!(other.stdout, "model on CENTOS for CENTOS\n", "{}", engine.name);
        assert!(stderr_contains(&other, "built in "), "{}", other.stderr);
        let back = run(&[]);
        assert_eq!(back.stdout, first.stdout, "{}", engine.name);
        assert!(stderr_contains(&back, "image hit "), "{}", back.stderr);
        let again = run(&["--additional-context", r#"{"guest_os": "CENTOS"}"#]);
        assert_eq!(again.stdout, other.stdout, "{}", engine.name);
        assert!(
            stderr_contains(&again, "image hit "),
            "a different notation of the same context: {}",
            again.stderr
        );
    }
}

#[test]
fn an_entry_runs_by_its_id_without_context_or_dockerfile() {
    for engine in engines() {
        let context = TestContext::with_archiving(&engine);
        model(&context);
        let tag = context.tag("model");
        context.larder(&["build", "-t", &tag, "--tags", "bert", "."]).success();
        let id = id(&context, &tag);
        fs::remove_file(context.project().join("Dockerfile")).unwrap();
        let there = context.larder(&["run", "--from-cache", &id, "--live-output"]).success();
        assert_eq!(there.stdout, "model on UBUNTU for nobody\n", "{}", engine.name);
        for words in [
            id.as_str(),
            tag.as_str(),
            "bert",
            "created",
            "last used",
            "is in the engine already",
            "exit status 0",
        ] {
            assert!(stderr_contains(&there, words), "{words}: {}", there.stderr);
        }
        remove(&engine, &tag);
        let (name, rows) = (context.tag("kept").replace(['/', ':'], "-"), context.path("custom.csv"));
        let rows_text = rows.to_str().unwrap();
        let loaded = context
            .larder(&[
                "run",
                "--from-cache",
                &id[..6],
                "--keep-alive",
                "--name",
                &name,
                "--output",
                rows_text,
            ])
            .success();
        assert_eq!(loaded.stdout, there.stdout, "{}", engine.name);
        assert!(stderr_contains(&loaded, "loaded the image: "), "{}", loaded.stderr);
        assert!(stderr_contains(&loaded, &format!("the container is kept as {name}\n")), "{}", loaded.stderr);
        assert!(!containers(&engine, &name).is_empty());
        assert!(engine.docker().args(["rm", "--force", &name]).output().unwrap().status.success());
        assert_eq!(engine.inspect(&tag)["RepoTags"][0], tag.as_str(), "the image has its name again");
        let rows = fs::read_to_string(rows).unwrap();
        let row: Vec<&str> = rows.lines().nth(1).unwrap().split(',').collect();
        assert_eq!((row[0], row[2], row[3], row[7]), (tag.as_str(), "hit", "archive", "0"), "{rows}");
    }
}

#[test]
fn an_entry_runs_with_the_flags_of_the_run_that_created_it() {
    let context = TestContext::with_archiving(&any_engine());
    model(&context);
    context.write("data/file", "data\n");
    let tag = context.tag("model");
    let script =
        "cat /data/file; id -u; pwd; echo $TOKEN $MODE $guest_os; df /dev/shm | tail -1 | cut -c1-20";
    let arguments = [
        "run",
        "-t",
        &tag,
        "-e",
        "TOKEN",
        "-e",
        "MODE=fast",
        "-v",
        "./data:/data:ro",
        "-u",
        "1234",
        "-w",
        "/data",
        "--shm-size",
        "3m",
        "--additional-context",
        "{'guest_os': 'CENTOS'}",
        ".",
        "--",
        "sh",
        "-c",
        script,
    ];
    let first = context.command(&arguments).env("TOKEN", "s3cret-token").output().unwrap();
    let stderr = String::from_utf8(first.stderr).unwrap();
    let first = String::from_utf8(first.stdout).unwrap();
    assert!(first.starts_with("data\n1234\n/data\ns3cret-token fast CENTOS\n"), "{first}");
    let id = id(&context, &tag);
    assert!(
        stderr.contains(&format!("archived the image as entry {id}")),
        "the reported id is the final id: {stderr}"
    );
    let info = context.larder(&["cache", "info", &id]).success().stdout;
    for words in [
        "run with",
        "--volume=/",
        "--user=1234",
        "--env=TOKEN",
        "--env=guest_os=CENTOS",
        "-- sh -c 'cat /data/file;",
    ] {
        assert!(info.contains(words), "{words}: {info}");
    }
    let store = context.path("home/.cache/larder");
    for entry in walkdir::WalkDir::new(store)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
    {
        let bytes = fs::read(entry.path()).unwrap();
        for value in ["s3cret-token", "MODE=fast"] {
            let found = bytes.windows(value.len()).any(|window| window == value.as_bytes());
            assert!(!found, "{value} is in {}", entry.path().display());
        }
    }
    // From a different directory, and without flags.
    let run = |more: &[&str]| {
        let mut command = context.command(&[&["run", "--from-cache", &id], more].concat());
        let output = command.current_dir(context.path("")).env("TOKEN", "other").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        (String::from_utf8(output.stdout).unwrap(), stderr)
    };
    let (again, stderr) = run(&[]);
    assert_eq!(again, first.replace("s3cret-token fast CENTOS", "other CENTOS"), "{stderr}");
    assert!(stderr.contains("variables of the earlier run are not set here: MODE (pass"), "{stderr}");
    let (again, stderr) = run(&[
        "-e",
        "MODE=slow",
        "--additional-context",
        "{guest_os: ANY}",
        "--",
        "sh",
        "-c",
        "echo $MODE $guest_os",
    ]);
    assert_eq!(again, "slow ANY\n");
    assert!(!stderr.contains("not set here"), "{stderr}");
}

#[test]
fn flags_of_a_different_lane_are_ignored_and_unsigned_entries_are_refused_if_signatures_are_required() {
    let context = TestContext::with_archiving(&any_engine());
    model(&context);
    let tag = context.tag("model");
    let script = "ls /hosts 2>&1 | head -1; echo \"$TOKEN.\"";
    let arguments = [
        "run",
        "-t",
        &tag,
        "--lane",
        "pr-1",
        "-v",
        "/etc:/hosts:ro",
        "-e",
        "TOKEN",
        ".",
        "--",
        "sh",
        "-c",
        script,
    ];
    context.larder(&arguments).success();
    let id = id(&context, &tag);
    let run = |more: &[&str]| {
        let mut command = context.command(&[&["run", "--from-cache", &id], more].concat());
        let output = command.env("TOKEN", "s3cret").output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (stdout, stderr) = run(&[]);
    assert!(stdout.contains("No such file") && stdout.ends_with("\n.\n"), "{stdout}");
    assert!(
        stderr.contains("warning: ignored the stored flags, because they are from a different lane, pr-1"),
        "{stderr}"
    );
    let (stdout, _) = run(&["--lane", "pr-1"]);
    assert!(!stdout.contains("No such file") && stdout.ends_with("\ns3cret.\n"), "{stdout}");
    let key = "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=";
    let demand = ["--require-signature", "--trusted-key", key];
    for command in [&["run", "--from-cache", &id][..], &["cache", "load", &id]] {
        context.larder(&[command, &demand].concat()).failure(2, "not signed").hint("LARDER_TRUSTED_KEYS");
    }
}

#[test]
fn a_run_whose_output_cannot_be_written_fails() {
    let context = TestContext::new(&any_engine());
    model(&context);
    let (tag, name) = (context.tag("model"), context.tag("run").replace(['/', ':'], "-"));
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let command =
        |script: &str| context.command(&["run", "-t", &tag, "--name", &name, ".", "--", "sh", "-c", script]);
    let run = command("seq 1 1000; exec sleep 100").stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: cannot write the container's output: No space left"), "{stderr}");
    // The reader closes the pipe. Without an error, the container would run forever.
    let mut child = command("exec yes").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let run = child.wait_with_output().unwrap();
    assert_eq!((&first, run.status.code()), (b"y\n", Some(1)));
    assert_eq!(containers(&context.engine, &name), "");
}

#[test]
fn an_unknown_id_is_an_error_that_lists_the_entries() {
    let context = TestContext::with_archiving(&any_engine());
    model(&context);
    context
        .larder(&["run", "--from-cache", "invalid_id"])
        .failure(2, "there is no cache entry `invalid_id`")
        .hint("the cache has no entries yet");
    let tag = context.tag("model");
    context.larder(&["build", "-t", &tag, "."]).success();
    context
        .larder(&["run", "--from-cache", "invalid_id"])
        .failure(2, "there is no cache entry `invalid_id`")
        .hint(&format!("{}: image {tag}", id(&context, &tag)))
        .hint("larder cache list");
    context.write(".pip-cache/wheel", "a wheel").write("requirements.txt", "flask\n");
    context.larder(&["dir", "save", ".pip-cache", "--key-files", "requirements.txt"]).success();
    let directory = id(&context, ".pip-cache");
    context.larder(&["run", "--from-cache", &directory]).failure(2, "is a dir, not an image");
    context.larder(&["run", "--from-cache", &directory, "."]).failure(2, "cannot be used with");
    for flag in [&["-t", "x"][..], &["--force-rebuild"], &["--build-arg", "A=1"]] {
        context
            .larder(&[&["run", "--from-cache", &directory], flag].concat())
            .failure(2, "cannot be used with");
    }
}

#[test]
fn an_exported_entry_runs_on_a_machine_with_an_empty_cache() {
    let [from, to] = [engines().swap_remove(0), engines().pop().unwrap()];
    let context = TestContext::with_archiving(&from);
    model(&context);
    let tag = context.tag("model");
    context.larder(&["build", "-t", &tag, "."]).success();
    let file = context.path("model.larder");
    let file = file.to_str().unwrap();
    context.larder(&["cache", "export", &id(&context, &tag), "--output", file]).success();
    let other = TestContext::with_archiving(&to);
    let run = other.larder(&["run", "--from-cache", file]).success();
    assert_eq!(run.stdout, "model on UBUNTU for nobody\n");
    let again = other.larder(&["run", "--from-cache", file]).success();
    assert!(stderr_contains(&again, "is in the engine already"), "{}", again.stderr);
    fs::write(other.path("broken"), &fs::read(file).unwrap()[..2000]).unwrap();
    let broken = other.path("broken");
    other.larder(&["run", "--from-cache", broken.to_str().unwrap()]).failure(2, "");
}

#[test]
fn the_container_has_the_requested_settings_and_larder_exits_with_its_status() {
    let engine = any_engine();
    let context = TestContext::new(&engine);
    model(&context);
    let data = context.path("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("in"), "read me").unwrap();
    let volume = format!("{}:/data", data.display());
    let script = "echo $A $B; cat /data/in; echo written > /data/out; id -u; pwd; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; \
                  ls /sys/class/net; echo lost >&2; exit 7";
    let run = context
        .command(&[
            "run",
            "--progress",
            "quiet",
            "-e",
            "A=1",
            "-e",
            "B",
            "-e",
            "ABSENT",
            "-v",
            &volume,
            "--user",
            "0:0",
            "-w",
            "/own.d",
            "--shm-size",
            "8m",
            "--network",
            "none",
            "--entrypoint",
            "sh",
            ".",
            "--",
            "-c",
            script,
        ])
        .env("B", "two")
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(7), "{}", String::from_utf8_lossy(&run.stderr));
    let stdout = String::from_utf8(run.stdout).unwrap();
    assert_eq!(stdout, "1 two\nread me0\n/own.d\n8192\nlo\n");
    assert!(String::from_utf8(run.stderr).unwrap().starts_with("lost\n"));
    assert_eq!(fs::read_to_string(data.join("out")).unwrap(), "written\n");

    // Both streams are complete and in order, even if the output is large.
    let much = "i=0; while [ $i -lt 20000 ]; do echo line $i of many; i=$((i+1)); done";
    let run = context.larder(&["run", "--progress", "quiet", ".", "--", "sh", "-c", much]).success();
    assert_eq!(run.stdout.lines().count(), 20_000);
    assert_eq!(run.stdout.lines().last(), Some("line 19999 of many"));

    context.larder(&["run", ".", "--", "no-such-program"]).failure(127, "cannot run the container");
    context.larder(&["run", "-p", "nowhere:x", "."]).failure(2, "--publish");
    context.larder(&["run", "--gpus", "some", "."]).failure(2, "--gpus");
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN false\n"));
    context.larder(&["run", "."]).failure(1, "exit code: 1");
}

#[test]
fn an_interrupt_stops_and_removes_the_container() {
    let engine = any_engine();
    let context = TestContext::new(&engine);
    model(&context);
    context.larder(&["build", "."]).success();
    let name = context.tag("stopped").replace(['/', ':'], "-");
    let script = "trap 'echo bye; exit 3' TERM; echo started; while true; do sleep 0.1; done";
    let running =
        Running::start(&mut context.command(&["run", "--name", &name, ".", "--", "sh", "-c", script]));
    crate::polling::await_true(Duration::from_mins(1), "the container runs", || {
        let logs = engine.docker().args(["logs", &name]).output().unwrap();
        String::from_utf8_lossy(&logs.stdout).contains("started")
    });
    running.signal(Signal::INT);
    let run = running.end(Duration::from_mins(1));
    assert_eq!(run.code, 130, "{}", run.stderr);
    assert_eq!(run.stdout, "started\nbye\n");
    assert_eq!(containers(&engine, &name), "");
}

#[test]
fn each_run_appends_a_row_to_the_csv_file() {
    let context = TestContext::new(&any_engine());
    model(&context);
    let (tag, file) = (context.tag("model"), context.path("results.csv"));
    for script in ["true", "exit 4"] {
        let mut command = context.command(&["run", "-t", &tag, "--output", file.to_str().unwrap(), "."]);
        command.args(["--", "sh", "-c", script]).env("GIT_COMMIT", "0123abc");
        command.output().unwrap();
    }
    let rows = fs::read_to_string(&file).unwrap();
    let lines: Vec<Vec<&str>> = rows.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 3, "{rows}");
    assert_eq!(lines[0].join(","), "image,key,hit,tier,build_s,load_s,run_s,exit,git_revision,host");
    for (line, expected) in lines[1..].iter().zip([["miss", "", "0"], ["hit", "engine", "4"]]) {
        assert_eq!([line[2], line[3], line[7]], expected, "{rows}");
        assert_eq!((line[0], line[1].len(), line[8]), (tag.as_str(), 64, "0123abc"), "{rows}");
        assert!(line[6].parse::<f64>().unwrap() > 0.0, "{rows}");
    }
    context
        .larder(&["run", "--output", "/nonexistent/results.csv", ".", "--", "true"])
        .failure(2, "cannot write to /nonexistent/results.csv");
}
