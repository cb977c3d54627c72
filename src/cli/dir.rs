//! `larder dir`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Format;

#[derive(Debug, Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct DirArgs {
    #[command(subcommand)]
    pub(crate) command: DirCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DirCommand {
    /// Keep a directory under a key
    Save(DirSaveArgs),
    /// Bring a directory back that was kept under a key
    Restore(DirRestoreArgs),
}

/// Options that identify an entry of a directory.
#[derive(Debug, Args)]
pub(crate) struct DirKeyArgs {
    /// Directory
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Files that the key is made of, e.g. requirements.txt or 'services/**/poetry.lock'
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub(crate) key_files: Vec<String>,
    /// Add an input of your own to the key, e.g. python=3.12
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) key_extra: Vec<String>,
    /// What the directory is called, so that entries of it are found under another path [default: PATH]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Fail with exit code 3 when the cache is at fault [env: LARDER_STRICT]
    #[arg(long)]
    pub(crate) strict: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub struct DirSaveArgs {
    #[command(flatten)]
    pub(crate) key: DirKeyArgs,
    /// Leave out what was used longest ago and can go alone until the rest has this size, e.g. 500MB or 2GB
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<String>,
    /// Save the directory even if it is empty or much smaller than what was saved last
    #[arg(long)]
    pub(crate) allow_shrink: bool,
}

#[derive(Debug, Args)]
pub struct DirRestoreArgs {
    #[command(flatten)]
    pub(crate) key: DirKeyArgs,
    /// Take the newest entry of the directory where there is none of this very key
    #[arg(long)]
    pub(crate) fallback: bool,
    /// Restore symbolic links that lead out of the directory, too
    #[arg(long)]
    pub(crate) outside_links: bool,
}
