//! The variables with which CI systems describe a job, as documented by their vendors.

use super::env_vars;

/// Set by Jenkins' git plugin: the branch, prefixed with the name of the remote.
pub(super) const GIT_BRANCH: &str = "GIT_BRANCH";
/// Set by Jenkins: the tag, if it equals `BRANCH_NAME`; elsewhere the variable often holds an image's tag.
pub(super) const TAG_NAME: &str = "TAG_NAME";
/// Set by Jenkins and TeamCity: `true` in a job of the default branch.
pub(super) const IS_DEFAULT_BRANCH: &[&str] = &["BRANCH_IS_PRIMARY", "teamcity.build.branch.is_default"];

/// The variables of a CI system; the first one in a list that is set is used.
pub(super) struct CiSystem {
    /// The name in records of builds.
    pub(super) name: &'static str,
    /// At least one of these is set in every job.
    pub(super) markers: &'static [&'static str],
    /// The event that started the job, see `ci::is_pull_request_event`.
    pub(super) events: &'static [&'static str],
    /// The number or address of the pull request; empty or `false` if there is none.
    pub(super) pull_request: &'static [&'static str],
    /// The branch that a pull request would be merged into.
    pub(super) target: &'static [&'static str],
    /// The tag; set only in jobs that build one.
    pub(super) tag: &'static [&'static str],
    /// The branch, or the full name of a reference.
    pub(super) branch: &'static [&'static str],
    pub(super) default_branch: &'static [&'static str],
    /// The name of the job or pipeline.
    pub(super) job: &'static [&'static str],
    /// The number of the build.
    pub(super) number: &'static [&'static str],
    /// The address of the build's page, with the names of variables in braces; empty if it is not known.
    pub(super) url: &'static str,
    /// The commit that is built.
    pub(super) revision: &'static [&'static str],
}

const NO_VARIABLES: CiSystem = CiSystem {
    name: "",
    markers: &[],
    events: &[],
    pull_request: &[],
    target: &[],
    tag: &[],
    branch: &[],
    default_branch: &[],
    job: &[],
    number: &[],
    url: "",
    revision: &[],
};

