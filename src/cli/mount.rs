//! `larder mount`, and the flags of `larder build` for cache mounts.

use clap::{Args, Subcommand};

use super::ReportArgs;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Cache mounts")]
pub(crate) struct CacheMountArgs {
    /// Add cache mounts to RUN steps that install packages without one, if the image stays the same [env: LARDER_AUTO_MOUNTS]
    #[arg(long)]
    pub(crate) auto_mounts: bool,
    /// Project that shares these cache mounts; projects do not see each other's mounts of the same name [env: LARDER_MOUNT_SCOPE] [default: the CI system's name of the project, else the directory of larder.yaml for its images, else the context's]
    #[arg(long, value_name = "NAME")]
    pub(crate) mount_scope: Option<String>,
    /// Limit the size of each mount, e.g. 2GB, by leaving out its least recently used files, or the whole mount if no part can be removed independently [env: LARDER_MAX_MOUNT_SIZE]
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_mount_size: Option<String>,
    /// Leave out files that this many builds in a row did not read, if they can be removed independently; 0 keeps all [env: LARDER_MOUNT_UNUSED_BUILDS] [default: 5]
    #[arg(long, value_name = "BUILDS")]
    pub(crate) mount_unused_builds: Option<String>,
    /// Time limit for restoring or saving mounts [env: LARDER_MOUNT_TIMEOUT] [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) mount_timeout: Option<String>,
    /// Save a mount even if it is empty or much smaller than when it was last saved
    #[arg(long)]
    pub(crate) allow_shrink: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MountCommand {
    /// List the cache mounts that a build uses, and what is stored of each
    List(Box<ReportArgs>),
    /// Restore stored mounts into the builder, before a build by any command
    Restore(Box<ReportArgs>),
    /// Save the builder's mounts, after a build by any command
    Save(Box<ReportArgs>),
}
