//! All environment variables that larder reads, except for those in which CI systems name a branch (`ci_systems`).

use super::Environment;
use crate::dockerfile::nearest_name;

const PREFIX: &str = "LARDER_";
const KNOWN_VARIABLES: [&str; 35] = [
    LARDER_CACHE_DIR,
    LARDER_CONFIG,
    LARDER_PROGRESS,
    LARDER_STRICT,
    LARDER_TIMEOUT,
    LARDER_ENABLED,
    LARDER_TIERS,
    LARDER_ARCHIVE_TIMEOUT,
    LARDER_LANE,
    LARDER_KEY_SECRET,
    LARDER_REMOTE,
    LARDER_REMOTE_USER,
    LARDER_REMOTE_PASSWORD,
    LARDER_REMOTE_TIMEOUT,
    LARDER_TRUNK,
    LARDER_READ_ONLY,
    LARDER_SIGNING_KEY,
    LARDER_TRUSTED_KEYS,
    LARDER_REQUIRE_SIGNATURE,
    LARDER_MAX_SIZE_GB,
    LARDER_MIN_FREE_GB,
    LARDER_REMOTE_MAX_SIZE_GB,
    LARDER_MAX_ENTRIES,
    LARDER_MAX_AGE,
    LARDER_AUTO_MOUNTS,
    LARDER_MOUNT_SCOPE,
    LARDER_MAX_MOUNT_SIZE,
    LARDER_MOUNT_UNUSED_BUILDS,
    LARDER_MOUNT_TIMEOUT,
    LARDER_CACHE_REPO,
    LARDER_PUSH_WITH,
    LARDER_PUSH_COMPRESSION,
    LARDER_BASE_REPO,
    LARDER_CERTS_DIR,
    LARDER_WAIT_FOR_ENGINE,
];
/// Prefixes, after [`PREFIX`], of variables that this repository's scripts and tests read.
const DEVELOPMENT_PREFIXES: [&str; 5] = ["TEST_", "DEV_DIR", "RUN_DIR", "COURIERS", "KEEP_LOGS"];

/// Returns a warning for each variable with larder's prefix that larder does not read.
pub(super) fn unknown_variables(environment: &Environment) -> Vec<String> {
    let known = || KNOWN_VARIABLES.iter().map(|name| &name[PREFIX.len()..]);
    let rest = environment.names().filter_map(|name| name.strip_prefix(PREFIX));
    let unknown = rest.filter(|rest| {
        !known().any(|known| known == *rest)
            && !DEVELOPMENT_PREFIXES.iter().any(|start| rest.starts_with(start))
    });
    let warnings = unknown.map(|rest| {
        let begun = || known().find(|known| known.starts_with(rest) || rest.starts_with(known));
        let meant =
            nearest_name(rest, known()).or_else(begun).map(|name| format!("; did you mean {PREFIX}{name}?"));
        format!("{PREFIX}{rest} is not a variable that larder reads{}", meant.unwrap_or_default())
    });
    warnings.collect()
}

