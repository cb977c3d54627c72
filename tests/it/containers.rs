//! Compares `larder run` with `docker run` on the same engine: the same options create the same container, and a
//! container that cannot be started gives the same exit code.

use std::fs;

use serde_json::{Value, json};

use crate::engines::{Engine, any_engine, engines};
use crate::support::{BUSYBOX, Run, TestContext};

/// Writes a project whose image adds one file to its base.
fn project(context: &TestContext) {
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY own /own\n")).write("own", context.tag("own"));
}

fn name(context: &TestContext, name: &str) -> String {
    context.tag(name).replace(['/', ':'], "-")
}

fn docker(engine: &Engine, arguments: &[&str]) -> Run {
    crate::support::run_to_end(engine.docker().args(arguments), None)
}

/// Returns the configuration of a container, without default values and without fields that always differ.
fn configuration(engine: &Engine, name: &str) -> Value {
    let inspected = docker(engine, &["inspect", "--type", "container", name]).success();
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    let (mut config, mut host) = (inspected[0]["Config"].clone(), inspected[0]["HostConfig"].clone());
    let is_default = |value: &Value| {
        matches!(value, Value::Null | Value::Bool(false))
            || [json!([]), json!({}), json!(0), json!(-1), json!("")].contains(value)
    };
    for field in ["Hostname", "Image", "AttachStdin"] {
        config.as_object_mut().unwrap().remove(field);
    }
    for field in ["ConsoleSize", "AutoRemove", "RestartPolicy"] {
        host.as_object_mut().unwrap().remove(field);
    }
    // Newer clients add the prefix `CAP_` and sort capabilities differently.
    for field in ["CapAdd", "CapDrop"] {
        let mut names: Vec<String> = host[field]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| format!("CAP_{}", name.as_str().unwrap().trim_start_matches("CAP_")))
            .collect();
        names.sort();
        host[field] = names.into();
    }
    for object in [&mut config, &mut host] {
        object.as_object_mut().unwrap().retain(|_, value| !is_default(value));
    }
    let networks = inspected[0]["NetworkSettings"]["Networks"].as_object().cloned().unwrap_or_default();
    let networks: Vec<(String, Value)> =
        networks.into_iter().map(|(name, network)| (name, network["IPAMConfig"].clone())).collect();
    let configuration = json!({ "config": config, "host": host, "networks": networks });
    // The names of links contain the name of the container itself.
    serde_json::from_str(&configuration.to_string().replace(name, "NAME")).unwrap()
}

