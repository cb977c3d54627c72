//! Tests of how lanes are resolved.

use super::*;
use crate::settings::SettingsError;

/// Parses assignments separated by spaces.
fn environment(variables: &str) -> Environment {
    let pair = |text: &str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    variables.split(' ').filter_map(pair).collect()
}

/// Returns the lanes that a job reads, first the one that it writes; `*` marks the trunk.
fn shown(job: &JobLanes) -> String {
    let lanes = &job.lanes;
    let mark = |lane: &Lane| if lanes.trunk().contains(lane) { "*" } else { "" };
    let shown: Vec<String> = lanes.reads().iter().map(|lane| format!("{lane}{}", mark(lane))).collect();
    assert_eq!(lanes.reads()[0], *lanes.own());
    shown.join(" ")
}

fn resolved(variables: &str, facts: &LaneSources) -> JobLanes {
    let environment = environment(variables);
    resolve(&OptionLayer::from_environment(&environment).unwrap(), &environment, facts)
}

/// A checkout made by `git clone` of a repository with default branch `master`.
fn clone_of_master() -> LaneSources {
    LaneSources {
        checkout: Checkout { origin_head: Some("master".to_owned()), ..Checkout::default() },
        ..LaneSources::default()
    }
}

/// Jobs, the variables that their CI systems set, and their lanes. The default branch is `master`; if the system does
/// not report it, it is taken from the checkout.
const SYSTEMS: &str = "
gitlab, push to master: GITLAB_CI=true CI_COMMIT_BRANCH=master CI_COMMIT_REF_NAME=master CI_COMMIT_REF_SLUG=master CI_DEFAULT_BRANCH=master CI_PIPELINE_SOURCE=push => master*
gitlab, push: GITLAB_CI=true CI_COMMIT_BRANCH=rel/1 CI_COMMIT_REF_NAME=rel/1 CI_COMMIT_REF_SLUG=rel-1 CI_DEFAULT_BRANCH=master => rel/1 master*
gitlab, merge request: GITLAB_CI=true CI_COMMIT_REF_NAME=topic CI_MERGE_REQUEST_IID=7 CI_MERGE_REQUEST_TARGET_BRANCH_NAME=rel/1 CI_DEFAULT_BRANCH=master CI_PIPELINE_SOURCE=merge_request_event => pr-7 rel/1 master*
gitlab, merge request of a fork's master: GITLAB_CI=true CI_COMMIT_REF_NAME=master CI_MERGE_REQUEST_IID=7 CI_MERGE_REQUEST_TARGET_BRANCH_NAME=master CI_DEFAULT_BRANCH=master => pr-7 master*
gitlab, merge train: GITLAB_CI=true CI_COMMIT_REF_NAME=refs/merge-requests/7/train CI_DEFAULT_BRANCH=master => pr-7 master*
gitlab, tag: GITLAB_CI=true CI_COMMIT_REF_NAME=master CI_COMMIT_TAG=master CI_DEFAULT_BRANCH=master => tag-master master*
jenkins, branch source, master: JENKINS_URL=http://ci/ BRANCH_NAME=master BRANCH_IS_PRIMARY=true GIT_BRANCH=master => master*
jenkins, branch source, branch: JENKINS_URL=http://ci/ BRANCH_NAME=topic GIT_BRANCH=topic => topic master*
jenkins, branch source, pull request: JENKINS_URL=http://ci/ BRANCH_NAME=PR-7 CHANGE_ID=7 CHANGE_TARGET=master CHANGE_BRANCH=master CHANGE_FORK=them GIT_BRANCH=PR-7 => pr-7 master*
jenkins, branch source, tag: JENKINS_URL=http://ci/ BRANCH_NAME=v1 TAG_NAME=v1 GIT_BRANCH=v1 => tag-v1 master*
jenkins, plain job, master: JENKINS_URL=http://ci/ GIT_BRANCH=origin/master JOB_NAME=app => master*
jenkins, plain job, branch: JENKINS_URL=http://ci/ GIT_BRANCH=origin/topic/a TAG_NAME=app:1 => topic/a master*
jenkins, plain job, full reference: JENKINS_URL=http://ci/ GIT_BRANCH=refs/remotes/origin/topic => topic master*
jenkins, plain job, pull request: JENKINS_URL=http://ci/ GIT_BRANCH=origin/pr/7/merge => pr-7 master*
jenkins, plain job, github's plugin: JENKINS_URL=http://ci/ GIT_BRANCH=detached ghprbPullId=7 ghprbTargetBranch=master => pr-7 master*
jenkins, plain job, gitlab's plugin: JENKINS_URL=http://ci/ GIT_BRANCH=origin/master gitlabMergeRequestIid=7 gitlabTargetBranch=master gitlabActionType=MERGE => pr-7 master*
bitbucket, push to master: CI=true BITBUCKET_BUILD_NUMBER=1 BITBUCKET_BRANCH=master => master*
bitbucket, push: CI=true BITBUCKET_BUILD_NUMBER=1 BITBUCKET_BRANCH=topic => topic master*
bitbucket, pull request: CI=true BITBUCKET_BUILD_NUMBER=1 BITBUCKET_BRANCH=master BITBUCKET_PR_ID=7 BITBUCKET_PR_DESTINATION_BRANCH=master => pr-7 master*
bitbucket, tag: CI=true BITBUCKET_BUILD_NUMBER=1 BITBUCKET_TAG=v1 => tag-v1 master*
circleci, push to master: CIRCLECI=true CIRCLE_BRANCH=master => master*
circleci, push: CIRCLECI=true CIRCLE_BRANCH=topic => topic master*
circleci, pull request: CIRCLECI=true CIRCLE_BRANCH=topic CIRCLE_PULL_REQUEST=https://github.com/o/r/pull/7 => pr-7 master*
circleci, pull request of a fork: CIRCLECI=true CIRCLE_BRANCH=pull/7 CIRCLE_PR_NUMBER=7 CIRCLE_PR_USERNAME=them => pr-7 master*
circleci, tag: CIRCLECI=true CIRCLE_TAG=v1 => tag-v1 master*
azure, push to master: TF_BUILD=True BUILD_REASON=IndividualCI BUILD_SOURCEBRANCH=refs/heads/master BUILD_SOURCEBRANCHNAME=master => master*
azure, push: TF_BUILD=True BUILD_SOURCEBRANCH=refs/heads/topic/master BUILD_SOURCEBRANCHNAME=master => topic/master master*
azure, pull request on github: TF_BUILD=True BUILD_REASON=PullRequest BUILD_SOURCEBRANCH=refs/pull/7/merge SYSTEM_PULLREQUEST_PULLREQUESTID=512 SYSTEM_PULLREQUEST_PULLREQUESTNUMBER=7 SYSTEM_PULLREQUEST_TARGETBRANCH=master => pr-7 master*
azure, pull request: TF_BUILD=True BUILD_REASON=PullRequest BUILD_SOURCEBRANCH=refs/pull/7/merge SYSTEM_PULLREQUEST_PULLREQUESTID=7 SYSTEM_PULLREQUEST_SOURCEBRANCH=refs/heads/master SYSTEM_PULLREQUEST_TARGETBRANCH=refs/heads/rel/1 => pr-7 rel/1 master*
azure, tag: TF_BUILD=True BUILD_SOURCEBRANCH=refs/tags/v1 => tag-v1 master*
buildkite, push to master: BUILDKITE=true BUILDKITE_BRANCH=master BUILDKITE_PULL_REQUEST=false BUILDKITE_PIPELINE_DEFAULT_BRANCH=master => master*
buildkite, push: BUILDKITE=true BUILDKITE_BRANCH=topic BUILDKITE_PULL_REQUEST=false BUILDKITE_PIPELINE_DEFAULT_BRANCH=master => topic master*
buildkite, pull request: BUILDKITE=true BUILDKITE_BRANCH=master BUILDKITE_PULL_REQUEST=7 BUILDKITE_PULL_REQUEST_BASE_BRANCH=master BUILDKITE_PIPELINE_DEFAULT_BRANCH=master => pr-7 master*
buildkite, tag: BUILDKITE=true BUILDKITE_BRANCH=v1 BUILDKITE_TAG=v1 BUILDKITE_PULL_REQUEST=false BUILDKITE_PIPELINE_DEFAULT_BRANCH=master => tag-v1 master*
drone, push to master: DRONE=true DRONE_BUILD_EVENT=push DRONE_BRANCH=master DRONE_REPO_BRANCH=master => master*
drone, push: DRONE=true DRONE_BUILD_EVENT=push DRONE_BRANCH=topic DRONE_REPO_BRANCH=master => topic master*
drone, pull request: DRONE=true DRONE_BUILD_EVENT=pull_request DRONE_BRANCH=master DRONE_SOURCE_BRANCH=master DRONE_TARGET_BRANCH=master DRONE_PULL_REQUEST=7 DRONE_REPO_BRANCH=master => pr-7 master*
drone, tag: DRONE=true DRONE_BUILD_EVENT=tag DRONE_TAG=v1 DRONE_REPO_BRANCH=master => tag-v1 master*
woodpecker, push to master: CI=woodpecker CI_PIPELINE_EVENT=push CI_COMMIT_BRANCH=master CI_REPO_DEFAULT_BRANCH=master => master*
woodpecker, push: CI=woodpecker CI_PIPELINE_EVENT=push CI_COMMIT_BRANCH=topic CI_REPO_DEFAULT_BRANCH=master => topic master*
woodpecker, pull request: CI=woodpecker CI_PIPELINE_EVENT=pull_request CI_COMMIT_BRANCH=master CI_COMMIT_TARGET_BRANCH=master CI_COMMIT_PULL_REQUEST=7 CI_REPO_DEFAULT_BRANCH=master => pr-7 master*
woodpecker, tag: CI=woodpecker CI_PIPELINE_EVENT=tag CI_COMMIT_TAG=v1 CI_REPO_DEFAULT_BRANCH=master => tag-v1 master*
travis, push to master: TRAVIS=true TRAVIS_BRANCH=master TRAVIS_PULL_REQUEST=false TRAVIS_EVENT_TYPE=push => master*
travis, push: TRAVIS=true TRAVIS_BRANCH=topic TRAVIS_PULL_REQUEST=false => topic master*
travis, pull request: TRAVIS=true TRAVIS_BRANCH=master TRAVIS_PULL_REQUEST=7 TRAVIS_PULL_REQUEST_BRANCH=master TRAVIS_EVENT_TYPE=pull_request => pr-7 master*
travis, tag: TRAVIS=true TRAVIS_BRANCH=v1 TRAVIS_TAG=v1 TRAVIS_PULL_REQUEST=false => tag-v1 master*
appveyor, push to master: APPVEYOR=True APPVEYOR_REPO_BRANCH=master => master*
appveyor, push: APPVEYOR=True APPVEYOR_REPO_BRANCH=topic => topic master*
appveyor, pull request: APPVEYOR=True APPVEYOR_REPO_BRANCH=master APPVEYOR_PULL_REQUEST_NUMBER=7 => pr-7 master*
appveyor, tag: APPVEYOR=True APPVEYOR_REPO_BRANCH=master APPVEYOR_REPO_TAG=true APPVEYOR_REPO_TAG_NAME=v1 => tag-v1 master*
semaphore, pull request: SEMAPHORE=true SEMAPHORE_GIT_REF_TYPE=pull-request SEMAPHORE_GIT_BRANCH=master SEMAPHORE_GIT_PR_NUMBER=7 => pr-7 master*
cirrus, pull request: CIRRUS_CI=true CIRRUS_BRANCH=pull/7 CIRRUS_PR=7 CIRRUS_BASE_BRANCH=master CIRRUS_DEFAULT_BRANCH=master => pr-7 master*
codefresh, push: CF_BUILD_ID=1 CF_BRANCH=topic CF_PULL_REQUEST_NUMBER=${{CF_PULL_REQUEST_NUMBER}} => topic master*
codebuild, push to master: CODEBUILD_BUILD_ID=1 CODEBUILD_WEBHOOK_TRIGGER=branch/master => master*
codebuild, pull request: CODEBUILD_BUILD_ID=1 CODEBUILD_WEBHOOK_TRIGGER=pr/7 CODEBUILD_WEBHOOK_EVENT=PULL_REQUEST_CREATED CODEBUILD_WEBHOOK_BASE_REF=refs/heads/master => pr-7 master*
bitrise, pull request: BITRISE_IO=true BITRISE_GIT_BRANCH=master BITRISEIO_GIT_BRANCH_DEST=master BITRISE_PULL_REQUEST=7 => pr-7 master*
bamboo, pull request: bamboo_agentId=1 bamboo_planRepository_branchName=master bamboo_repository_pr_key=7 bamboo_repository_pr_targetBranch=master => pr-7 master*
";