/// Directory of the cache; default `$XDG_CACHE_HOME/larder`, else `~/.cache/larder`.
pub(crate) const LARDER_CACHE_DIR: &str = "LARDER_CACHE_DIR";
/// Configuration file; default `larder.yaml` in the working directory, if it exists.
pub(crate) const LARDER_CONFIG: &str = "LARDER_CONFIG";
/// Format of the progress: `auto`, `plain`, `tty`, `quiet` or `json`.
pub(crate) const LARDER_PROGRESS: &str = "LARDER_PROGRESS";
/// `1` fails the build if a cache fails.
pub(crate) const LARDER_STRICT: &str = "LARDER_STRICT";
pub(crate) const LARDER_TIMEOUT: &str = "LARDER_TIMEOUT";
/// `1` archives images in the store, `0` builds without any cache of larder.
pub(crate) const LARDER_ENABLED: &str = "LARDER_ENABLED";
/// Tiers to use: any of `engine`, `registry`, `prefix`, `graft`, `archive`, `layers` and `mounts`, separated by commas.
pub(crate) const LARDER_TIERS: &str = "LARDER_TIERS";
/// Time limit for moving a whole image into or out of the store, e.g. `10m`.
pub(crate) const LARDER_ARCHIVE_TIMEOUT: &str = "LARDER_ARCHIVE_TIMEOUT";
/// Lane of this job; by default derived from the branch, tag or pull request that the CI system reports.
pub(crate) const LARDER_LANE: &str = "LARDER_LANE";
/// Secret that prevents guessing build arguments from keys; must be the same on all machines that share keys.
pub(crate) const LARDER_KEY_SECRET: &str = "LARDER_KEY_SECRET";
/// Address of the shared store, e.g. `s3://bucket/prefix`.
pub(crate) const LARDER_REMOTE: &str = "LARDER_REMOTE";
/// User for the shared store: a WebDAV user, the id of an access key, or a storage account.
pub(crate) const LARDER_REMOTE_USER: &str = "LARDER_REMOTE_USER";
/// Password, secret access key or account key of [`LARDER_REMOTE_USER`].
pub(crate) const LARDER_REMOTE_PASSWORD: &str = "LARDER_REMOTE_PASSWORD";
/// Time limit of a request to the shared store, e.g. `30s`; default one minute.
pub(crate) const LARDER_REMOTE_TIMEOUT: &str = "LARDER_REMOTE_TIMEOUT";
/// Lane of the default branch, which all jobs read; by default derived from the CI system or the checkout.
pub(crate) const LARDER_TRUNK: &str = "LARDER_TRUNK";
/// `1` saves nothing and removes nothing.
pub(crate) const LARDER_READ_ONLY: &str = "LARDER_READ_ONLY";
/// Ed25519 seed that entries are signed with, in base64.
pub(crate) const LARDER_SIGNING_KEY: &str = "LARDER_SIGNING_KEY";
/// Public keys whose signatures are trusted, in base64, separated by commas.
pub(crate) const LARDER_TRUSTED_KEYS: &str = "LARDER_TRUSTED_KEYS";
/// `1` uses only entries signed by a trusted key.
pub(crate) const LARDER_REQUIRE_SIGNATURE: &str = "LARDER_REQUIRE_SIGNATURE";
/// Maximum size of the cache in gigabytes; 0 for no limit.
pub(crate) const LARDER_MAX_SIZE_GB: &str = "LARDER_MAX_SIZE_GB";
/// Gigabytes to keep free on the cache's disk; 0 fills it.
pub(crate) const LARDER_MIN_FREE_GB: &str = "LARDER_MIN_FREE_GB";
/// Maximum size of the shared store in gigabytes; 0 for no limit.
pub(crate) const LARDER_REMOTE_MAX_SIZE_GB: &str = "LARDER_REMOTE_MAX_SIZE_GB";
/// Maximum number of entries in the cache; 0 for no limit.
pub(crate) const LARDER_MAX_ENTRIES: &str = "LARDER_MAX_ENTRIES";
/// Age after which images are built again, and time without use after which entries are evicted, e.g. `30d`.
pub(crate) const LARDER_MAX_AGE: &str = "LARDER_MAX_AGE";
/// `1` adds cache mounts to RUN steps that install packages without one.
pub(crate) const LARDER_AUTO_MOUNTS: &str = "LARDER_AUTO_MOUNTS";
/// Name of the project that shares cache mounts.
pub(crate) const LARDER_MOUNT_SCOPE: &str = "LARDER_MOUNT_SCOPE";
/// Maximum size of a cache mount's entry, e.g. `2GB`.
pub(crate) const LARDER_MAX_MOUNT_SIZE: &str = "LARDER_MAX_MOUNT_SIZE";
/// Number of builds in a row without a read after which a file of a cache mount is dropped; 0 keeps it.
pub(crate) const LARDER_MOUNT_UNUSED_BUILDS: &str = "LARDER_MOUNT_UNUSED_BUILDS";
/// Time limit for restoring or saving cache mounts, e.g. `5m`.
pub(crate) const LARDER_MOUNT_TIMEOUT: &str = "LARDER_MOUNT_TIMEOUT";
/// Repository for cached images and layers, e.g. `registry.example/app`.
pub(crate) const LARDER_CACHE_REPO: &str = "LARDER_CACHE_REPO";
/// What pushes images of Docker engines with a graph driver: `auto`, `engine` or `larder`.
pub(crate) const LARDER_PUSH_WITH: &str = "LARDER_PUSH_WITH";
/// Compression of pushed layers: `gzip` or `zstd`.
pub(crate) const LARDER_PUSH_COMPRESSION: &str = "LARDER_PUSH_COMPRESSION";
/// Repository for base images, e.g. `registry.example/app-base`.
pub(crate) const LARDER_BASE_REPO: &str = "LARDER_BASE_REPO";
/// Directory with the layout of Docker's `certs.d`; default Docker's directories.
pub(crate) const LARDER_CERTS_DIR: &str = "LARDER_CERTS_DIR";
/// Time to wait for an engine that does not respond yet, e.g. `60s`.
pub(crate) const LARDER_WAIT_FOR_ENGINE: &str = "LARDER_WAIT_FOR_ENGINE";

