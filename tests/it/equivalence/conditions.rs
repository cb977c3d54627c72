//! Flags that change the environment of RUN steps, and `SOURCE_DATE_EPOCH`.

use super::{Bench, NEWER_FRONTEND, Project, assert_all_same, on_engines};
use crate::image::Image;

/// A step that records the hosts, the size of the shared memory and the limits that it sees.
const WITNESS: &str = "
FROM larder-test/busybox:1
COPY run.sh /
RUN grep larder /etc/hosts > /hosts; df -k /dev/shm | awk '{print $2}' > /memory; \
    (ulimit -n; ulimit -Hn) > /files
";

#[test]
fn steps_have_the_same_hosts_limits_and_network_as_with_docker() {
    let hosts = &["--add-host", "larder-db:10.0.0.7", "--add-host", "larder-cache:10.0.0.8"];
    let limits = &["--shm-size", "32m", "--ulimit", "nofile=512:1024"];
    let networks = "FROM larder-test/busybox:1\nCOPY run.sh /\nRUN ls /sys/class/net > /networks\n";
    let space = "FROM larder-test/busybox:1\nCOPY run.sh /\nRUN readlink /proc/self/ns/net > /space\n";
    assert_all_same(
        &[
            Project::new("hosts", WITNESS).with(hosts),
            Project::new("shared memory and limits", WITNESS).with(limits),
            Project::new("no network", networks).with(&["--network", "none"]),
            Project::new("the host's network", space).with(&["--network", "host"]),
        ],
        0,
    );
}

#[test]
fn newer_engines_apply_the_flags_for_hosts_memory_and_limits() {
    on_engines(NEWER_FRONTEND, |engine| {
        let bench = Bench::with_files(engine, WITNESS);
        let name = bench.context.tag("conditions");
        let flags = ["--add-host", "larder-db=10.0.0.7", "--shm-size", "32m", "--ulimit", "nofile=512:1024"];
        bench.larder(&[&flags[..], &["-t", &name, "."]].concat(), None).success();
        for (path, expected) in [("/hosts", "10.0.0.7"), ("/memory", "32768"), ("/files", "512\n1024")] {
            let seen = String::from_utf8(engine.read(&name, path)).unwrap();
            assert!(seen.contains(expected), "{expected}: {seen}");
        }
    });
}

#[test]
fn source_date_epoch_sets_every_time_in_the_config_as_with_docker() {
    let dockerfile = "FROM larder-test/busybox:1\nCOPY src /src\nENV A=b\n";
    on_engines(NEWER_FRONTEND, |engine| {
        for by_variable in [true, false] {
            let mut bench = Bench::with_files(engine, dockerfile);
            let argument = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
            if by_variable {
                bench.variables.push(("SOURCE_DATE_EPOCH", "1000000000".to_owned()));
            }
            let arguments = [if by_variable { &[][..] } else { &argument[..] }, &[&bench.directory]].concat();
            let name = bench.assert_same("SOURCE_DATE_EPOCH", &arguments, None);
            let (image, peer) =
                (Image::from_engine(engine, &name), Image::from_engine(engine, &bench.context.tag("docker")));
            assert_eq!(image.config["created"], "2001-09-09T01:46:40Z", "{}", engine.name);
            assert_eq!(image.config, peer.config, "{}", engine.name);
        }
    });
}
