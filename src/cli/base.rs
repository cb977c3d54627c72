//! `larder base`.

use clap::{Args, Subcommand};

use super::build::BASE;
use super::{BuildArgs, Format};

#[derive(Debug, Args)]
pub(crate) struct BaseArgs {
    #[command(subcommand)]
    pub(crate) command: BaseCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BaseCommand {
    /// Build an image for others to stand on, unless its registry has it, and print its reference
    #[command(mut_arg("context", |context| context.required(false).default_value(".")))]
    Build(Box<BaseBuildArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct BaseBuildArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Repository that it is kept in [env: LARDER_BASE_REPO] [default: none, it stays in the engine]
    #[arg(long, value_name = "REPOSITORY", help_heading = BASE)]
    pub(crate) repo: Option<String>,
    /// Let of the context these files alone decide whether it is built anew
    #[arg(long, value_name = "FILE", value_delimiter = ',', help_heading = BASE)]
    pub(crate) requirements: Vec<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = BASE)]
    pub(crate) format: Format,
}