#[test]
fn options_create_the_same_container_as_with_docker_run() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        project(&context);
        let tag = context.tag("app");
        context.larder(&["build", "-t", &tag, "."]).success();
        context
            .write("vars", "# more\nFROM_FILE=1 2\nHOME\nUNSET\n")
            .write("labels", "of.file=1\n")
            .write("profile.json", "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n");
        let here = context.project();
        let network = name(&context, "net");
        // The engines of this machine share its address space, so the subnet has to be unique.
        let (subnet, address) = (format!("10.213.{}", std::process::id() % 250), "9");
        docker(&engine, &["network", "create", "--subnet", &format!("{subnet}.0/24"), &network]).success();
        let other = name(&context, "other");
        docker(&engine, &["create", "--name", &other, "--volume", "/of-other", BUSYBOX]).success();
        let in_network = format!(
            "--network {network} --network-alias web --ip {subnet}.{address} --dns 10.0.0.1 --dns-option ndots:2 --dns-search example.org"
        );
        let of_other = format!("--volumes-from {other}:ro --link {other}:other");
        let bind = format!(
            "-v {}:/b:ro --mount type=bind,source={},target=/c,readonly",
            here.display(),
            here.display()
        );
        let groups = [
            "-e A=1 --env-file vars -w /tmp -u 1:2 --group-add 44 --group-add 45 --hostname box --domainname example.org",
            "--cap-add SYS_PTRACE --cap-add NET_ADMIN --cap-drop CHOWN --device /dev/null:/dev/kfd:rw --device-cgroup-rule=c\u{a0}1:3\u{a0}r",
            "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt no-new-privileges --read-only",
            "--security-opt seccomp=profile.json --security-opt systempaths=unconfined --security-opt label=disable",
            "--privileged --ipc host --pid host --uts host --cgroupns host --userns host",
            "--ipc shareable --shm-size 64m --ulimit memlock=-1 --tmpfs /t:size=1m --tmpfs /u --mount type=tmpfs,dst=/v,tmpfs-size=1m",
            "--memory 256m --memory-swap -1 --memory-reservation 128m --cpus 0.5 --cpuset-cpus 0 --cpu-shares 512 --pids-limit 100",
            "--ulimit nofile=1024:2048 --oom-score-adj 500 --blkio-weight 500 --device-read-bps /dev/null:1mb",
            "--cpu-period 50000 --cpu-quota 25000 --init --stop-signal SIGUSR1 --stop-timeout 3 --label a=b --label c --label-file labels",
            "-p 127.0.0.1::8080/udp --publish 9000-9001 --expose 70-71 -P --add-host db:10.0.0.2 --sysctl net.core.somaxconn=512",
            "--network none --no-healthcheck --log-driver json-file --log-opt max-size=1m --runtime runc --entrypoint /bin/sh",
            "--health-cmd true --health-interval 30s --health-timeout 5s --health-retries 2 --health-start-period 1m",
            &in_network,
            &of_other,
            &bind,
        ];
        for (index, group) in groups.into_iter().enumerate() {
            let options: Vec<String> = group.split(' ').map(|word| word.replace('\u{a0}', " ")).collect();
            let words = options.iter().map(String::as_str);
            let names = [
                format!("{}-{index}", name(&context, "larder")),
                format!("{}-{index}", name(&context, "docker")),
            ];
            let run = [
                &["run", "-t", &tag, "--keep-alive", "--name", &names[0]],
                &words.collect::<Vec<&str>>()[..],
                &[".", "--", "true"],
            ]
            .concat();
            let run = context.larder(&run);
            assert!(run.stderr.contains("the container is kept as"), "{group}: {}", run.stderr);
            let mut create = engine.docker();
            create.current_dir(&here).env("HOME", context.path("home")).args(["create", "--name", &names[1]]);
            crate::support::run_to_end(create.args(&options).args([&*tag, "true"]), None).success();
            let [actual, expected] = [&names[0], &names[1]].map(|name| configuration(&engine, name));
            let _ = docker(&engine, &["rm", "--force", "--volumes", &names[0], &names[1]]).success();
            assert_eq!(actual, expected, "{} {group}\n{}", engine.name, run.stderr);
        }
        docker(&engine, &["rm", "--force", "--volumes", &other]).success();
        docker(&engine, &["network", "rm", &network]).success();
    }
}

#[test]
fn a_container_that_cannot_be_started_exits_as_with_docker_run() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        project(&context);
        let tag = context.tag("app");
        context.larder(&["build", "-t", &tag, "."]).success();
        let taken = name(&context, "taken");
        docker(&engine, &["create", "--name", &taken, BUSYBOX]).success();
        for (options, command, expected) in [
            (&[][..], &["no-such-program"][..], 127),
            (&[], &["/no/such/program"], 127),
            (&["--entrypoint", "no-such-program"], &[], 127),
            (&[], &["/own"], 126),
            (&[], &["/tmp"], 126),
            (&["--user", "nobody-here"], &["true"], 125),
            (&["--network", "no-such-network"], &["true"], 125),
            (&["--cap-add", "NO_SUCH_CAPABILITY"], &["true"], 125),
            (&["--name", &taken], &["true"], 125),
            (&["--mount", "type=bind,source=/no/such/dir,target=/x"], &["true"], 125),
            (&["--device", "/dev/no-such-device"], &["true"], 125),
            (&["--runtime", "no-such-runtime"], &["true"], 125),
            (&[], &["sh", "-c", "exit 126"], 126),
        ] {
            let docker_run = docker(&engine, &[&["run", "--rm"], options, &[&tag], command].concat());
            let larder_run = context.larder(&[&["run", "-t", &tag], options, &[".", "--"], command].concat());
            let case = format!(
                "{} {options:?} {command:?}\n{}\n{}",
                engine.name, docker_run.stderr, larder_run.stderr
            );
            assert_eq!(larder_run.code, docker_run.code, "{case}");
            // The exit code for a missing device or for a directory depends on the engine's version.
            let is_variable = options.contains(&"--device") || command == ["/tmp"];
            assert!(is_variable || larder_run.code == expected, "{case}");
        }
        let left =
            docker(&engine, &["ps", "--all", "--quiet", "--filter", &format!("ancestor={tag}")]).success();
        assert_eq!(left.stdout, "", "containers that did not start were not removed");
        docker(&engine, &["rm", &taken]).success();
    }
}

