//! Jobs of branches and pull requests: which data they share in a registry and in the store.

use serde_json::Value;

use super::{Agent, BuildResult, tags};
use crate::engines::any_engine;
use crate::registries::Registry;
use crate::support::{json, run_to_end};

/// A registry and a store that the jobs of a project share.
struct SharedCaches {
    registry: Registry,
    store: String,
}

impl SharedCaches {
    fn new(agent: &Agent) -> Self {
        let store = agent.path("shared");
        std::fs::create_dir(&store).unwrap();
        Self { registry: Registry::open(), store: format!("file://{store}") }
    }

    /// Builds and pushes as a job with these variables, then restores and saves a directory. Returns what it restored.
    fn job(&self, agent: &Agent, variables: &str) -> (BuildResult, Value) {
        let (cache, metadata) = (agent.path("cache"), agent.path("metadata.json"));
        let larder = |arguments: &[&str]| {
            let common = ["--cache-dir", &cache, "--remote", &self.store];
            let mut command = agent.context.command(&[arguments, &common].concat());
            command.env_remove("LARDER_LANE");
            command.envs(variables.split(' ').filter_map(|variable| variable.split_once('=')));
            run_to_end(&mut command, None).success()
        };
        let name = format!("{}/app:{}", self.registry.host, agent.name);
        let run = larder(&["build", "--metadata-file", &metadata, "--push", "-t", &name, "."]);
        let directory = agent.path("wheels");
        std::fs::create_dir(&directory).unwrap();
        let of_directory = [directory.as_str(), "--name", "wheels", "--key-files", "requirements.txt"];
        let restored = larder(&[&["dir", "restore", "--format", "json"], &of_directory[..]].concat());
        std::fs::write(format!("{directory}/wheel"), "1").unwrap();
        larder(&[&["dir", "save"], &of_directory[..]].concat());
        let built = BuildResult { record: json(metadata.as_ref()), run };
        (built, serde_json::from_str(&restored.stdout).unwrap())
    }
}

#[test]
fn a_pull_request_reads_the_lane_of_its_target_branch_and_does_not_write_to_it() {
    // The variables of a job of `master`, and those of pull requests from `master` of a fork.
    let systems = [
        (
            "JENKINS_URL=http://ci/ BRANCH_NAME=master",
            "JENKINS_URL=http://ci/ BRANCH_NAME=PR-# CHANGE_ID=# CHANGE_BRANCH=master CHANGE_TARGET=master",
        ),
        ("GITHUB_REF=refs/heads/master", "GITHUB_REF=refs/pull/#/merge GITHUB_BASE_REF=master"),
        (
            "BITBUCKET_BRANCH=master",
            "BITBUCKET_BRANCH=master BITBUCKET_PR_ID=# BITBUCKET_PR_DESTINATION_BRANCH=master",
        ),
    ];
    for (of_master, of_request) in systems {
        let agent = Agent::new(&any_engine());
        let shared = SharedCaches::new(&agent);
        let (request, _) = shared.job(&agent, &of_request.replace('#', "7"));
        assert_eq!(request.record["lanes"]["own"], "pr-7", "{of_request}");
        assert_eq!(tags(&shared.registry, "app"), ["a", "cache-pr-7", "larder-KEY-pr-7"], "{of_request}");

        let (master, restored) = shared.job(&agent.other_agent(&any_engine(), "b"), of_master);
        assert_eq!(master.record["outcome"], "built", "{of_master}: {}", master.run.stderr);
        assert_eq!(restored["outcome"], "miss", "{of_master}: {restored}");
        let all = ["a", "b", "cache", "cache-pr-7", "larder-KEY", "larder-KEY-pr-7"];
        assert_eq!(tags(&shared.registry, "app"), all, "{of_master}");
        let stderr = &master.run.stderr;
        assert!(stderr.contains("  lane master (") && stderr.contains("), trunk master ("), "{stderr}");

        let (other, restored) =
            shared.job(&agent.other_agent(&any_engine(), "c"), &of_request.replace('#', "8"));
        assert!(other.is_hit_in_registry(), "{of_request}: {}", other.run.stderr);
        assert_eq!((&restored["outcome"], &restored["lane"]), (&"hit".into(), &"master".into()));
    }
}

#[test]
fn a_ci_job_of_an_unknown_branch_writes_to_the_local_lane_and_is_warned() {
    let agent = Agent::new(&any_engine());
    let shared = SharedCaches::new(&agent);
    let (unknown, _) = shared.job(&agent, "CI=true");
    assert_eq!(tags(&shared.registry, "app"), ["a", "cache-local", "larder-KEY-local"]);
    let warned = "warning: the branch of this job is not known: it saves to lane local and only reads the trunk \
                  (main or master); set LARDER_LANE to the branch and LARDER_TRUNK to the default branch";
    assert_eq!(unknown.run.stderr.matches(warned).count(), 1, "{}", unknown.run.stderr);
    let (main, restored) = shared.job(&agent.other_agent(&any_engine(), "b"), "CI=true LARDER_LANE=main");
    assert_eq!(main.record["outcome"], "built", "{}", main.run.stderr);
    assert_eq!(restored["outcome"], "miss", "{restored}");
    // The next job of an unknown branch finds both.
    let (unknown, restored) = shared.job(&agent.other_agent(&any_engine(), "c"), "CI=true");
    assert!(unknown.is_hit_in_registry(), "{}", unknown.run.stderr);
    assert_eq!(restored["lane"], "local", "{restored}");
}
