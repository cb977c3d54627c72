//! All environment variables that larder reads, except for those in which CI systems name a branch (`ci_systems`).

use super::Environment;
use crate::dockerfile::nearest_name;

const PREFIX: &str = "LARDER_";
/// Defines a constant for each variable, and the list of all of them.
macro_rules! larder_variables {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        const KNOWN_VARIABLES: &[&str] = &[$($name),*];
        $($(#[$doc])* pub(crate) const $name: &str = stringify!($name);)*
    };
}

larder_variables! {
    /// Directory of the cache; default `$XDG_CACHE_HOME/larder`, else `~/.cache/larder`.
    LARDER_CACHE_DIR,
    /// Configuration file; default `larder.yaml` in the working directory, if it exists.
    LARDER_CONFIG,
    /// Format of the progress: `auto`, `plain`, `tty`, `quiet` or `json`.
    LARDER_PROGRESS,
    /// `1` fails the build if a cache fails.
    LARDER_STRICT,
    LARDER_TIMEOUT,
    /// `1` archives images in the store, `0` builds without any cache of larder.
    LARDER_ENABLED,
    /// Tiers to use: any of `engine`, `registry`, `prefix`, `graft`, `archive`, `layers` and `mounts`, separated by commas.
    LARDER_TIERS,
    /// Time limit for moving a whole image into or out of the store, e.g. `10m`.
    LARDER_ARCHIVE_TIMEOUT,
    /// Lane of this job; by default derived from the branch, tag or pull request that the CI system reports.
    LARDER_LANE,
    /// Secret that prevents guessing build arguments from keys; must be the same on all machines that share keys.
    LARDER_KEY_SECRET,
    /// Address of the shared store, e.g. `s3://bucket/prefix`.
    LARDER_REMOTE,
    /// User for the shared store: a WebDAV user, the id of an access key, or a storage account.
    LARDER_REMOTE_USER,
    /// Password, secret access key or account key of [`LARDER_REMOTE_USER`].
    LARDER_REMOTE_PASSWORD,
    /// Time limit of a request to the shared store, e.g. `30s`; default one minute.
    LARDER_REMOTE_TIMEOUT,
    /// Lane of the default branch, which all jobs read; by default derived from the CI system or the checkout.
    LARDER_TRUNK,
    /// `1` saves nothing and removes nothing.
    LARDER_READ_ONLY,
    /// Ed25519 seed that entries are signed with, in base64.
    LARDER_SIGNING_KEY,
    /// Public keys whose signatures are trusted, in base64, separated by commas.
    LARDER_TRUSTED_KEYS,
    /// `1` uses only entries signed by a trusted key.
    LARDER_REQUIRE_SIGNATURE,
    /// Maximum size of the cache in gigabytes; 0 for no limit.
    LARDER_MAX_SIZE_GB,
    /// Gigabytes to keep free on the cache's disk; 0 fills it.
    LARDER_MIN_FREE_GB,
    /// Maximum size of the shared store in gigabytes; 0 for no limit.
    LARDER_REMOTE_MAX_SIZE_GB,
    /// Maximum number of entries in the cache; 0 for no limit.
    LARDER_MAX_ENTRIES,
    /// Age after which images are built again, and time without use after which entries are evicted, e.g. `30d`.
    LARDER_MAX_AGE,
    /// `1` adds cache mounts to RUN steps that install packages without one.
    LARDER_AUTO_MOUNTS,
    /// Name of the project that shares cache mounts.
    LARDER_MOUNT_SCOPE,
    /// Maximum size of a cache mount's entry, e.g. `2GB`.
    LARDER_MAX_MOUNT_SIZE,
    /// Number of builds in a row without a read after which a file of a cache mount is dropped; 0 keeps it.
    LARDER_MOUNT_UNUSED_BUILDS,
    /// Time limit for restoring or saving cache mounts, e.g. `5m`.
    LARDER_MOUNT_TIMEOUT,
    /// Repository for cached images and layers, e.g. `registry.example/app`.
    LARDER_CACHE_REPO,
    /// What pushes images of Docker engines with a graph driver: `auto`, `engine` or `larder`.
    LARDER_PUSH_WITH,
    /// Compression of pushed layers: `gzip` or `zstd`.
    LARDER_PUSH_COMPRESSION,
    /// Repository for base images, e.g. `registry.example/app-base`.
    LARDER_BASE_REPO,
    /// Directory with the layout of Docker's `certs.d`; default Docker's directories.
    LARDER_CERTS_DIR,
    /// `0` does not exchange the last builds of an image with other agents.
    LARDER_SHARE_BUILDS,
    /// `0` does not add the end of a build to the summary of a GitHub job.
    LARDER_STEP_SUMMARY,
    /// Time to wait for an engine that does not respond yet, e.g. `60s`.
    LARDER_WAIT_FOR_ENGINE,
}

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
/// GitHub: file with the summary of the job, in Markdown.
pub(crate) const GITHUB_STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";
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
}