#[test]
fn jobs_of_every_ci_system_write_their_own_lane_and_read_the_trunk() {
    for row in SYSTEMS.trim().lines() {
        let (job, lanes) = row.split_once(" => ").unwrap();
        let (_, variables) = job.split_once(": ").unwrap();
        assert_eq!(shown(&resolved(variables, &clone_of_master())), lanes, "{row}");
    }
}

#[test]
fn github_jobs_take_the_default_branch_and_the_pull_request_from_the_event() {
    let of_repository = r#""repository": {"default_branch": "master"}"#;
    let request = r#""pull_request": {"number": 7, "base": {"ref": "rel/1"}}"#;
    let table: &[(&str, &str, &str, &str)] = &[
        ("push to master", "GITHUB_REF=refs/heads/master GITHUB_EVENT_NAME=push", "", "master*"),
        ("push", "GITHUB_REF=refs/heads/a/b GITHUB_EVENT_NAME=push", "", "a/b master*"),
        ("tag", "GITHUB_REF=refs/tags/master GITHUB_EVENT_NAME=push", "", "tag-master master*"),
        (
            "pull request",
            "GITHUB_REF=refs/pull/7/merge GITHUB_EVENT_NAME=pull_request GITHUB_BASE_REF=master GITHUB_HEAD_REF=master",
            "",
            "pr-7 master*",
        ),
        (
            "pull request into another branch",
            "GITHUB_REF=refs/pull/7/merge GITHUB_EVENT_NAME=pull_request GITHUB_BASE_REF=rel/1",
            request,
            "pr-7 rel/1 master*",
        ),
        (
            "with the rights of its target",
            "GITHUB_REF=refs/heads/master GITHUB_EVENT_NAME=pull_request_target GITHUB_BASE_REF=master",
            request,
            "pr-7 master*",
        ),
        (
            "the same without an event",
            "GITHUB_REF=refs/heads/master GITHUB_EVENT_NAME=pull_request_target GITHUB_BASE_REF=master",
            "",
            "local master*",
        ),
        (
            "comment on a pull request",
            "GITHUB_REF=refs/heads/master GITHUB_EVENT_NAME=issue_comment",
            r#""issue": {"number": 7, "pull_request": {}}"#,
            "pr-7 master*",
        ),
        (
            "comment on an issue",
            "GITHUB_REF=refs/heads/master GITHUB_EVENT_NAME=issue_comment",
            r#""issue": {"number": 7}"#,
            "master*",
        ),
        (
            "after a fork's job",
            "GITHUB_REF=refs/heads/master GITHUB_EVENT_NAME=workflow_run",
            r#""workflow_run": {"event": "pull_request", "pull_requests": []}"#,
            "local master*",
        ),
        (
            "merge queue",
            "GITHUB_REF=refs/heads/gh-readonly-queue/rel/1/pr-7 GITHUB_EVENT_NAME=merge_group",
            r#""merge_group": {"base_ref": "refs/heads/rel/1"}"#,
            "gh-readonly-queue/rel/1/pr-7 rel/1 master*",
        ),
    ];
    for (label, variables, event, lanes) in table {
        let event =
            [of_repository, event].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>();
        let event = serde_json::from_str(&format!("{{{}}}", event.join(","))).unwrap();
        let facts = LaneSources { event: Some(event), ..LaneSources::default() };
        let variables = format!("GITHUB_ACTIONS=true {variables}");
        assert_eq!(shown(&resolved(&variables, &facts)), *lanes, "{label}");
    }
}

