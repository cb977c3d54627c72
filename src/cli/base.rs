//! `larder base`.

use clap::{Args, Subcommand};

use super::build::BASE_HEADING;
use super::{BuildArgs, OutputFormat};

#[derive(Debug, Subcommand)]
pub(crate) enum BaseCommand {
    /// Build a base image unless it already exists, and print its reference
    #[command(mut_arg("context", |context| context.required(false).default_value(".")))]
    Build(Box<BaseBuildArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct BaseBuildArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Repository for the base image [env: LARDER_BASE_REPO] [default: none, it stays in the engine]
    #[arg(long, value_name = "REPOSITORY", help_heading = BASE_HEADING)]
    pub(crate) repo: Option<String>,
    /// Consider only these files of the context when deciding whether to rebuild
    #[arg(long, value_name = "FILE", value_delimiter = ',', help_heading = BASE_HEADING)]
    pub(crate) requirements: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text, help_heading = BASE_HEADING)]
    pub(crate) format: OutputFormat,
}
