//! `larder run`: the flags of `docker run` under the same names, and those that select or build the image.

use std::path::PathBuf;

use clap::{Args, Parser};

use super::{BuildArgs, CacheMountArgs, ContainerOptions, ImageArgs, SourceArgs, StepArgs, TierArgs};

/// Build options with the same name as an option of `docker run`, and their names in `larder run`, where the name of
/// `docker run` belongs to the container's option.
pub(crate) const RENAMED_BUILD_OPTIONS: [(&str, &str); 6] = [
    ("label", "build-label"),
    ("network", "build-network"),
    ("add-host", "build-add-host"),
    ("shm-size", "build-shm-size"),
    ("ulimit", "build-ulimit"),
    ("cgroup-parent", "build-cgroup-parent"),
];

/// Container networks that RUN steps can also use. Without `--build-network`, they use the same network.
const BUILD_NETWORKS: [&str; 3] = ["default", "host", "none"];

#[derive(Debug, Clone, Args)]
#[command(
    mut_args(|arg| match RENAMED_BUILD_OPTIONS.iter().find(|(_, name)| arg.get_id() == name) {
        Some((_, name)) => arg.long(*name),
        None => arg,
    }),
    override_usage = "larder run [OPTIONS] [PATH] [-- COMMAND...]\n       larder run [OPTIONS] --from-cache ENTRY [-- COMMAND...]"
)]
pub(crate) struct RunArgs {
    /// Build context of the image: a directory, a git or http(s) URL, -, or the name of an image in larder.yaml [default: the images that --tags selects, else .]
    #[arg(value_name = "PATH | URL | - | NAME", conflicts_with = "from_cache")]
    pub(crate) context: Option<String>,
    /// Command to run in the container, or arguments of the image's entrypoint
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
    /// Run a cached image without a build: the ID of its entry, or a file that larder cache export wrote
    #[arg(long, value_name = "ENTRY | FILE", conflicts_with_all = [
        "tag", "force_rebuild", "no_cache", "file", "build_arg", "target", "platform", "build_context", "secret", "ssh",
        "build-label", "pull", "key_extra", "build-network", "build-add-host", "build-shm-size", "build-ulimit",
        "build-cgroup-parent", "allow",
    ])]
    pub(crate) from_cache: Option<String>,
    #[command(flatten)]
    pub(crate) container: ContainerArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) steps: StepArgs,
    #[command(flatten, next_help_heading = "Image")]
    pub(crate) image: ImageArgs,
    #[command(flatten)]
    pub(crate) tiers: TierArgs,
    #[command(flatten)]
    pub(crate) cache_mounts: CacheMountArgs,
}

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Container")]
pub(crate) struct ContainerArgs {
    /// Show the output as it is written (always the case)
    #[arg(long)]
    pub(crate) live_output: bool,
    /// Do not remove the container, and print its name
    #[arg(long, conflicts_with = "rm")]
    pub(crate) keep_alive: bool,
    /// Remove the container when it exits (the default)
    #[arg(long)]
    pub(crate) rm: bool,
    /// Append a row with the results of this run to a CSV file
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) options: ContainerOptions,
}

impl ContainerArgs {
    /// Parses command-line flags; returns `None` if one is unknown or malformed.
    pub(crate) fn parse_flags(flags: &[String]) -> Option<Self> {
        #[derive(Parser)]
        #[command(no_binary_name = true)]
        struct Flags {
            #[command(flatten)]
            container: ContainerArgs,
        }
        Flags::try_parse_from(flags).ok().map(|flags| flags.container)
    }
}

impl RunArgs {
    /// Returns the arguments of the build of the image from `context`.
    pub(crate) fn build(&self, context: &str) -> BuildArgs {
        let mut steps = self.steps.clone();
        // The same flags as in `larder build` must produce the same image.
        let network = self.container.options.get("network").first();
        let of_both = network.filter(|network| BUILD_NETWORKS.contains(&network.as_str()));
        steps.network = steps.network.or_else(|| of_both.cloned());
        BuildArgs {
            context: context.to_owned(),
            source: self.source.clone(),
            steps,
            image: self.image.clone(),
            tiers: self.tiers.clone(),
            cache_mounts: self.cache_mounts.clone(),
            ..BuildArgs::default()
        }
    }
}