/// Jenkins: full name of the job, including folders; its last component is the branch in multibranch jobs.
pub(crate) const JOB_NAME: &str = "JOB_NAME";
/// GitLab: full path of the project.
pub(crate) const CI_PROJECT_PATH: &str = "CI_PROJECT_PATH";
/// Jenkins: branch.
pub(crate) const BRANCH_NAME: &str = "BRANCH_NAME";
/// GitHub: target branch of a pull request.
pub(crate) const GITHUB_BASE_REF: &str = "GITHUB_BASE_REF";
/// GitHub: branch, tag or pull request.
pub(crate) const GITHUB_REF: &str = "GITHUB_REF";

/// GitHub: owner and name of the repository.
pub(crate) const GITHUB_REPOSITORY: &str = "GITHUB_REPOSITORY";
/// GitHub: address of the REST API; default that of github.com.
pub(crate) const GITHUB_API_URL: &str = "GITHUB_API_URL";
/// GitHub: file with the event that started the job.
pub(crate) const GITHUB_EVENT_PATH: &str = "GITHUB_EVENT_PATH";
/// TeamCity: file that contains the path of the configuration parameters.
pub(crate) const TEAMCITY_BUILD_PROPERTIES_FILE: &str = "TEAMCITY_BUILD_PROPERTIES_FILE";
/// GitHub: token for the REST API, if the workflow passes it.
pub(crate) const GITHUB_TOKEN: &str = "GITHUB_TOKEN";
/// GitHub: address of the Actions cache.
pub(crate) const ACTIONS_RESULTS_URL: &str = "ACTIONS_RESULTS_URL";
/// GitHub: token for the Actions cache.
pub(crate) const ACTIONS_RUNTIME_TOKEN: &str = "ACTIONS_RUNTIME_TOKEN";

// The revision, in Jenkins, GitLab and GitHub.
pub(crate) const GIT_COMMIT: &str = "GIT_COMMIT";
pub(crate) const CI_COMMIT_SHA: &str = "CI_COMMIT_SHA";
pub(crate) const GITHUB_SHA: &str = "GITHUB_SHA";

