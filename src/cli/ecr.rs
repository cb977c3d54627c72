//! `larder ecr`.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct EcrArgs {
    #[command(subcommand)]
    pub(crate) command: EcrCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EcrCommand {
    /// Get a token for a registry; every other command gets its own
    Login(EcrLoginArgs),
    /// Pull images that may not be there yet
    Pull(EcrPullArgs),
    /// Push images of the engine
    Push(EcrPushArgs),
    /// Remove images and tags from a repository
    Clean(EcrCleanArgs),
    /// Show what a repository removes by itself, and what larder would have it remove
    Lifecycle(EcrLifecycleArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EcrLoginArgs {
    /// Registry, such as 123456789012.dkr.ecr.eu-north-1.amazonaws.com or public.ecr.aws
    pub(crate) registry: String,
    /// Write the token into Docker's config.json too, for docker itself
    #[arg(long)]
    pub(crate) docker: bool,
    /// Print the password to standard output, for docker login --username AWS --password-stdin
    #[arg(long, conflicts_with = "docker")]
    pub(crate) print: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EcrPullArgs {
    /// Images; one that is not there is told and no error
    #[arg(required = true)]
    pub(crate) image: Vec<String>,
    /// Fail when an image is not there
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EcrPushArgs {
    /// Images that the engine has
    #[arg(required = true)]
    pub(crate) image: Vec<String>,
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// Options for creating missing repositories.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CreateArgs {
    /// Create repositories that do not exist
    #[arg(long)]
    pub(crate) create: bool,
    /// Scan what is pushed to a repository that is created
    #[arg(long, requires = "create")]
    pub(crate) scan_on_push: bool,
    /// Let no tag of a repository that is created be replaced, but for cache*, buildcache* and larder-*
    #[arg(long, requires = "create")]
    pub(crate) immutable: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EcrCleanArgs {
    /// Repository, such as 123456789012.dkr.ecr.eu-north-1.amazonaws.com/app
    pub(crate) repository: String,
    /// Remove tags like this, * standing for anything; an image goes with its last tag
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tag: Vec<String>,
    /// Remove images without a tag
    #[arg(long)]
    pub(crate) untagged: bool,
    /// Remove only what was pushed longer ago, e.g. 30d
    #[arg(long, value_name = "DURATION")]
    pub(crate) older_than: Option<String>,
    /// Of the images with such tags keep the newest
    #[arg(long, value_name = "COUNT", requires = "tag")]
    pub(crate) keep: Option<usize>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct EcrLifecycleArgs {
    /// Repository, such as 123456789012.dkr.ecr.eu-north-1.amazonaws.com/app
    pub(crate) repository: String,
    /// Let images without a tag go after so many days
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) untagged_days: u32,
    /// Let images with a tag of a key go, but for the newest; with --protect or --any-tag, for ECR removes an image with all
    /// of its tags
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep: Option<u32>,
    /// Let no image with a tag like this go, beside cache*, buildcache*, latest and v*
    #[arg(long, value_name = "PATTERN", requires = "keep", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) protect: Vec<String>,
    /// Let images go whatever other tags they have, those of releases too
    #[arg(long, requires = "keep")]
    pub(crate) any_tag: bool,
    /// Write the policy
    #[arg(long)]
    pub(crate) apply: bool,
}