#[test]
fn teamcity_jobs_take_their_lanes_from_the_parameter_file() {
    let base = tempfile::tempdir().unwrap();
    let (build, parameters) = (base.path().join("build.properties"), base.path().join("parameters"));
    let file = parameters.to_str().unwrap();
    std::fs::write(
        &build,
        format!("#TeamCity\nbuild.number=3\nteamcity.configuration.properties.file={file}\n"),
    )
    .unwrap();
    let variables = format!("TEAMCITY_VERSION=2025.07 TEAMCITY_BUILD_PROPERTIES_FILE={}", build.display());
    for (lines, lanes) in [
        ("teamcity.build.branch=master\nvcsroot.branch=refs/heads/master\n", "master*"),
        ("teamcity.build.branch=<default>\nvcsroot.branch=refs/heads/master\n", "master*"),
        ("teamcity.build.branch=master\nteamcity.build.branch.is_default=true\n", "master*"),
        ("teamcity.build.branch=topic\\:a\nvcsroot.branch=refs/heads/master\n", "topic:a master*"),
        (
            "teamcity.build.branch=7\nteamcity.pullRequest.number=7\nteamcity.pullRequest.target.branch=refs/heads/master\n",
            "pr-7 master*",
        ),
        ("", "local main* master*"),
    ] {
        std::fs::write(&parameters, lines).unwrap();
        let facts = LaneSources::read(&environment(&variables), base.path());
        assert_eq!(shown(&resolved(&variables, &facts)), lanes, "{lines}");
    }
}

