//! `larder build`: the flags of `docker build` under the same names, and flags that only larder has.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::unsupported::UnsupportedArgs;
use super::{CacheMountArgs, SourceArgs, StepArgs};

pub(super) const BASE_HEADING: &str = "Base image";

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Flags of docker build that BuildKit does not support (--squash, --compress, --memory, \
                        --cpu-*, --isolation, --security-opt) are rejected with the reason"
)]
pub(crate) struct BuildCommandArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Build this Dockerfile first, once for each set of dependencies, and pass its image as the build argument BASE_IMAGE
    #[arg(long, value_name = "FILE", help_heading = BASE_HEADING)]
    pub(crate) base: Option<String>,
    /// Repository for the base image [env: LARDER_BASE_REPO] [default: none, it stays in the engine]
    #[arg(long, value_name = "REPOSITORY", requires = "base", help_heading = BASE_HEADING)]
    pub(crate) base_repo: Option<String>,
    /// Consider only these files of the context when deciding whether to rebuild the base image
    #[arg(long, value_name = "FILE", value_delimiter = ',', requires = "base", help_heading = BASE_HEADING)]
    pub(crate) base_requirements: Vec<String>,
    /// More images of larder.yaml to build at the same time
    #[arg(value_name = "NAME")]
    pub(crate) more: Vec<String>,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BuildArgs {
    /// Build context: a directory, a git or http(s) URL, - for a tar archive or Dockerfile on stdin, or the name of an image in larder.yaml
    #[arg(value_name = "PATH | URL | - | NAME")]
    pub(crate) context: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) steps: StepArgs,
    #[command(flatten)]
    pub(crate) image: ImageArgs,
    /// Output destination: type=image|local|tar|oci|docker|registry|cacheonly,…, a directory, or - for a tar archive on stdout
    #[arg(long, short, value_name = "OUTPUT")]
    pub(crate) output: Vec<String>,
    /// Push the image to its registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Select what pushes images of Docker engines with a graph driver: larder, engine, or auto for the one expected to be faster [env: LARDER_PUSH_WITH] [default: auto]
    #[arg(long, value_name = "auto|engine|larder")]
    pub(crate) push_with: Option<String>,
    /// Compression of pushed layers: gzip, or zstd, which Docker before 23.0 cannot pull [env: LARDER_PUSH_COMPRESSION] [default: gzip]
    #[arg(long, value_name = "gzip|zstd")]
    pub(crate) push_compression: Option<String>,
    /// Create missing repositories in Amazon ECR
    #[arg(long)]
    pub(crate) create_repository: bool,
    /// Load the image into the engine (the default with a Docker engine)
    #[arg(long)]
    pub(crate) load: bool,
    /// Import layers from an image or an external cache: REF or type=registry,ref=REF
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_from: Vec<String>,
    /// Export layers to an external cache: type=inline or type=registry,ref=REF,mode=max
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_to: Vec<String>,
    /// Run every step of these stages, without the build cache
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Print only the image ID, warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write a report of the build, with its keys and cache hits, to a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Add an annotation to the image manifest
    #[arg(long, value_name = "[TYPE:]NAME=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// Attach an attestation: type=sbom|provenance,…
    #[arg(long, value_name = "ATTESTATION")]
    pub(crate) attest: Vec<String>,
    /// Shorthand for --attest=type=provenance
    #[arg(long, value_name = "BOOL | ATTRIBUTES", num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    pub(crate) provenance: Option<String>,
    /// Shorthand for --attest=type=sbom
    #[arg(long, value_name = "BOOL | ATTRIBUTES", num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    pub(crate) sbom: Option<String>,
    #[command(flatten)]
    pub(crate) tiers: TierArgs,
    #[command(flatten)]
    pub(crate) cache_mounts: CacheMountArgs,
    #[command(flatten)]
    pub(crate) unsupported: UnsupportedArgs,
}

/// The options of an image that `larder build` and `larder run` share.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ImageArgs {
    /// Name the image, optionally with a tag
    #[arg(long, short, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<String>,
    /// Ignore all cache hits, run every step, and save the result
    #[arg(long)]
    pub(crate) force_rebuild: bool,
    /// Run every step, without the build cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Format of the progress on stderr [env: LARDER_PROGRESS, BUILDKIT_PROGRESS]
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) progress: Option<ProgressArg>,
    /// Time limit for building an image, e.g. 30m; includes cache lookups, but not pushing and saving [env: LARDER_TIMEOUT]
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// Fail with exit code 3 if a cache fails, instead of building without it [env: LARDER_STRICT]
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TierArgs {
    /// Archive the image in the store, even if it is pushed; =false builds without any cache of larder [env: LARDER_ENABLED]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) enable_cache: Option<bool>,
    /// Tiers to use: any of engine, registry, prefix, graft, archive, layers, mounts [env: LARDER_TIERS] [default: all]
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    pub(crate) tiers: Vec<String>,
    /// Time limit for moving a whole image into or out of the store, or layers to a registry [env: LARDER_ARCHIVE_TIMEOUT] [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) archive_timeout: Option<String>,
    /// Repository for cached images and layers [env: LARDER_CACHE_REPO] [default: the one that is pushed to]
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) cache_repo: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    /// tty on a terminal, plain otherwise
    Auto,
    /// Line by line, for logs
    Plain,
    /// Live display, for terminals
    Tty,
    /// Only warnings and errors
    Quiet,
    /// One JSON object per line
    #[value(alias = "rawjson")]
    Json,
}
