//! The options of every command that uses the store.

use clap::Args;

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Cache options")]
pub(crate) struct StoreArgs {
    /// Shared store behind the cache directory: s3://BUCKET/PREFIX, gs://…, azblob://…, webdavs://…, ghac:///PREFIX, file:///DIR [env: LARDER_REMOTE]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) remote: Option<String>,
    /// Time limit for a request to the shared store [env: LARDER_REMOTE_TIMEOUT] [default: 1m]
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) remote_timeout: Option<String>,
    /// Lane of the default branch, which every job reads [env: LARDER_TRUNK] [default: that of the CI system or the checkout, else main or master]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) trunk: Option<String>,
    /// Save nothing and remove nothing [env: LARDER_READ_ONLY]
    #[arg(long, global = true)]
    pub(crate) read_only: bool,
    /// Use only entries signed by a trusted key [env: LARDER_REQUIRE_SIGNATURE]
    #[arg(long, global = true)]
    pub(crate) require_signature: bool,
    /// Public key whose signatures are trusted, in base64 [env: LARDER_TRUSTED_KEYS, separated by commas]
    #[arg(long = "trusted-key", global = true, value_name = "KEY")]
    pub(crate) trusted_keys: Vec<String>,
    /// Maximum size of the cache in gigabytes; 0 for no limit [env: LARDER_MAX_SIZE_GB] [default: 100]
    #[arg(long, global = true, value_name = "GB")]
    pub(crate) cache_max_size_gb: Option<String>,
    /// Gigabytes to leave free on the cache's disk when saving; 0 fills it [env: LARDER_MIN_FREE_GB] [default: 5 % of the disk or 1, whichever is larger]
    #[arg(long, global = true, value_name = "GB")]
    pub(crate) cache_min_free_gb: Option<String>,
    /// Maximum size of the shared store in gigabytes; 0 for no limit [env: LARDER_REMOTE_MAX_SIZE_GB] [default: 0]
    #[arg(long, global = true, value_name = "GB")]
    pub(crate) remote_max_size_gb: Option<String>,
    /// Maximum number of entries in the cache; 0 for no limit [env: LARDER_MAX_ENTRIES] [default: 0]
    #[arg(long, global = true, value_name = "ENTRIES")]
    pub(crate) cache_max_entries: Option<String>,
    /// Rebuild images built longer ago than this, e.g. 30d or 12h, and evict entries not used for that long [env: LARDER_MAX_AGE]
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) max_age: Option<String>,
}
