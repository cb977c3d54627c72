//! `larder ecr`.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::OutputFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum EcrCommand {
    /// Get a token for a registry; other commands log in by themselves
    Login(EcrLoginArgs),
    /// Pull images, and skip those that do not exist
    Pull(EcrPullArgs),
    /// Push images from the engine
    Push(EcrPushArgs),
    /// Remove images and tags from a repository
    Clean(EcrCleanArgs),
    /// Show the lifecycle policy of a repository, and the one that larder proposes
    Lifecycle(EcrLifecycleArgs),
}

#[derive(Debug, Args)]
pub(crate) struct EcrLoginArgs {
    /// Registry, such as 123456789012.dkr.ecr.eu-north-1.amazonaws.com or public.ecr.aws
    pub(crate) registry: String,
    /// Also write the token to Docker's config.json, for docker itself
    #[arg(long)]
    pub(crate) docker: bool,
    /// Print the password to standard output, for docker login --username AWS --password-stdin
    #[arg(long, conflicts_with = "docker")]
    pub(crate) print: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EcrPullArgs {
    /// Images to pull; a missing one is reported, and is not an error
    #[arg(required = true)]
    pub(crate) image: Vec<String>,
    /// Fail if an image does not exist
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EcrPushArgs {
    /// Images in the engine
    #[arg(required = true)]
    pub(crate) image: Vec<String>,
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// The options for creating missing repositories.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CreateArgs {
    /// Create repositories that do not exist
    #[arg(long)]
    pub(crate) create: bool,
    /// Enable scan on push for created repositories
    #[arg(long, requires = "create")]
    pub(crate) scan_on_push: bool,
    /// Make the tags of created repositories immutable, except for cache*, buildcache* and larder-*
    #[arg(long, requires = "create")]
    pub(crate) immutable: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EcrCleanArgs {
    /// Repository, such as 123456789012.dkr.ecr.eu-north-1.amazonaws.com/app
    pub(crate) repository: String,
    /// Remove tags that match this pattern, where * matches anything; an image is removed with its last tag
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tag: Vec<String>,
    /// Remove images without a tag
    #[arg(long)]
    pub(crate) untagged: bool,
    /// Remove only images that were pushed longer ago than this, e.g. 30d
    #[arg(long, value_name = "DURATION")]
    pub(crate) older_than: Option<String>,
    /// Keep this many of the newest images with matching tags
    #[arg(long, value_name = "COUNT", requires = "tag")]
    pub(crate) keep: Option<usize>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) format: OutputFormat,
}

#[derive(Debug, Args)]
pub(crate) struct EcrLifecycleArgs {
    /// Repository, such as 123456789012.dkr.ecr.eu-north-1.amazonaws.com/app
    pub(crate) repository: String,
    /// Remove images without a tag after this many days
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) untagged_days: u32,
    /// Remove images with a cache key as a tag, except for this many of the newest; needs --protect or --any-tag, because ECR
    /// removes an image with all its tags
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep: Option<u32>,
    /// Never remove images with a tag that matches this pattern, in addition to cache*, buildcache*, latest and v*
    #[arg(long, value_name = "PATTERN", requires = "keep", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) protect: Vec<String>,
    /// Remove images regardless of their other tags, including those of releases
    #[arg(long, requires = "keep")]
    pub(crate) any_tag: bool,
    /// Write the proposed policy to the repository
    #[arg(long)]
    pub(crate) apply: bool,
}