#[test]
fn without_a_branch_in_variables_a_ci_job_writes_the_lane_of_head_or_local() {
    let head = |name: Option<&str>| LaneSources {
        checkout: Checkout { head: name.map(str::to_owned), ..clone_of_master().checkout },
        ..LaneSources::default()
    };
    let table: &[(&str, Option<&str>, &str, bool)] = &[
        ("JENKINS_URL=http://ci/", Some("topic"), "topic master*", false),
        ("JENKINS_URL=http://ci/ GIT_BRANCH=detached", Some("master"), "master*", false),
        ("JENKINS_URL=http://ci/", None, "local master*", true),
        ("CI=true", Some("topic"), "topic master*", false),
        ("CI=true", None, "local master*", true),
        // The job builds a pull request, whatever is checked out.
        ("DRONE=true DRONE_BUILD_EVENT=pull_request", Some("master"), "local master*", true),
        ("TF_BUILD=True BUILD_SOURCEBRANCH=refs/changes/1/2", Some("master"), "local master*", true),
        // Not a CI job.
        ("", Some("master"), "local master*", false),
        ("LARDER_LANE=own", None, "own master*", false),
        ("CI=true LARDER_LANE=own", None, "own master*", false),
    ];
    for (variables, name, lanes, is_unknown) in table {
        let job = resolved(variables, &head(*name));
        assert_eq!((shown(&job).as_str(), job.is_branch_unknown), (*lanes, *is_unknown), "{variables:?}");
    }
}

