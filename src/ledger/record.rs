//! The record of one build, which `larder build --metadata-file` writes as well.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::CacheKey;

/// The version of the format. Fields may be added without a new version, but not changed.
const SCHEMA: &str = "larder.build.v1";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct BuildRecord {
    pub(crate) schema: String,
    pub(crate) started: Timestamp,
    pub(crate) outcome: BuildOutcome,
    /// The tier that had the image (`engine`, `registry`, `archive`); only for an image hit.
    pub(crate) hit_tier: Option<String>,
    /// The id of the image, `sha256:…`; absent if the build created none.
    pub(crate) image_id: Option<String>,
    pub(crate) names: Vec<String>,
    /// The image key; absent if the inputs are not known in advance.
    pub(crate) image_key: Option<CacheKey>,
    /// The dependency key; absent if the inputs are not known in advance.
    pub(crate) dependency_key: Option<CacheKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lanes: Option<LanesRecord>,
    /// The RUN, COPY and ADD steps of the target; all of them are cached for an image hit.
    pub(crate) steps: StepCountsRecord,
    /// The steps that BuildKit ran or found in its cache.
    #[serde(default)]
    pub(crate) step_list: Vec<StepEntry>,
    /// The tiers, in the order in which they were tried.
    pub(crate) tiers: Vec<TierRecord>,
    pub(crate) mounts: Vec<MountRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<BaseRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<ArchivedImageRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept_layers: Option<ExportedLayersRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remote: Option<RemoteRecord>,
    pub(crate) millis: u64,
    /// The response of BuildKit's exporters (`containerimage.digest`, …), in the same place as in docker build's
    /// metadata file, and fields of newer versions of larder.
    #[serde(default, flatten)]
    pub(crate) more: BTreeMap<String, Value>,
    /// Why the build failed, as one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BuildOutcome {
    /// The image existed, so that no build was needed.
    ImageHit,
    Built,
    #[default]
    Failed,
    Interrupted,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LanesRecord {
    /// The lane that the build writes.
    pub(crate) own: String,
    /// The flag, variable or reference that names the lane.
    pub(crate) own_from: String,
    /// The names of the trunk; several if the default branch is unknown.
    pub(crate) trunk: Vec<String>,
    /// The flag, variable or reference that names the trunk.
    pub(crate) trunk_from: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteRecord {
    /// The location without credentials.
    pub(crate) place: String,
    pub(crate) fault: String,
}

/// Counts of RUN, COPY and ADD steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepCountsRecord {
    pub(crate) total: usize,
    pub(crate) cached: usize,
    /// The cached steps whose layers came, as far as known, from a registry and not from the builder.
    #[serde(default)]
    pub(crate) imported: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepEntry {
    /// The mark that identifies the step in this cache, `sha256:…`; empty if it has none.
    pub(crate) digest: String,
    /// The name, for example `[builder 2/3] RUN make`; without the command if that could contain build arguments.
    pub(crate) name: String,
    pub(crate) cached: bool,
    /// `true` if the layer came, as far as known, from a registry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) imported: bool,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TierRecord {
    pub(crate) tier: String,
    pub(crate) outcome: TierOutcome,
    pub(crate) reason: String,
    /// The number of bytes that were transferred.
    pub(crate) bytes: u64,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchivedImageRecord {
    /// The first digits of the entry's id.
    pub(crate) entry: String,
    pub(crate) bytes: u64,
    pub(crate) added_bytes: u64,
    /// The duration in milliseconds, from the end of the build.
    pub(crate) millis: u64,
}

/// The base image that was built separately and passed to the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BaseRecord {
    /// The reference, with a digest if the image is in a registry.
    pub(crate) reference: String,
    pub(crate) key: CacheKey,
    pub(crate) outcome: BaseOutcome,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BaseOutcome {
    Found,
    Built,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExportedLayersRecord {
    pub(crate) references: Vec<String>,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TierOutcome {
    Hit,
    Miss,
    Skipped,
}

/// The benefit of a cache mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    /// The identity in the builder.
    pub(crate) id: String,
    /// The path in the step.
    pub(crate) target: String,
    /// The kind of cache: `pip`, `apt`, ….
    pub(crate) kind: String,
    pub(crate) restored_files: u64,
    pub(crate) restored_bytes: u64,
    /// Files that the build read.
    pub(crate) used_files: u64,
    pub(crate) added_files: u64,
    pub(crate) saved_files: u64,
    pub(crate) saved_bytes: u64,
    /// Set if the mount was not restored because its steps were expected to be cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prediction: Option<Prediction>,
}

/// Whether the steps of a mount were cached as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Prediction {
    /// All steps were cached.
    Right,
    /// A step ran, without the saved content of the mount.
    Wrong,
}

impl MountRecord {
    /// Creates a record of a mount without any transfers.
    pub(crate) fn of(id: String, target: &str, kind: &str) -> Self {
        Self { id, target: target.to_owned(), kind: kind.to_owned(), ..Self::default() }
    }
}

impl BuildRecord {
    /// Creates the record of a build that has just started.
    pub(crate) fn started(at: Timestamp) -> Self {
        Self { schema: SCHEMA.to_owned(), started: at, ..Self::default() }
    }

    #[cfg(test)]
    pub(super) fn for_tests(key: &str) -> Self {
        let key = CacheKey::from(crate::digest::Digest::of(key.as_bytes()));
        Self {
            outcome: BuildOutcome::Built,
            image_key: Some(key),
            dependency_key: Some(key),
            ..Self::started(Timestamp::UNIX_EPOCH)
        }
    }
}
