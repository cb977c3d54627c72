//! `larder cache`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// List the entries, the most recently used first
    #[command(visible_alias = "ls")]
    List(ReadArgs),
    /// Show all that is known of an entry
    Info(InfoArgs),
    /// Bring the image of an entry into the engine, or into several
    Load(LoadArgs),
    /// Show how much the cache holds, and what of it is shared
    Stats(ReadArgs),
    /// Remove every entry
    Clear(ClearArgs),
    /// Remove entries: these, or what is beyond the limits
    Evict(EvictArgs),
    /// Read everything again and say what is damaged
    Verify(VerifyArgs),
    /// Send what the remote store lacks of what is here, after an outage or before it is first used
    Push(PushArgs),
    /// Write entries to one file, for a machine that shares no store
    Export(ExportArgs),
    /// Take over the entries of a file that export wrote
    Import(ImportArgs),
}

/// A place of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlaceArg {
    /// The cache's directory
    Local,
    /// What --remote names
    Remote,
}

/// Options of commands that read the store.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// Place to look at
    #[arg(long, value_enum, default_value_t = PlaceArg::Local)]
    pub(crate) at: PlaceArg,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Id of the entry, or its first digits
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Id of the entry, or its first digits; or a file that larder cache export wrote
    #[arg(value_name = "ENTRY | FILE")]
    pub(crate) id: String,
    /// How long it may take [env: LARDER_ARCHIVE_TIMEOUT] [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) archive_timeout: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ClearArgs {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct EvictArgs {
    /// Ids of entries, or their first digits; without any, what is beyond the limits goes
    pub(crate) ids: Vec<String>,
    /// Show what would go, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Bring what is damaged from the other place, and set aside what cannot be mended
    #[arg(long)]
    pub(crate) repair: bool,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Ids of entries, or their first digits; or images of the engine that larder has built, which are archived first
    #[arg(required = true, value_name = "ENTRY | IMAGE")]
    pub(crate) ids: Vec<String>,
    /// File to write; - is standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File that export wrote; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) input: PathBuf,
    #[command(flatten)]
    pub(crate) read: ReadArgs,
}