#[test]
fn the_trunk_is_the_default_branch_of_the_first_known_source() {
    let checkout = |origin_head: Option<&str>, customary: &[&'static str]| LaneSources {
        checkout: Checkout {
            origin_head: origin_head.map(str::to_owned),
            usual_default_branches: customary.to_vec(),
            ..Checkout::default()
        },
        ..LaneSources::default()
    };
    let (gitlab, jenkins) = ("CI_COMMIT_REF_NAME=topic CI_DEFAULT_BRANCH=develop", "BRANCH_NAME=topic");
    let request = |target: &str| format!("CHANGE_ID=7 CHANGE_TARGET={target}");
    let table: &[(&str, LaneSources, &str)] = &[
        (gitlab, checkout(Some("trunk"), &["main"]), "topic develop*"),
        (&format!("{gitlab} LARDER_TRUNK=own"), checkout(None, &[]), "topic own*"),
        (jenkins, checkout(Some("trunk"), &["main"]), "topic trunk*"),
        (jenkins, checkout(None, &["master"]), "topic master*"),
        (jenkins, checkout(None, &["main", "master"]), "topic main* master*"),
        (jenkins, checkout(None, &[]), "topic main* master*"),
        ("BRANCH_NAME=master", checkout(None, &[]), "master*"),
        ("BRANCH_NAME=main", checkout(None, &["main", "master"]), "main*"),
        (&request("master"), checkout(None, &[]), "pr-7 master*"),
        (&request("develop"), checkout(None, &[]), "pr-7 develop main* master*"),
        (&request("develop"), checkout(None, &["main"]), "pr-7 develop main*"),
    ];
    for (variables, facts, lanes) in table {
        assert_eq!(shown(&resolved(variables, facts)), *lanes, "{variables:?} {facts:?}");
    }
}

#[test]
fn no_branch_has_the_lane_of_a_pull_request_a_tag_or_an_unknown_branch() {
    for (branch, lane) in [
        ("pr-7", "branch-pr-7"),
        ("tag-v1", "branch-tag-v1"),
        ("local", "branch-local"),
        ("branch-local", "branch-branch-local"),
        ("locals", "locals"),
        ("pr/a", "pr/a"),
    ] {
        let job = resolved(&format!("GITHUB_REF=refs/heads/{branch}"), &clone_of_master());
        assert_eq!(shown(&job), format!("{lane} master*"));
    }
}