#[test]
fn the_documentation_lists_every_option_of_docker_run_and_whether_it_is_supported() {
    let table = include_str!("../../docs/run.md");
    let rows: Vec<(&str, bool)> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `--")?.split_once('`'))
        .map(|(flag, rest)| (flag.split(' ').next().unwrap_or_default(), !rest.contains("| no:")))
        .collect();
    let help = TestContext::new(&Engine::none()).larder(&["run", "--help"]).success().stdout;
    let flags = |help: &str| -> Vec<String> {
        let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        let flags =
            lines.filter_map(|line| line.split([' ', '[', '=']).find_map(|word| word.strip_prefix("--")));
        flags.map(str::to_owned).collect()
    };
    let larder_flags = flags(&help);
    for engine in engines() {
        let help = docker(&engine, &["run", "--help"]).success().stdout;
        let docker_flags = flags(&help);
        assert!(docker_flags.len() > 90, "{help}");
        for flag in docker_flags.iter().filter(|flag| *flag != "help") {
            let row = rows.iter().find(|(name, _)| name == flag);
            let (_, is_supported) =
                row.unwrap_or_else(|| panic!("--{flag} of {} is not in docs/run.md", engine.name));
            // These have a different meaning in larder, which the table explains.
            let is_different = ["tty", "pull", "platform"].contains(&flag.as_str());
            assert!(
                is_different || *is_supported == larder_flags.contains(flag),
                "the row of --{flag} in docs/run.md is wrong: {is_supported}"
            );
        }
    }
}