/// All supported CI systems. TeamCity's configuration parameters, which are in a file, are listed like variables.
pub(super) const CI_SYSTEMS: &[CiSystem] = &[
    // GitHub, Gitea, Forgejo. The event file contains more, see `ci::job_from_event`.
    CiSystem {
        name: "github",
        markers: &["GITHUB_ACTIONS", env_vars::GITHUB_REF],
        events: &["GITHUB_EVENT_NAME"],
        target: &[env_vars::GITHUB_BASE_REF],
        branch: &[env_vars::GITHUB_REF],
        job: &["GITHUB_WORKFLOW"],
        number: &["GITHUB_RUN_NUMBER"],
        url: "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
        revision: &[env_vars::GITHUB_SHA],
        ..NO_VARIABLES
    },
    // GitLab
    CiSystem {
        name: "gitlab",
        markers: &[
            "GITLAB_CI",
            "CI_COMMIT_REF_NAME",
            "CI_COMMIT_REF_SLUG",
            "CI_MERGE_REQUEST_IID",
            "CI_DEFAULT_BRANCH",
        ],
        events: &["CI_PIPELINE_SOURCE"],
        pull_request: &["CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID"],
        target: &["CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"],
        tag: &["CI_COMMIT_TAG"],
        branch: &["CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME", "CI_COMMIT_REF_SLUG"],
        default_branch: &["CI_DEFAULT_BRANCH"],
        job: &["CI_JOB_NAME"],
        number: &["CI_PIPELINE_ID"],
        url: "{CI_JOB_URL}",
        revision: &[env_vars::CI_COMMIT_SHA],
    },
    // Bitbucket Pipelines
    CiSystem {
        name: "bitbucket",
        markers: &["BITBUCKET_BUILD_NUMBER", "BITBUCKET_BRANCH", "BITBUCKET_TAG"],
        pull_request: &["BITBUCKET_PR_ID"],
        target: &["BITBUCKET_PR_DESTINATION_BRANCH"],
        tag: &["BITBUCKET_TAG"],
        branch: &["BITBUCKET_BRANCH"],
        ..NO_VARIABLES
    },
    // CircleCI
    CiSystem {
        name: "circleci",
        markers: &["CIRCLECI", "CIRCLE_BRANCH", "CIRCLE_TAG"],
        pull_request: &["CIRCLE_PR_NUMBER", "CIRCLE_PULL_REQUEST"],
        tag: &["CIRCLE_TAG"],
        branch: &["CIRCLE_BRANCH"],
        job: &["CIRCLE_JOB"],
        number: &["CIRCLE_BUILD_NUM"],
        url: "{CIRCLE_BUILD_URL}",
        revision: &["CIRCLE_SHA1"],
        ..NO_VARIABLES
    },
    // Azure Pipelines
    CiSystem {
        name: "azure",
        markers: &["TF_BUILD", "BUILD_SOURCEBRANCH"],
        events: &["BUILD_REASON"],
        pull_request: &["SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"],
        target: &["SYSTEM_PULLREQUEST_TARGETBRANCH"],
        branch: &["BUILD_SOURCEBRANCH"],
        job: &["BUILD_DEFINITIONNAME"],
        number: &["BUILD_BUILDNUMBER"],
        url: "{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",
        revision: &["BUILD_SOURCEVERSION"],
        ..NO_VARIABLES
    },
    // Buildkite
    CiSystem {
        name: "buildkite",
        markers: &["BUILDKITE", "BUILDKITE_BRANCH"],
        pull_request: &["BUILDKITE_PULL_REQUEST"],
        target: &["BUILDKITE_PULL_REQUEST_BASE_BRANCH"],
        tag: &["BUILDKITE_TAG"],
        branch: &["BUILDKITE_BRANCH"],
        default_branch: &["BUILDKITE_PIPELINE_DEFAULT_BRANCH"],
        job: &["BUILDKITE_PIPELINE_SLUG"],
        number: &["BUILDKITE_BUILD_NUMBER"],
        url: "{BUILDKITE_BUILD_URL}",
        revision: &["BUILDKITE_COMMIT"],
        ..NO_VARIABLES
    },
    // Drone
    CiSystem {
        name: "drone",
        markers: &["DRONE", "DRONE_BRANCH"],
        events: &["DRONE_BUILD_EVENT"],
        pull_request: &["DRONE_PULL_REQUEST"],
        target: &["DRONE_TARGET_BRANCH"],
        tag: &["DRONE_TAG"],
        branch: &["DRONE_BRANCH", "DRONE_COMMIT_BRANCH"],
        default_branch: &["DRONE_REPO_BRANCH"],
        ..NO_VARIABLES
    },
    // Woodpecker
    CiSystem {
        name: "woodpecker",
        markers: &["CI_PIPELINE_EVENT", "CI_REPO_DEFAULT_BRANCH", "CI_COMMIT_BRANCH"],
        events: &["CI_PIPELINE_EVENT"],
        pull_request: &["CI_COMMIT_PULL_REQUEST"],
        target: &["CI_COMMIT_TARGET_BRANCH"],
        tag: &["CI_COMMIT_TAG"],
        branch: &["CI_COMMIT_BRANCH"],
        default_branch: &["CI_REPO_DEFAULT_BRANCH"],
        ..NO_VARIABLES
    },
    // Travis CI
    CiSystem {
        name: "travis",
        markers: &["TRAVIS", "TRAVIS_BRANCH"],
        events: &["TRAVIS_EVENT_TYPE"],
        pull_request: &["TRAVIS_PULL_REQUEST"],
        target: &["TRAVIS_BRANCH"],
        tag: &["TRAVIS_TAG"],
        branch: &["TRAVIS_BRANCH"],
        ..NO_VARIABLES
    },
    // AppVeyor
    CiSystem {
        name: "appveyor",
        markers: &["APPVEYOR", "APPVEYOR_REPO_BRANCH"],
        pull_request: &["APPVEYOR_PULL_REQUEST_NUMBER"],
        target: &["APPVEYOR_REPO_BRANCH"],
        tag: &["APPVEYOR_REPO_TAG_NAME"],
        branch: &["APPVEYOR_REPO_BRANCH"],
        ..NO_VARIABLES
    },
    // TeamCity
    CiSystem {
        name: "teamcity",
        markers: &["TEAMCITY_VERSION"],
        pull_request: &["teamcity.pullRequest.number"],
        target: &["teamcity.pullRequest.target.branch"],
        branch: &["teamcity.build.branch"],
        default_branch: &["vcsroot.branch"],
        ..NO_VARIABLES
    },
    // Semaphore
    CiSystem {
        name: "semaphore",
        markers: &["SEMAPHORE", "SEMAPHORE_GIT_BRANCH"],
        events: &["SEMAPHORE_GIT_REF_TYPE"],
        pull_request: &["SEMAPHORE_GIT_PR_NUMBER"],
        target: &["SEMAPHORE_GIT_BRANCH"],
        tag: &["SEMAPHORE_GIT_TAG_NAME"],
        branch: &["SEMAPHORE_GIT_BRANCH"],
        ..NO_VARIABLES
    },
    // Cirrus CI
    CiSystem {
        name: "cirrus",
        markers: &["CIRRUS_CI", "CIRRUS_BRANCH"],
        pull_request: &["CIRRUS_PR"],
        target: &["CIRRUS_BASE_BRANCH"],
        tag: &["CIRRUS_TAG"],
        branch: &["CIRRUS_BRANCH"],
        default_branch: &["CIRRUS_DEFAULT_BRANCH"],
        ..NO_VARIABLES
    },
    // Codefresh
    CiSystem {
        name: "codefresh",
        markers: &["CF_BUILD_ID", "CF_BRANCH"],
        pull_request: &["CF_PULL_REQUEST_NUMBER"],
        target: &["CF_PULL_REQUEST_TARGET"],
        branch: &["CF_BRANCH"],
        ..NO_VARIABLES
    },
    // AWS CodeBuild: `branch/NAME`, `tag/NAME` or `pr/NUMBER`
    CiSystem {
        name: "codebuild",
        markers: &["CODEBUILD_BUILD_ID", "CODEBUILD_WEBHOOK_TRIGGER"],
        events: &["CODEBUILD_WEBHOOK_EVENT"],
        target: &["CODEBUILD_WEBHOOK_BASE_REF"],
        branch: &["CODEBUILD_WEBHOOK_TRIGGER"],
        ..NO_VARIABLES
    },
    // Bitrise
    CiSystem {
        name: "bitrise",
        markers: &["BITRISE_IO", "BITRISE_GIT_BRANCH"],
        pull_request: &["BITRISE_PULL_REQUEST"],
        target: &["BITRISEIO_GIT_BRANCH_DEST"],
        tag: &["BITRISE_GIT_TAG"],
        branch: &["BITRISE_GIT_BRANCH"],
        ..NO_VARIABLES
    },
    // Bamboo
    CiSystem {
        name: "bamboo",
        markers: &["bamboo_agentId", "bamboo_planRepository_branchName"],
        pull_request: &["bamboo_repository_pr_key"],
        target: &["bamboo_repository_pr_targetBranch"],
        branch: &["bamboo_planRepository_branchName", "bamboo_planRepository_1_branchName"],
        ..NO_VARIABLES
    },
    // Jenkins: multibranch jobs, variables of the git plugin, and those of plugins that build pull requests. It comes
    // last because jobs of other systems may set such common names, too.
    CiSystem {
        name: "jenkins",
        markers: &[
            "JENKINS_URL",
            "JENKINS_HOME",
            "HUDSON_URL",
            "CHANGE_ID",
            env_vars::BRANCH_NAME,
            GIT_BRANCH,
        ],
        events: &["gitlabActionType"],
        pull_request: &[
            "CHANGE_ID",
            "ghprbPullId",
            "gitlabMergeRequestIid",
            "BITBUCKET_PULL_REQUEST_ID",
            "GERRIT_CHANGE_NUMBER",
        ],
        target: &[
            "CHANGE_TARGET",
            "ghprbTargetBranch",
            "gitlabTargetBranch",
            "BITBUCKET_TARGET_BRANCH",
            "GERRIT_BRANCH",
        ],
        tag: &[TAG_NAME],
        branch: &[env_vars::BRANCH_NAME, GIT_BRANCH, "GIT_LOCAL_BRANCH"],
        job: &[env_vars::JOB_NAME],
        number: &["BUILD_NUMBER"],
        url: "{BUILD_URL}",
        revision: &[env_vars::GIT_COMMIT],
        ..NO_VARIABLES
    },
];