#[test]
fn flags_override_variables_and_the_file_and_invalid_names_are_errors() {
    let variables = environment("LARDER_LANE=of-variable LARDER_TRUNK=of-variable");
    let lane = |text: &str| Lane::try_from(text.to_owned()).unwrap();
    let file =
        OptionLayer { trunk: Some(Sourced::new(lane("of-file"), Origin::File)), ..OptionLayer::default() };
    let lanes = |own: Option<&str>, trunk: Option<&str>, environment: &Environment| {
        let flags = OptionLayer {
            lane: own.map(|text| Sourced::flag("lane", lane(text))),
            trunk: trunk.map(|text| Sourced::flag("trunk", lane(text))),
            ..OptionLayer::default()
        };
        let options =
            flags.combine(OptionLayer::from_environment(environment).unwrap()).combine(file.clone());
        let job = resolve(&options, environment, &LaneSources::default());
        (shown(&job), job.own_from, job.trunk_from)
    };
    assert_eq!(lanes(Some("a"), Some("b"), &variables), ("a b*".to_owned(), "--lane", "--trunk"));
    let by_variable = ("of-variable*".to_owned(), "LARDER_LANE", "LARDER_TRUNK");
    assert_eq!(lanes(None, None, &variables), by_variable);
    let nothing = Environment::default();
    assert_eq!(lanes(None, None, &nothing), ("local of-file*".to_owned(), "no CI job", "larder.yaml"));
    let wrong = OptionLayer::from_environment(&environment("LARDER_LANE=a\nb")).unwrap_err();
    assert!(matches!(wrong, SettingsError::Variable { variable: "LARDER_LANE", .. }), "{wrong}");
}

#[test]
fn a_ci_job_is_recorded_with_its_build_and_revision() {
    let record = |variables: &str| ci_job(&environment(variables), &LaneSources::default());
    let shown = |variables: &str| {
        let CiJobRecord { system, job, number, url, branch, revision } = record(variables).unwrap();
        let texts = [job, number, url, branch, revision].map(Option::unwrap_or_default);
        format!("{system}|{}", texts.join("|"))
    };
    for (variables, expected) in [
        (
            "JENKINS_URL=http://ci JOB_NAME=shop/main BUILD_NUMBER=812 BUILD_URL=http://ci/job/shop/812/ \
             BRANCH_NAME=main GIT_COMMIT=abc",
            "jenkins|shop/main|812|http://ci/job/shop/812/|main|abc",
        ),
        (
            "GITLAB_CI=true CI_JOB_NAME=image CI_PIPELINE_ID=9 CI_JOB_URL=http://lab/-/jobs/7 CI_COMMIT_BRANCH=dev \
             CI_COMMIT_SHA=abc",
            "gitlab|image|9|http://lab/-/jobs/7|dev|abc",
        ),
        (
            "GITHUB_ACTIONS=true GITHUB_WORKFLOW=ci GITHUB_RUN_NUMBER=5 GITHUB_SERVER_URL=http://hub \
             GITHUB_REPOSITORY=a/b GITHUB_RUN_ID=77 GITHUB_REF=refs/heads/dev GITHUB_SHA=abc",
            "github|ci|5|http://hub/a/b/actions/runs/77|dev|abc",
        ),
        (
            "BUILDKITE=true BUILDKITE_PIPELINE_SLUG=shop BUILDKITE_BUILD_NUMBER=3 BUILDKITE_BUILD_URL=http://kite/3 \
             BUILDKITE_BRANCH=dev BUILDKITE_COMMIT=abc BUILDKITE_PULL_REQUEST=false",
            "buildkite|shop|3|http://kite/3|dev|abc",
        ),
        (
            "CIRCLECI=true CIRCLE_JOB=image CIRCLE_BUILD_NUM=4 CIRCLE_BUILD_URL=http://circle/4 CIRCLE_BRANCH=dev \
             CIRCLE_SHA1=abc",
            "circleci|image|4|http://circle/4|dev|abc",
        ),
        (
            "TF_BUILD=True BUILD_DEFINITIONNAME=shop BUILD_BUILDNUMBER=20261130.1 SYSTEM_COLLECTIONURI=http://az/ \
             SYSTEM_TEAMPROJECT=team BUILD_BUILDID=31 BUILD_SOURCEBRANCH=refs/heads/dev BUILD_SOURCEVERSION=abc",
            "azure|shop|20261130.1|http://az/team/_build/results?buildId=31|dev|abc",
        ),
        // A pull request has no branch of its own, and an address with a missing variable is left out.
        ("GITHUB_ACTIONS=true GITHUB_REF=refs/pull/7/merge GITHUB_SERVER_URL=http://hub", "github|||||"),
        ("DRONE=true DRONE_BRANCH=dev", "drone||||dev|"),
    ] {
        assert_eq!(shown(variables), expected);
    }
    assert_eq!(record("CI=true"), None);
}
