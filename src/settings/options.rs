//! Settings that a flag, a variable and a key of `larder.yaml` can set: one layer for each source.
//!
//! ```text
//! flags.combine(environment).combine(image).combine(file)
//! ```
//!
//! Each layer is typed: text is parsed once, where its origin is known.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::named_image::{self, NamedImage};
use super::origin::{Origin, Sourced, parse_flag, text};
use super::size::{ByteSize, Gigabytes};
use super::store::{MaxAge, TrustedKeys};
use super::tiers::{RepositoryName, TierNames};
use super::{Environment, PushWith, SettingsError, env_vars};
use crate::cli::{BuildArgs, CacheMountArgs, GlobalArgs, StoreArgs, TierArgs};
use crate::plan::ProgressMode;
use crate::registry::Compression;
use crate::store::Lane;
use crate::store::backend::remote::RemoteUrl;

/// The settings of one source, and the content of `larder.yaml`, in which an unknown key is an error.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(title = "larder.yaml"))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct OptionLayer {
    /// Directory of the cache.
    pub(super) cache_dir: Option<PathBuf>,
    /// Format of the progress: auto, plain, tty, quiet or json.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) progress: Option<ProgressMode>,
    /// Fail if a cache fails, instead of building without it.
    pub(super) strict: Option<bool>,
    /// Time limit for building an image, such as `30m`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) timeout: Option<Duration>,
    /// `true` archives images in the store, `false` builds without any cache of larder.
    #[cfg_attr(test, schemars(with = "Option<bool>"))]
    pub(super) enabled: Option<Sourced<bool>>,
    /// Tiers to use: any of engine, registry, prefix, graft, archive, layers, mounts.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    pub(super) tiers: Option<TierNames>,
    /// Time limit for moving a whole image into or out of the store, or layers to a registry.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) archive_timeout: Option<Duration>,
    /// Repository for cached images and layers, such as `registry.example/app`. Default: that of the pushed image.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) cache_repo: Option<RepositoryName>,
    /// What pushes images of Docker engines with a graph driver: auto, engine or larder.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) push_with: Option<PushWith>,
    /// Compression of pushed layers: gzip or zstd.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) push_compression: Option<Compression>,
    /// Repository for base images, such as `registry.example/app-base`. Default: none, they stay in the engine.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) base_repo: Option<RepositoryName>,
    /// Shared store behind the cache directory, such as `s3://BUCKET/PREFIX`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) remote: Option<RemoteUrl>,
    /// Time limit for a request to the shared store.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) remote_timeout: Option<Duration>,
    /// Lane of the default branch, which every job reads.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) trunk: Option<Sourced<Lane>>,
    /// Save nothing and remove nothing.
    pub(super) read_only: Option<bool>,
    /// Use only entries signed by a trusted key.
    pub(super) require_signature: Option<bool>,
    /// Public keys whose signatures are trusted, in base64.
    #[cfg_attr(test, schemars(with = "Vec<String>"))]
    pub(super) trusted_keys: Option<TrustedKeys>,
    /// Maximum size of the cache in gigabytes; 0 for no limit.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub(super) cache_max_size_gb: Option<Gigabytes>,
    /// Gigabytes to keep free on the cache's disk; 0 fills it. Default: 5 % of the disk or 1, whichever is larger.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub(super) cache_min_free_gb: Option<Gigabytes>,
    /// Maximum size of the shared store in gigabytes; 0 for no limit.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<f64>"))]
    pub(super) remote_max_size_gb: Option<Gigabytes>,
    /// Maximum number of entries in the cache; 0 for no limit.
    pub(super) cache_max_entries: Option<u64>,
    /// Age after which images are built again, and time without use after which entries are evicted, such as `30d`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) max_age: Option<MaxAge>,
    /// Add cache mounts to steps that install packages without one.
    pub(super) auto_mounts: Option<bool>,
    /// Name of the project that shares cache mounts.
    pub(super) mount_scope: Option<String>,
    /// Maximum size of a cache mount in the store, such as `2GB`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) max_mount_size: Option<ByteSize>,
    /// Number of builds in a row without a read after which a file of a cache mount is dropped; 0 keeps it.
    pub(super) mount_unused_builds: Option<u32>,
    /// Time limit for restoring or saving cache mounts.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) mount_timeout: Option<Duration>,
    /// Images that are built and run by their names.
    #[serde(deserialize_with = "named_image::unique")]
    pub(super) images: BTreeMap<String, NamedImage>,
    /// Time to wait for an engine that cannot be reached yet.
    #[serde(skip)]
    pub(super) engine_wait: Option<Duration>,
    #[serde(skip)]
    pub(super) lane: Option<Sourced<Lane>>,
}

