//! `ssh://` addresses, with a fake `ssh` that connects to an engine on this machine.

use std::os::unix::fs::PermissionsExt;

use crate::engines::engines;
use crate::support::{BUSYBOX, Run, TestContext, run_to_end};

/// Puts a script named `ssh` first in `PATH` and builds over it.
fn build_over(context: &TestContext, script: &str, host: &str) -> Run {
    let directory = context.path("bin");
    std::fs::create_dir_all(&directory).unwrap();
    let ssh = directory.join("ssh");
    std::fs::write(&ssh, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    context
        .write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY file /\nRUN cat /file\n"))
        .write("file", context.tag("by-ssh"));
    let mut command = context.command(&["build", "--progress", "plain", "."]);
    run_to_end(command.env("PATH", path).env("DOCKER_HOST", host), None)
}

#[test]
fn a_build_over_ssh_runs_docker_system_dial_stdio_on_the_remote_side() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        let log = context.path("ssh.log");
        // The command that the remote side would run, with the environment of the remote side.
        let docker = engine.docker();
        let variables: String = docker
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}='{}' ", name.to_str()?, value?.to_str()?)))
            .collect();
        let script = format!(
            "echo \"$@\" >> '{}'\nexec env {variables}'{}' system dial-stdio",
            log.display(),
            docker.get_program().to_str().unwrap(),
        );
        let run = build_over(&context, &script, "ssh://ci@build.example:2222").success();
        assert!(run.stderr.contains(&context.tag("by-ssh")), "{}:\n{}", engine.name, run.stderr);
        let calls = std::fs::read_to_string(log).unwrap();
        assert!(calls.lines().count() >= 3, "a stream each for ping, control and session: {calls}");
        for call in calls.lines() {
            assert_eq!(
                call,
                "-o ConnectTimeout=30 -T -l ci -p 2222 -- build.example docker system dial-stdio"
            );
        }
    }
}

#[test]
fn the_last_line_of_a_failing_ssh_is_the_cause() {
    let context = TestContext::new(&engines().swap_remove(0));
    let denied = "echo 'Warning: Permanently added build.example' >&2; echo 'ci@build.example: Permission denied (publickey).' >&2; exit 255";
    build_over(&context, denied, "ssh://ci@build.example")
        .failure(5, "ssh://ci@build.example broke: ssh: ci@build.example: Permission denied (publickey).")
        .hint("`ssh ci@build.example docker version`");
    build_over(&context, "exit 1", "ssh://build.example")
        .failure(5, "ssh: connection closed")
        .hint("docker version");
}

#[test]
fn a_missing_ssh_client_is_an_error_with_a_hint() {
    let context = TestContext::new(&engines().swap_remove(0));
    context.write("Dockerfile", "FROM scratch\n");
    let mut command = context.command(&["build", "."]);
    run_to_end(command.env("PATH", context.project()).env("DOCKER_HOST", "ssh://build.example"), None)
        .failure(2, "cannot run ssh to reach ssh://build.example")
        .hint("install an ssh client");
}