/// AWS: endpoint for ECR.
pub(crate) const AWS_ENDPOINT_URL_ECR: &str = "AWS_ENDPOINT_URL_ECR";
/// AWS: endpoint for all services.
pub(crate) const AWS_ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";
/// AWS: variables that determine the identity, so that a token of one identity is not used for a different one. The AWS
/// SDK reads these and more by itself.
pub(crate) const AWS_IDENTITY: [&str; 8] = [
    "AWS_PROFILE",
    "AWS_ACCESS_KEY_ID",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_REGION",
    "AWS_CONFIG_FILE",
];
/// AWS: file with keys; default `~/.aws/credentials`.
pub(crate) const AWS_SHARED_CREDENTIALS_FILE: &str = "AWS_SHARED_CREDENTIALS_FILE";

/// Docker: address of the engine.
pub(crate) const DOCKER_HOST: &str = "DOCKER_HOST";
/// Docker: name of the context; overridden by an address.
pub(crate) const DOCKER_CONTEXT: &str = "DOCKER_CONTEXT";
/// Docker: directory of `config.json`; default `~/.docker`.
pub(crate) const DOCKER_CONFIG: &str = "DOCKER_CONFIG";
/// Docker and GitLab: logins, in the format of `auths` of `config.json`, which they override.
pub(crate) const DOCKER_AUTH_CONFIG: &str = "DOCKER_AUTH_CONFIG";
/// Docker: use TLS without verifying the server's certificate.
pub(crate) const DOCKER_TLS: &str = "DOCKER_TLS";
/// Docker: use TLS and verify the server's certificate.
pub(crate) const DOCKER_TLS_VERIFY: &str = "DOCKER_TLS_VERIFY";
/// Docker: directory of `ca.pem`, `cert.pem`, `key.pem`; default Docker's configuration directory.
pub(crate) const DOCKER_CERT_PATH: &str = "DOCKER_CERT_PATH";
/// Docker: platform of the image.
pub(crate) const DOCKER_DEFAULT_PLATFORM: &str = "DOCKER_DEFAULT_PLATFORM";
/// Docker: format of the progress.
pub(crate) const BUILDKIT_PROGRESS: &str = "BUILDKIT_PROGRESS";
/// Passed as the build argument of that name (reproducible-builds.org).
pub(crate) const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
pub(crate) const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";
/// Any value disables colours (no-color.org).
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// `dumb` is a terminal that cannot redraw.
pub(crate) const TERM: &str = "TERM";
/// Any value that does not mean no marks a CI job, in which progress is never redrawn.
pub(crate) const CI: &str = "CI";
/// Home directory; by default that of the user database.
pub(crate) const HOME: &str = "HOME";
pub(crate) const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_variable_causes_a_warning_that_suggests_the_nearest_name() {
        let warning = |name: &str| {
            let environment = [(name.to_owned(), "x".to_owned())].into_iter().collect();
            unknown_variables(&environment).concat()
        };
        for (name, meant) in [
            ("LARDER_CACHEDIR", "did you mean LARDER_CACHE_DIR?"),
            ("LARDER_REMOTE_PASWORD", "did you mean LARDER_REMOTE_PASSWORD?"),
            ("LARDER_MAX_SIZE", "did you mean LARDER_MAX_SIZE_GB?"),
            ("LARDER_ENABLE", "did you mean LARDER_ENABLED?"),
            ("LARDER_COLOUR", "LARDER_COLOUR is not a variable that larder reads"),
        ] {
            assert!(warning(name).contains(name) && warning(name).contains(meant), "{}", warning(name));
        }
        for name in ["LARDER_CACHE_DIR", "LARDER", "LARDERS_OWN", "MY_LARDER_X", "LARDER_TEST_ENGINES"] {
            assert_eq!(warning(name), "", "{name}");
        }
    }

    #[test]
    fn every_variable_of_this_file_is_listed() {
        let file = include_str!("env_vars.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let named = file.split("pub(crate) const LARDER_").skip(1);
        let named: Vec<String> =
            named.filter_map(|rest| Some(format!("LARDER_{}", rest.split_once(": &str")?.0))).collect();
        assert_eq!(named, KNOWN_VARIABLES);
    }
}