impl OptionLayer {
    /// Returns the settings of both sources; those of `self` have precedence.
    pub(super) fn combine(self, lower: Self) -> Self {
        macro_rules! first_set {
            ($($field:ident)*) => {
                Self {
                    images: if self.images.is_empty() { lower.images } else { self.images },
                    $($field: self.$field.or(lower.$field),)*
                }
            };
        }
        first_set! {
            cache_dir progress strict timeout enabled tiers archive_timeout cache_repo push_with push_compression
            base_repo remote remote_timeout trunk read_only require_signature trusted_keys cache_max_size_gb
            cache_min_free_gb remote_max_size_gb cache_max_entries max_age auto_mounts mount_scope max_mount_size
            mount_unused_builds mount_timeout engine_wait lane
        }
    }

    pub(super) fn from_global_flags(args: &GlobalArgs) -> Result<Self, SettingsError> {
        let StoreArgs { remote, remote_timeout, trunk, trusted_keys, max_age, .. } = &args.store;
        let lane = |name, text| -> Result<Option<Sourced<Lane>>, SettingsError> {
            Ok(parse_flag(name, text)?.map(|lane| Sourced::flag(name, lane)))
        };
        Ok(Self {
            engine_wait: parse_flag("wait-for-engine", args.wait_for_engine.as_ref())?,
            cache_dir: args.cache_dir.clone(),
            lane: lane("lane", args.lane.as_ref())?,
            remote: parse_flag("remote", remote.as_ref())?,
            remote_timeout: parse_flag("remote-timeout", remote_timeout.as_ref())?,
            trunk: lane("trunk", trunk.as_ref())?,
            read_only: args.store.read_only.then_some(true),
            require_signature: args.store.require_signature.then_some(true),
            trusted_keys: TrustedKeys::from_flags(trusted_keys)?,
            cache_max_size_gb: parse_flag("cache-max-size-gb", args.store.cache_max_size_gb.as_ref())?,
            cache_min_free_gb: parse_flag("cache-min-free-gb", args.store.cache_min_free_gb.as_ref())?,
            remote_max_size_gb: parse_flag("remote-max-size-gb", args.store.remote_max_size_gb.as_ref())?,
            cache_max_entries: parse_flag("cache-max-entries", args.store.cache_max_entries.as_ref())?,
            max_age: parse_flag("max-age", max_age.as_ref())?,
            ..Self::default()
        })
    }

    pub(super) fn from_build_flags(args: &BuildArgs) -> Result<Self, SettingsError> {
        let TierArgs { enable_cache, tiers, archive_timeout, cache_repo } = &args.tiers;
        let CacheMountArgs {
            auto_mounts,
            mount_scope,
            max_mount_size,
            mount_unused_builds,
            mount_timeout,
            ..
        } = &args.cache_mounts;
        Ok(Self {
            progress: ProgressMode::from_flags(args),
            strict: args.image.strict.then_some(true),
            timeout: parse_flag("timeout", args.image.timeout.as_ref())?,
            enabled: enable_cache.map(|enabled| Sourced::flag("enable-cache", enabled)),
            tiers: TierNames::from_flags(tiers)?,
            archive_timeout: parse_flag("archive-timeout", archive_timeout.as_ref())?,
            cache_repo: parse_flag("cache-repo", cache_repo.as_ref())?,
            push_with: parse_flag("push-with", args.push_with.as_ref())?,
            push_compression: parse_flag("push-compression", args.push_compression.as_ref())?,
            auto_mounts: auto_mounts.then_some(true),
            mount_scope: parse_flag("mount-scope", mount_scope.as_ref())?,
            max_mount_size: parse_flag("max-mount-size", max_mount_size.as_ref())?,
            mount_unused_builds: parse_flag("mount-unused-builds", mount_unused_builds.as_ref())?,
            mount_timeout: parse_flag("mount-timeout", mount_timeout.as_ref())?,
            ..Self::default()
        })
    }

