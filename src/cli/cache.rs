//! `larder cache`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::OutputFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the entries, most recently used first
    #[command(visible_alias = "ls")]
    List(ReadArgs),
    /// Show the details of an entry
    Info(InfoArgs),
    /// Load the image of an entry into one or more engines
    Load(LoadArgs),
    /// Show the size of the cache, and how much of it is shared between entries
    Stats(ReadArgs),
    /// Remove all entries
    Clear(ClearArgs),
    /// Remove the given entries, or those beyond the limits
    Evict(EvictArgs),
    /// Read all content and report damage
    Verify(VerifyArgs),
    /// Upload entries that the remote store lacks, after an outage or before its first use
    Push(PushArgs),
    /// Write entries to a file, for a machine that does not share the store
    Export(ExportArgs),
    /// Import entries from a file that export wrote
    Import(ImportArgs),
}

/// A location of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlaceArg {
    /// The cache directory
    Local,
    /// The shared store that --remote names
    Remote,
}

/// Options of commands that read the store.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// Store to use
    #[arg(long, value_enum, default_value_t = PlaceArg::Local)]
    pub(crate) at: PlaceArg,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// ID of the entry, or its first digits
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// ID of the entry, its first digits, or a file that larder cache export wrote
    #[arg(value_name = "ENTRY | FILE")]
    pub(crate) id: String,
    /// Time limit for loading [env: LARDER_ARCHIVE_TIMEOUT] [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) archive_timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EvictArgs {
    /// IDs of entries, or their first digits [default: the entries beyond the limits]
    pub(crate) ids: Vec<String>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Replace damaged content from the other store, and set aside what cannot be repaired
    #[arg(long)]
    pub(crate) repair: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// IDs of entries, their first digits, or images in the engine that larder built, which are archived first
    #[arg(required = true, value_name = "ENTRY | IMAGE")]
    pub(crate) ids: Vec<String>,
    /// File to write, or - for standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File that larder cache export wrote, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}
