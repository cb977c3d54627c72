//! `larder dir`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum DirCommand {
    /// Save a directory under a key
    Save(DirSaveArgs),
    /// Restore a directory that was saved under a key
    Restore(DirRestoreArgs),
}

/// The options that identify the entry of a directory.
#[derive(Debug, Args)]
pub(crate) struct DirKeyArgs {
    /// Directory to save or restore
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Files whose contents form the key, e.g. requirements.txt or 'services/**/poetry.lock'
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub(crate) key_files: Vec<String>,
    /// Add a custom input to the key, e.g. python=3.12
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) key_extra: Vec<String>,
    /// Name of the directory, to find its entries under a different path [default: PATH]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Fail with exit code 3 if the cache fails [env: LARDER_STRICT]
    #[arg(long)]
    pub(crate) strict: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct DirSaveArgs {
    #[command(flatten)]
    pub(crate) key: DirKeyArgs,
    /// Limit the size, e.g. 500MB or 2GB, by leaving out the least recently used files that can be removed independently
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<String>,
    /// Save the directory even if it is empty or much smaller than when it was last saved
    #[arg(long)]
    pub(crate) allow_shrink: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DirRestoreArgs {
    #[command(flatten)]
    pub(crate) key: DirKeyArgs,
    /// Use the newest entry of the directory if none has this exact key
    #[arg(long)]
    pub(crate) fallback: bool,
    /// Also restore symbolic links that point outside the directory
    #[arg(long)]
    pub(crate) outside_links: bool,
}
