//! `larder build`: docker build's flags by their names, and larder's own.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{CarryArgs, SourceArgs, StepArgs};

/// The help heading of the flags for base images.
pub(super) const BASE: &str = "Base image";

#[derive(Debug, Clone, Args)]
#[command(after_help = "Flags of docker build that BuildKit does not know (--squash, --compress, --memory, \
                        --cpu-*, --isolation, --security-opt) are refused with the reason")]
pub(crate) struct BuildCommandArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// Build this Dockerfile first, once for each set of dependencies, and hand its image on as the build argument BASE_IMAGE
    #[arg(long, value_name = "FILE", help_heading = BASE)]
    pub(crate) base: Option<String>,
    /// Repository that the base image is kept in [env: LARDER_BASE_REPO] [default: none, it stays in the engine]
    #[arg(long, value_name = "REPOSITORY", requires = "base", help_heading = BASE)]
    pub(crate) base_repo: Option<String>,
    /// Let of the context these files alone decide whether the base image is built anew
    #[arg(long, value_name = "FILE", value_delimiter = ',', requires = "base", help_heading = BASE)]
    pub(crate) base_requirements: Vec<String>,
    /// Further images of larder.yaml, built at the same time
    #[arg(value_name = "NAME")]
    pub(crate) more: Vec<String>,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BuildArgs {
    /// Build context: a directory, a git or http(s) address, - for a tar or Dockerfile on stdin, or an image of larder.yaml by its name
    #[arg(value_name = "PATH | URL | - | NAME")]
    pub(crate) context: String,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) steps: StepArgs,
    /// Name the image
    #[arg(long, short, value_name = "NAME[:TAG]")]
    pub(crate) tag: Vec<String>,
    /// Where the result goes: type=image|local|tar|oci|docker|registry|cacheonly,…; or a directory; or -
    #[arg(long, short, value_name = "OUTPUT")]
    pub(crate) output: Vec<String>,
    /// Push the image to its registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Who pushes images of Docker engines with a graph driver: larder, the engine, or auto: whoever is expected to be faster [env: LARDER_PUSH_WITH] [default: auto]
    #[arg(long, value_name = "auto|engine|larder")]
    pub(crate) push_with: Option<String>,
    /// Compression of pushed layers: gzip or zstd, which Docker before 23.0 cannot pull [env: LARDER_PUSH_COMPRESSION] [default: gzip]
    #[arg(long, value_name = "gzip|zstd")]
    pub(crate) push_compression: Option<String>,
    /// Create repositories in Amazon's registry that do not exist
    #[arg(long)]
    pub(crate) create_repository: bool,
    /// Put the image into the engine (the default with a Docker engine)
    #[arg(long)]
    pub(crate) load: bool,
    /// Take layers from an image or another cache: REF or type=registry,ref=REF
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_from: Vec<String>,
    /// Put layers into a cache: type=inline or type=registry,ref=REF,mode=max
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_to: Vec<String>,
    /// Run every step again
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Run every step of these stages again
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Ignore every cache hit, build anew, and keep the result
    #[arg(long)]
    pub(crate) force_rebuild: bool,
    /// Form of the progress on stderr [env: LARDER_PROGRESS, BUILDKIT_PROGRESS]
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) progress: Option<ProgressArg>,
    /// Print the image's id, and nothing else but warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what the build did, its keys and hits, to a JSON file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Annotate the image's manifest
    #[arg(long, value_name = "[TYPE:]NAME=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// Attach an attestation: type=sbom|provenance,…
    #[arg(long, value_name = "ATTESTATION")]
    pub(crate) attest: Vec<String>,
    /// Short for --attest=type=provenance
    #[arg(long, value_name = "BOOL | ATTRIBUTES", num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    pub(crate) provenance: Option<String>,
    /// Short for --attest=type=sbom
    #[arg(long, value_name = "BOOL | ATTRIBUTES", num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    pub(crate) sbom: Option<String>,
    /// Give the build of an image up after this long, counted from its start, e.g. 30m; pushing and saving come after it [env: LARDER_TIMEOUT]
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<String>,
    /// Fail with exit code 3 when a cache is at fault, instead of building without it [env: LARDER_STRICT]
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) tiers: TierArgs,
    #[command(flatten)]
    pub(crate) carry: CarryArgs,
    #[command(flatten)]
    pub(crate) refused: RefusedArgs,
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TierArgs {
    /// Archive the image in the store, even if it is pushed; =false builds without any of larder's caches [env: LARDER_ENABLED]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub(crate) enable_cache: Option<bool>,
    /// Tiers to use: some of engine, registry, prefix, graft, archive, layers, mounts [env: LARDER_TIERS] [default: all]
    #[arg(long, value_name = "TIER", value_delimiter = ',')]
    pub(crate) tiers: Vec<String>,
    /// How long moving a whole image into or out of the store, or layers to a registry, may take [env: LARDER_ARCHIVE_TIMEOUT] [default: 10m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) archive_timeout: Option<String>,
    /// Repository for what is kept in a registry [env: LARDER_CACHE_REPO] [default: the one that is pushed to]
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) cache_repo: Option<String>,
}

/// The form of the progress output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressArg {
    /// tty on a terminal, else plain
    Auto,
    /// Line by line, for logs
    Plain,
    /// Live, for a terminal
    Tty,
    /// Nothing but warnings and errors
    Quiet,
    /// One JSON object a line
    #[value(alias = "rawjson")]
    Json,
}

/// Flags of docker build that are accepted without effect or refused.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RefusedArgs {
    /// Always so with BuildKit
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) rm: Option<String>,
    /// Always so with BuildKit
    #[arg(long, hide = true)]
    pub(crate) force_rm: bool,
    /// Always so with BuildKit
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) disable_content_trust: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) squash: bool,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) compress: bool,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) isolation: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) security_opt: Vec<String>,
    /// Refused
    #[arg(long, short, hide = true)]
    pub(crate) memory: Option<String>,
    /// Refused
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Refused
    #[arg(long, short, hide = true)]
    pub(crate) cpu_shares: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) cpu_period: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) cpu_quota: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) cpuset_cpus: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) cpuset_mems: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) builder: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) call: Option<String>,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) check: bool,
    /// Refused
    #[arg(long, hide = true)]
    pub(crate) policy: Vec<String>,
}
