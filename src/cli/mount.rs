//! Cache mounts: `larder mount`, and the flags about them that `larder build` takes.

use clap::{Args, Subcommand};

use super::{BuildArgs, Format};

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cache mounts")]
pub struct CarryArgs {
    /// Add cache mounts to RUNs that install packages without one, where the image stays the same [env: LARDER_AUTO_MOUNTS]
    #[arg(long)]
    pub(crate) auto_mounts: bool,
    /// Whose cache mounts these are; mounts of one name in two projects are kept apart [env: LARDER_MOUNT_SCOPE] [default: the CI system's name of the project, else the directory of larder.yaml for its images, else the context's]
    #[arg(long, value_name = "NAME")]
    pub(crate) mount_scope: Option<String>,
    /// Leave out what was used longest ago of a mount until the rest has this size, e.g. 2GB; the whole mount if no part can go alone [env: LARDER_MAX_MOUNT_SIZE]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_mount_size: Option<String>,
    /// Leave out what so many builds in a row did not read and can go alone; 0 keeps all [env: LARDER_MOUNT_UNUSED_BUILDS] [default: 5]
    #[arg(long, value_name = "BUILDS")]
    pub(crate) mount_unused_builds: Option<String>,
    /// How long carrying mounts in or out may take before it is given up [env: LARDER_MOUNT_TIMEOUT] [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) mount_timeout: Option<String>,
    /// Save a mount even if it is empty or much smaller than what was saved last
    #[arg(long)]
    pub(crate) allow_shrink: bool,
}

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct MountArgs {
    #[command(subcommand)]
    pub(crate) command: MountCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MountCommand {
    /// List the cache mounts that a build reaches, and what is kept of each
    List(Box<MountBuildArgs>),
    /// Bring what is kept into the builder, before a build by any command
    Restore(Box<MountBuildArgs>),
    /// Keep what the builder has, after a build by any command
    Save(Box<MountBuildArgs>),
}

/// A build whose mounts are listed, restored or saved.
#[derive(Debug, Args)]
pub(crate) struct MountBuildArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}