#[test]
fn a_run_from_the_cache_has_the_same_options_without_the_files_that_set_them() {
    let context = TestContext::with_archiving(&any_engine());
    project(&context);
    let tag = context.tag("app");
    context
        .write("profile.json", r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#)
        .write("vars", "OF_FILE=secret-value\n");
    let script = "grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status; ulimit -n; echo $OF_FILE";
    let first = context
        .larder(&[
            "run",
            "-t",
            &tag,
            "--cap-add",
            "SYS_PTRACE",
            "--security-opt",
            "seccomp=profile.json",
            "--security-opt",
            "no-new-privileges",
            "--ulimit",
            "nofile=777",
            "--env-file",
            "vars",
            ".",
            "--",
            "sh",
            "-c",
            script,
        ])
        .success();
    assert!(
        first.stdout.contains("NoNewPrivs:\t1") && first.stdout.ends_with("777\nsecret-value\n"),
        "{first:?}"
    );
    let list = context.larder(&["cache", "list", "--format", "json"]).success().stdout;
    let id = serde_json::from_str::<Value>(&list).unwrap()["entries"][0]["id"].as_str().unwrap().to_owned();
    for file in ["profile.json", "vars", "Dockerfile"] {
        fs::remove_file(context.project().join(file)).unwrap();
    }
    let again = context.larder(&["run", "--from-cache", &id, "-e", "OF_FILE=given"]).success();
    assert_eq!(again.stdout, first.stdout.replace("secret-value", "given"));
    // In a different lane, the entry's privileges and options are dropped.
    let info = context.larder(&["cache", "info", &id]).success().stdout;
    assert!(info.contains("--cap-add=SYS_PTRACE") && !info.contains("secret-value"), "{info}");
    let other =
        context.larder(&["run", "--from-cache", &id, "--lane", "pr-7", "--trunk", "elsewhere"]).success();
    assert!(other.stderr.contains("warning: ignored the stored flags"), "{}", other.stderr);
    assert!(other.stdout.contains("NoNewPrivs:\t0") && !other.stdout.contains("777\n"), "{}", other.stdout);
}

#[test]
fn run_finds_the_image_of_a_build_if_the_flags_are_passed_as_build_flags() {
    let context = TestContext::new(&any_engine());
    context.write(
        "Dockerfile",
        format!("FROM {BUSYBOX}\nARG A\nRUN ls /sys/class/net | wc -l > /interfaces; grep -c db.example /etc/hosts > /hosts\nCOPY own /own\n"),
    );
    context.write("own", context.tag("own"));
    let tag = context.tag("app");
    let run = |arguments: &[&str]| {
        let script = "cat /hosts; ls /sys/class/net";
        context
            .larder(&[&["run", "-t", &tag], arguments, &[".", "--", "sh", "-c", script]].concat())
            .success()
    };
    let flags = ["--build-arg", "A=1", "--tags", "x", "--key-extra", "k=v", "--platform", "linux/amd64"];
    let steps = [
        ["network", "none"],
        ["add-host", "db.example:10.0.0.1"],
        ["shm-size", "8m"],
        ["ulimit", "nofile=512"],
        ["label", "of=image"],
    ];
    let named = |prefix: &str| -> Vec<String> {
        steps.iter().flat_map(|[flag, value]| [format!("--{prefix}{flag}"), (*value).to_owned()]).collect()
    };
    let [build_flags, run_flags] = [named(""), named("build-")];
    let build_flags: Vec<&str> = build_flags.iter().map(String::as_str).collect();
    let run_flags: Vec<&str> = run_flags.iter().map(String::as_str).collect();
    context.larder(&[&["build", "-t", &tag], &flags[..], &build_flags, &["."]].concat()).success();
    let same = run(&[&flags[..], &run_flags].concat());
    assert!(same.stderr.contains("image hit (engine)"), "{}", same.stderr);
    assert!(same.stdout.starts_with("1\n") && same.stdout.contains("eth0"), "{}", same.stdout);
    // Flags without the prefix `build-` apply to the container and do not change the key of the image.
    let container = [
        "--network",
        "none",
        "--add-host",
        "x:10.0.0.9",
        "--label",
        "of=container",
        "--ulimit",
        "nofile=256",
    ];
    let both = run(&[&flags[..], &run_flags, &container].concat());
    assert!(both.stderr.contains("image hit (engine)"), "{}", both.stderr);
    assert_eq!(both.stdout, "1\nlo\n");
    // A `--network` that is also valid for a build applies to the build and to the container.
    assert_eq!(run_flags[..2], ["--build-network", "none"]);
    let shared = run(&[&flags[..], &["--network", "none"], &run_flags[2..]].concat());
    assert!(shared.stderr.contains("image hit (engine)"), "{}", shared.stderr);
    assert_eq!(shared.stdout, "1\nlo\n");
    let error = context.larder(&["run", "--build-network", "web", "."]).failure(2, "--build-network: ");
    error.hint("--build-network <MODE>");
}

#[test]
fn an_image_in_larder_yaml_can_have_different_networks_for_its_build_and_its_runs() {
    let context = TestContext::new(&any_engine());
    context
        .write("Dockerfile", format!("FROM {BUSYBOX}\nRUN ls /sys/class/net > /of-build\nCOPY own /own\n"));
    let file = "images:\n  APP:\n    names: [TAG]\n    network: none\n    run:\n      command: [sh, -c, 'cat /of-build; ls /sys/class/net; ulimit -n; id -G']\n      ulimit: {nofile: 321}\n      group_add: [44]\n";
    let tag = context.tag("app");
    context.write("own", &tag).write("larder.yaml", file.replace("APP", "app").replace("TAG", &tag));
    let built = context.build(&["app"]);
    assert_eq!(built["outcome"], "built");
    let run = context.larder(&["run", "app"]).success();
    assert!(run.stderr.contains("image hit (engine)"), "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0] == "lo" && lines[1] == "eth0" && lines.ends_with(&["321", "0 44"]), "{}", run.stdout);
    let typed = context.larder(&["run", "--network", "none", "--ulimit", "nofile=320", "app"]).success();
    assert_eq!(typed.stdout.lines().collect::<Vec<_>>(), ["lo", "lo", "320", "0 44"]);
    context.write(
        "larder.yaml",
        file.replace("APP", "app").replace("TAG", &tag).replace("nofile: 321", "nofile: many"),
    );
    context.larder(&["run", "app"]).failure(2, "images.app.run.ulimit: `nofile=many` is not");
}

#[test]
fn the_read_only_flag_applies_to_the_container_and_to_the_cache() {
    let context = TestContext::with_archiving(&any_engine());
    project(&context);
    let run = context.larder(&["run", "--read-only", ".", "--", "touch", "/x"]);
    assert!(run.code == 1 && run.stderr.contains("Read-only file system"), "{}", run.stderr);
    assert!(!context.path("home/.cache/larder/v1/entries").exists());
    // The environment variable applies to the cache only.
    let mut command = context.command(&["run", ".", "--", "touch", "/x"]);
    let run = crate::support::run_to_end(command.env("LARDER_READ_ONLY", "1"), None).success();
    assert!(!context.path("home/.cache/larder/v1/entries").exists(), "{}", run.stderr);
}