    pub(super) fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let lane = |variable| -> Result<Option<Sourced<Lane>>, SettingsError> {
            Ok(environment.parsed_value(variable)?.map(|lane| Sourced::new(lane, Origin::Variable(variable))))
        };
        let enabled = environment.switch(env_vars::LARDER_ENABLED)?;
        let progress = environment.parsed_value(env_vars::LARDER_PROGRESS)?;
        Ok(Self {
            cache_dir: environment.get(env_vars::LARDER_CACHE_DIR).map(PathBuf::from),
            progress: match progress {
                Some(progress) => Some(progress),
                None => environment.parsed_value(env_vars::BUILDKIT_PROGRESS)?,
            },
            strict: environment.switch(env_vars::LARDER_STRICT)?,
            timeout: environment.parsed_value(env_vars::LARDER_TIMEOUT)?,
            enabled: enabled.map(|enabled| Sourced::new(enabled, Origin::Variable(env_vars::LARDER_ENABLED))),
            tiers: environment.parsed_value(env_vars::LARDER_TIERS)?,
            archive_timeout: environment.parsed_value(env_vars::LARDER_ARCHIVE_TIMEOUT)?,
            cache_repo: environment.parsed_value(env_vars::LARDER_CACHE_REPO)?,
            push_with: environment.parsed_value(env_vars::LARDER_PUSH_WITH)?,
            push_compression: environment.parsed_value(env_vars::LARDER_PUSH_COMPRESSION)?,
            base_repo: environment.parsed_value(env_vars::LARDER_BASE_REPO)?,
            remote: environment.parsed_value(env_vars::LARDER_REMOTE)?,
            remote_timeout: environment.parsed_value(env_vars::LARDER_REMOTE_TIMEOUT)?,
            trunk: lane(env_vars::LARDER_TRUNK)?,
            read_only: environment.switch(env_vars::LARDER_READ_ONLY)?,
            require_signature: environment.switch(env_vars::LARDER_REQUIRE_SIGNATURE)?,
            trusted_keys: environment.parsed_value(env_vars::LARDER_TRUSTED_KEYS)?,
            cache_max_size_gb: environment.parsed_value(env_vars::LARDER_MAX_SIZE_GB)?,
            cache_min_free_gb: environment.parsed_value(env_vars::LARDER_MIN_FREE_GB)?,
            remote_max_size_gb: environment.parsed_value(env_vars::LARDER_REMOTE_MAX_SIZE_GB)?,
            cache_max_entries: environment.parsed_value(env_vars::LARDER_MAX_ENTRIES)?,
            max_age: environment.parsed_value(env_vars::LARDER_MAX_AGE)?,
            auto_mounts: environment.switch(env_vars::LARDER_AUTO_MOUNTS)?,
            mount_scope: environment.parsed_value(env_vars::LARDER_MOUNT_SCOPE)?,
            max_mount_size: environment.parsed_value(env_vars::LARDER_MAX_MOUNT_SIZE)?,
            mount_unused_builds: environment.parsed_value(env_vars::LARDER_MOUNT_UNUSED_BUILDS)?,
            mount_timeout: environment.parsed_value(env_vars::LARDER_MOUNT_TIMEOUT)?,
            images: BTreeMap::new(),
            engine_wait: environment.parsed_value(env_vars::LARDER_WAIT_FOR_ENGINE)?,
            lane: lane(env_vars::LARDER_LANE)?,
        })
    }
}
