//! Tests of how container options are resolved.

use serde_json::{Value, json};

use super::*;

/// Returns the request for these options, which are pairs of name and value.
fn requested(given: &[(&'static str, &str)]) -> Result<Value, String> {
    let mut options = ContainerOptions::default();
    for (name, value) in given {
        options.add(name, (*value).to_owned());
    }
    let environment: Environment = [("SET".to_owned(), "1".to_owned())].into_iter().collect();
    request::container_request(&options, &environment).map_err(|error| error.to_string())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn options_have_the_same_meaning_as_in_docker_run() {
    let host = |field: &str, value: Value| json!({ "HostConfig": { field: value } });
    let gpu = |request: Value| host("DeviceRequests", json!([request]));
    let in_network = |endpoint: Value| json!({ "HostConfig": { "NetworkMode": "web" }, "NetworkingConfig": { "EndpointsConfig": { "web": endpoint } } });
    let port = |inside: &str, address: &str, outside: &str| {
        json!({
            "ExposedPorts": { inside: {} },
            "HostConfig": { "PortBindings": { inside: [{ "HostIp": address, "HostPort": outside }] } },
        })
    };
    for (given, expected) in [
        (&[("env", "A=1"), ("env", "SET"), ("env", "UNSET")][..], json!({ "Env": ["A=1", "SET=1"] })),
        (
            &[("volume", "/a:/b:ro"), ("volume", "/c")],
            json!({ "HostConfig": { "Binds": ["/a:/b:ro"] }, "Volumes": { "/c": {} } }),
        ),
        (
            &[("tmpfs", "/a:size=1m,exec"), ("tmpfs", "/b")],
            host("Tmpfs", json!({ "/a": "size=1m,exec", "/b": "" })),
        ),
        (
            &[("mount", "type=bind,source=/a,target=/b,readonly,bind-propagation=rslave")],
            host(
                "Mounts",
                json!([{ "Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true, "BindOptions": { "Propagation": "rslave" } }]),
            ),
        ),
        (
            &[("mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770")],
            host(
                "Mounts",
                json!([{ "Type": "tmpfs", "Target": "/t", "TmpfsOptions": { "SizeBytes": 1 << 20, "Mode": 0o1770 } }]),
            ),
        ),
        (
            &[("mount", "src=v,dst=/v,volume-nocopy,volume-opt=type=nfs,volume-label=a=b,ro=false")],
            host(
                "Mounts",
                json!([{ "Type": "volume", "Source": "v", "Target": "/v", "ReadOnly": false,
                "VolumeOptions": { "NoCopy": true, "Labels": { "a": "b" }, "DriverConfig": { "Options": { "type": "nfs" } } } }]),
            ),
        ),
        (&[("publish", "80")], port("80/tcp", "", "")),
        (&[("publish", "8080:80")], port("80/tcp", "", "8080")),
        (&[("publish", "127.0.0.1:8080:80/UDP")], port("80/udp", "127.0.0.1", "8080")),
        (&[("publish", "127.0.0.1::80")], port("80/tcp", "127.0.0.1", "")),
        (&[("publish", "[::1]:1:2")], port("2/tcp", "::1", "1")),
        (&[("publish", "8000-8010:80")], port("80/tcp", "", "8000-8010")),
        (&[("publish", "published=8080,target=80,protocol=udp")], port("80/udp", "", "8080")),
        (
            &[("publish", "81-82:91-92"), ("expose", "5-6/udp")],
            json!({
                "ExposedPorts": { "91/tcp": {}, "92/tcp": {}, "5/udp": {}, "6/udp": {} },
                "HostConfig": { "PortBindings": {
                    "91/tcp": [{ "HostIp": "", "HostPort": "81" }], "92/tcp": [{ "HostIp": "", "HostPort": "82" }],
                } },
            }),
        ),
        (&[("gpus", "all")], gpu(json!({ "Count": -1, "Capabilities": [["gpu"]] }))),
        (&[("gpus", "2")], gpu(json!({ "Count": 2, "Capabilities": [["gpu"]] }))),
        (&[("gpus", "device=0,1")], gpu(json!({ "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]] }))),
        (&[("gpus", "\"device=0,1\"")], gpu(json!({ "DeviceIDs": ["0", "1"], "Capabilities": [["gpu"]] }))),
        (
            &[("gpus", "\"device=0,1\",\"capabilities=compute,utility\",driver=nvidia")],
            gpu(
                json!({ "DeviceIDs": ["0", "1"], "Capabilities": [["compute", "utility", "gpu"]], "Driver": "nvidia" }),
            ),
        ),
        (&[("gpus", "count=2")], gpu(json!({ "Count": 2, "Capabilities": [["gpu"]] }))),
        (
            &[("gpus", "capabilities=utility")],
            gpu(json!({ "Count": 1, "Capabilities": [["utility", "gpu"]] })),
        ),
        (
            &[("device", "/dev/kfd")],
            host(
                "Devices",
                json!([{ "PathOnHost": "/dev/kfd", "PathInContainer": "/dev/kfd", "CgroupPermissions": "rwm" }]),
            ),
        ),
        (
            &[("device", "/dev/kfd:r")],
            host(
                "Devices",
                json!([{ "PathOnHost": "/dev/kfd", "PathInContainer": "/dev/kfd", "CgroupPermissions": "r" }]),
            ),
        ),
        (
            &[("device", "/dev/a:/dev/b:rw")],
            host(
                "Devices",
                json!([{ "PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "rw" }]),
            ),
        ),
        (
            &[("device", "amd.com/gpu=all")],
            host("DeviceRequests", json!([{ "Driver": "cdi", "DeviceIDs": ["amd.com/gpu=all"] }])),
        ),
        (&[("device-cgroup-rule", "c 226:* rwm")], host("DeviceCgroupRules", json!(["c 226:* rwm"]))),
        (&[("entrypoint", "")], json!({ "Entrypoint": [""] })),
        (&[("label", "a=b=c"), ("label", "d")], json!({ "Labels": { "a": "b=c", "d": "" } })),
        (
            &[("security-opt", "no-new-privileges"), ("security-opt", "label:disable")],
            host("SecurityOpt", json!(["no-new-privileges", "label:disable"])),
        ),
        (
            &[("security-opt", "systempaths=unconfined")],
            json!({ "HostConfig": { "MaskedPaths": [], "ReadonlyPaths": [] } }),
        ),
        (&[("pid", "container:a")], host("PidMode", json!("container:a"))),
        (&[("sysctl", "net.core.somaxconn=1024")], host("Sysctls", json!({ "net.core.somaxconn": "1024" }))),
        (&[("network", "host")], host("NetworkMode", json!("host"))),
        (
            &[("network", "web"), ("network-alias", "a"), ("network-alias", "b")],
            in_network(json!({ "Aliases": ["a", "b"] })),
        ),
        (
            &[("network", "name=web,alias=a,ip=10.1.2.3,driver-opt=x=y"), ("link", "db:d")],
            json!({
                "HostConfig": { "NetworkMode": "web", "Links": ["db:d"] },
                "NetworkingConfig": { "EndpointsConfig": { "web": {
                    "Aliases": ["a"], "IPAMConfig": { "IPv4Address": "10.1.2.3" }, "DriverOpts": { "x": "y" }, "Links": ["db:d"],
                } } },
            }),
        ),
        (&[("link", "db:d")], host("Links", json!(["db:d"]))),
        (
            &[("network", "web"), ("link", "db:d")],
            json!({
                "HostConfig": { "NetworkMode": "web", "Links": ["db:d"] },
                "NetworkingConfig": { "EndpointsConfig": { "web": { "Links": ["db:d"] } } },
            }),
        ),
        (
            &[("gpus", "\"device=GPU-A1,GPU-b2\"")],
            host("DeviceRequests", json!([{ "DeviceIDs": ["GPU-A1", "GPU-b2"], "Capabilities": [["gpu"]] }])),
        ),
        (
            &[("add-host", "db:10.0.0.1"), ("add-host", "v6=[::1]"), ("add-host", "me:host-gateway")],
            host("ExtraHosts", json!(["db:10.0.0.1", "v6:::1", "me:host-gateway"])),
        ),
        (
            &[("memory", "1.5g"), ("memory-swap", "-1")],
            json!({ "HostConfig": { "Memory": 3_u64 << 29, "MemorySwap": -1 } }),
        ),
        (&[("cpus", "1.5")], host("NanoCpus", json!(1_500_000_000))),
        (&[("cpus", ".25")], host("NanoCpus", json!(250_000_000))),
        (
            &[("ulimit", "nofile=1024"), ("ulimit", "memlock=-1:-1")],
            host(
                "Ulimits",
                json!([
                    { "Name": "nofile", "Soft": 1024, "Hard": 1024 }, { "Name": "memlock", "Soft": -1, "Hard": -1 },
                ]),
            ),
        ),
        (
            &[("device-read-bps", "/dev/sda:1m")],
            host("BlkioDeviceReadBps", json!([{ "Path": "/dev/sda", "Rate": 1 << 20 }])),
        ),
        (
            &[("blkio-weight-device", "/dev/sda:200")],
            host("BlkioWeightDevice", json!([{ "Path": "/dev/sda", "Weight": 200 }])),
        ),
        (
            &[("log-driver", "none"), ("log-opt", "max-size=1m")],
            host("LogConfig", json!({ "Type": "none", "Config": { "max-size": "1m" } })),
        ),
        (
            &[("health-cmd", "true"), ("health-interval", "1m30s")],
            json!({ "Healthcheck": { "Test": ["CMD-SHELL", "true"], "Interval": 90_000_000_000_i64 } }),
        ),
        (&[("no-healthcheck", "true")], json!({ "Healthcheck": { "Test": ["NONE"] } })),
        (
            &[("init", "false"), ("privileged", "true")],
            json!({ "HostConfig": { "Init": false, "Privileged": true } }),
        ),
        (
            &[("oom-score-adj", "-500"), ("pids-limit", "-1")],
            json!({ "HostConfig": { "OomScoreAdj": -500, "PidsLimit": -1 } }),
        ),
    ] {
        assert_eq!(requested(given).unwrap(), expected, "{given:?}");
    }
}

#[test]
fn errors_for_malformed_options_contain_the_name_and_the_value() {
    for (name, value) in [
        ("env", "=1"),
        ("publish", "0"),
        ("publish", "x:80"),
        ("publish", "70000:80"),
        ("publish", "80/icmp"),
        ("publish", "host:1:2"),
        ("publish", "1-3:1-2"),
        ("publish", "published=1"),
        ("expose", "1:2"),
        ("gpus", "some"),
        ("gpus", "device="),
        ("gpus", "count=1,device=0"),
        ("device", "kfd"),
        ("device", "/dev/a:/dev/b:x"),
        ("device", "/dev/a:/dev/b:rr"),
        ("device-cgroup-rule", "226:* rwm"),
        ("mount", "type=bind,source=/a"),
        ("mount", "type=bind,target=/a,volume-nocopy"),
        ("mount", "target=/a,colour=red"),
        ("mount", "target=/a,tmpfs-mode=9"),
        ("mount", "type=bnd,target=/a"),
        ("mount", "type=bind,source=/a,target=/a,bind-propagation=both"),
        ("mac-address", "junk"),
        ("ip", "::1"),
        ("ip6", "10.0.0.1"),
        ("security-opt", "unconfined"),
        ("pid", "private"),
        ("pid", "container:"),
        ("uts", "private"),
        ("userns", "keep-id"),
        ("cgroupns", "none"),
        ("ipc", "container:"),
        ("sysctl", "net.core.somaxconn"),
        ("network-alias", "a"),
        ("network", "name=web,colour=red"),
        ("ip", "10.1"),
        ("add-host", "db"),
        ("add-host", "db:host"),
        ("dns", "example.org"),
        ("memory", "much"),
        ("memory-swap", "-2"),
        ("memory-swappiness", "101"),
        ("oom-score-adj", "2000"),
        ("cpus", "many"),
        ("cpus", "1.0000000001"),
        ("pids-limit", "-2"),
        ("ulimit", "nofile"),
        ("ulimit", "nofile=2:1"),
        ("device-read-bps", "sda:1m"),
        ("storage-opt", "size"),
        ("health-interval", "soon"),
    ] {
        let error = requested(&[(name, value)]).unwrap_err();
        let is_named =
            error.starts_with(&format!("--{name}: ")) && (error.contains('`') || name == "network-alias");
        assert!(is_named, "--{name} {value}: {error}");
    }
    assert!(
        requested(&[("no-healthcheck", "true"), ("health-cmd", "true")])
            .unwrap_err()
            .contains("--no-healthcheck")
    );
}

#[test]
fn every_option_is_sent_to_the_engine() {
    let value = |name: &str| match name {
        "env" => "A=1",
        "security-opt" => "no-new-privileges",
        "mount" => "type=bind,source=/a,target=/b",
        "publish" | "expose" => "80",
        "gpus" => "all",
        "device" => "/dev/a",
        "device-cgroup-rule" => "c 1:1 r",
        "ipc" | "pid" | "uts" | "userns" | "cgroupns" => "host",
        "ip" | "dns" => "10.0.0.1",
        "ip6" => "::1",
        "mac-address" => "92:d0:c6:0a:29:33",
        "add-host" => "a:10.0.0.1",
        "memory-swappiness" | "blkio-weight" | "cpus" | "health-interval" => "10",
        "ulimit" => "nofile=1",
        "no-healthcheck" | "init" | "privileged" => "true",
        name if name.starts_with("device-") || name == "blkio-weight-device" => "/dev/a:1",
        "annotation" | "sysctl" | "storage-opt" | "log-opt" | "label" => "a=b",
        _ => "1",
    };
    for option in CONTAINER_OPTIONS {
        let mut given = vec![(option.name, value(option.name))];
        if option.name == "network-alias" {
            given.push(("network", "web"));
        }
        let read_before = ["env-file", "label-file"].contains(&option.name);
        let sent = requested(&given).unwrap();
        assert_eq!(sent == json!({}), read_before, "--{} does not change the request", option.name);
        let spec = ContainerSpec::new(None, sent.clone());
        assert_eq!(spec.request_json(), sent, "--{} is not sent to the engine", option.name);
    }
}

#[test]
fn stored_flags_reproduce_the_run() {
    let environment: Environment = [("TOKEN".to_owned(), "secret".to_owned())].into_iter().collect();
    let mut typed = ContainerArgs { name: Some("once".to_owned()), ..ContainerArgs::default() };
    for (name, value) in [
        ("env", "TOKEN"),
        ("env", "MODE=fast"),
        ("volume", "/data:/data:ro"),
        ("volume", "/scratch"),
        ("publish", "8080:80"),
        ("gpus", "all"),
        ("shm-size", "8g"),
        ("cap-add", "SYS_PTRACE"),
        ("security-opt", "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"),
        ("oom-score-adj", "-500"),
        ("init", "false"),
        ("entrypoint", ""),
        ("label", "a=b c"),
    ] {
        typed.options.add(name, value.to_owned());
    }
    let command = ["python".to_owned(), "-c".to_owned()];
    let first =
        RunSettings::from_options(&typed, &ContainerOptions::default(), &command, &environment).unwrap();
    let text = serde_json::to_string(&first.stored).unwrap();
    assert!(!text.contains("secret") && !text.contains("fast") && !text.contains("once"), "{text}");
    let of_entry = |typed: &ContainerArgs, command: &[String]| {
        RunSettings::for_entry(typed, command, &first.stored, &BTreeMap::new(), &environment).unwrap()
    };
    let again = of_entry(&ContainerArgs::default(), &[]);
    assert_eq!(again.missing_variables(), ["MODE"]);
    let set = ContainerArgs {
        name: None,
        options: typed.options.without("env", |set| set == "MODE=fast"),
        ..typed
    };
    let expected =
        RunSettings::from_options(&set, &ContainerOptions::default(), &command, &environment).unwrap();
    assert_eq!(again.container, expected.container);
    assert_eq!(again.stored, first.stored);
    let mut other = ContainerArgs::default();
    other.options.add("gpus", "1".to_owned());
    let other = of_entry(&other, &["sh".to_owned()]);
    assert!(
        other.stored.flags.contains(&"--gpus=1".to_owned()) && other.stored.command == ["sh"],
        "{:?}",
        other.stored
    );
}

#[test]
fn unsupported_options_are_rejected_with_the_reason() {
    for refused in crate::cli::UNSUPPORTED_RUN_OPTIONS {
        let args = ContainerArgs::parse_flags(&[format!("--{}", refused.name)]).unwrap();
        let error = RunSettings::check_supported(&args).unwrap_err().to_string();
        assert!(error.contains(refused.name) && error.contains(refused.reason), "{error}");
    }
}
