//! The flags that define what is built, shared by every command that computes a key.

use clap::Args;

/// The inputs of an image.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SourceArgs {
    /// Dockerfile, or - to read it from stdin [default: PATH/Dockerfile]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// Set a build argument; without a value, it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Build up to this stage
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Platform of the image, e.g. linux/amd64 [env: DOCKER_DEFAULT_PLATFORM]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Add a named build context: a directory, docker-image://REF, or a git or http(s) URL
    #[arg(long, value_name = "NAME=CONTEXT")]
    pub(crate) build_context: Vec<String>,
    /// Expose a secret to RUN --mount=type=secret: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,
    /// Expose an SSH agent to RUN --mount=type=ssh: default or ID[=SOCKET|KEY[,KEY]]
    #[arg(long, value_name = "AGENT")]
    pub(crate) ssh: Vec<String>,
    /// Set a label on the image
    #[arg(long = "label", id = "build-label", value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Look up newer base images, even if the engine has them
    #[arg(long)]
    pub(crate) pull: bool,
    /// Add a custom input to the key
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) key_extra: Vec<String>,
    /// Add tags to the key, in any order; without PATH, larder run runs the images of larder.yaml with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub(crate) tags: Vec<String>,
    /// Describe what the image is for, e.g. "{'guest_os': 'CENTOS'}"; the values become part of the key, build arguments and variables of the container, and plain text becomes part of the key only
    #[arg(long, value_name = "MAPPING | TEXT")]
    pub(crate) additional_context: Option<String>,
}

/// The environment of RUN steps. In `larder run`, options that also exist for the container have the prefix `--build-`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct StepArgs {
    /// Network of RUN steps: default, none or host
    #[arg(long = "network", id = "build-network", value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// Add a host to /etc/hosts of RUN steps
    #[arg(long = "add-host", id = "build-add-host", value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,
    /// Size of /dev/shm in RUN steps, e.g. 64m
    #[arg(long = "shm-size", id = "build-shm-size", value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Set a ulimit of RUN steps
    #[arg(long = "ulimit", id = "build-ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// Parent cgroup of RUN steps
    #[arg(long = "cgroup-parent", id = "build-cgroup-parent", value_name = "CGROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// Grant an entitlement to the build: network.host or security.insecure
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
}
