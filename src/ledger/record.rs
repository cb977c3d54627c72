//! The record of one build; also what `larder build --metadata-file` writes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::CacheKey;

/// The version of the record's shape. Fields may be added under the same name, never changed.
const SCHEMA: &str = "larder.build.v1";

/// One build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// `larder.build.v1`.
    pub(crate) schema: String,
    /// When it started.
    pub(crate) started: Timestamp,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The tier that had the image (`engine`, `registry`, `archive`), for an image hit.
    pub(crate) hit_tier: Option<String>,
    /// The image's id, `sha256:…`; absent when the build made none.
    pub(crate) image_id: Option<String>,
    /// The image's names.
    pub(crate) names: Vec<String>,
    /// The image key; absent when the inputs cannot be known beforehand.
    pub(crate) image_key: Option<CacheKey>,
    /// The dependency key; likewise.
    pub(crate) dependency_key: Option<CacheKey>,
    /// The lane that it wrote, and the trunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lanes: Option<LanesRecord>,
    /// RUN, COPY and ADD steps of the target; all of them cached for an image hit.
    pub(crate) steps: StepCounts,
    /// Each step that BuildKit ran or found cached.
    #[serde(default)]
    pub(crate) step_list: Vec<StepEntry>,
    /// The tiers in the order they were tried.
    pub(crate) tiers: Vec<TierRecord>,
    /// The cache mounts.
    pub(crate) mounts: Vec<MountRecord>,
    /// The base image that was found or built before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<BaseRecord>,
    /// What keeping the image in the store came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<KeptRecord>,
    /// What leaving its layers in a registry came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept_layers: Option<KeptLayersRecord>,
    /// What was wrong with the store that machines share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remote: Option<RemoteRecord>,
    /// How long it took in all, milliseconds.
    pub(crate) millis: u64,
    /// What BuildKit's exporters answered (`containerimage.digest`, …), beside the fields above as docker
    /// build's own metadata file has them; also fields that a newer larder added.
    #[serde(default, flatten)]
    pub(crate) more: BTreeMap<String, Value>,
    /// Why it failed, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The image was there; no build was needed.
    ImageHit,
    /// It was built.
    Built,
    /// The build failed.
    Failed,
    /// The user interrupted it.
    Interrupted,
}

/// The lanes of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LanesRecord {
    /// The lane that it wrote.
    pub(crate) own: String,
    /// The flag, variable or reference that names it.
    pub(crate) own_from: String,
    /// The trunk; several names where the default branch is not known.
    pub(crate) trunk: Vec<String>,
    /// The flag, variable or reference that names it.
    pub(crate) trunk_from: String,
}

/// A remote store that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteRecord {
    /// Where it is, without credentials.
    pub(crate) place: String,
    /// What went wrong first.
    pub(crate) fault: String,
}

/// Counts of RUN, COPY and ADD steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepCounts {
    /// All of them.
    pub(crate) total: usize,
    /// Those answered by a cache.
    pub(crate) cached: usize,
    /// Those of them whose layers a registry had and, as far as is known, not the builder.
    #[serde(default)]
    pub(crate) imported: usize,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepEntry {
    /// The mark by which this cache knows the step again, `sha256:…`; empty where none could be made.
    pub(crate) digest: String,
    /// Its name, e.g. `[builder 2/3] RUN make`; without the command when build arguments could show in it.
    pub(crate) name: String,
    /// Answered by a cache.
    pub(crate) cached: bool,
    /// By one in a registry, as far as is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) imported: bool,
    /// How long it ran, milliseconds.
    pub(crate) millis: u64,
}

/// What a tier did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierRecord {
    /// Its name.
    pub(crate) tier: String,
    /// How it went.
    pub(crate) outcome: TierOutcome,
    /// Why, in a few words.
    pub(crate) reason: String,
    /// Bytes it moved.
    pub(crate) bytes: u64,
    /// Time it took, milliseconds.
    pub(crate) millis: u64,
}

/// An image that was kept in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRecord {
    /// The first digits of the entry's id.
    pub(crate) entry: String,
    /// Bytes of the image.
    pub(crate) bytes: u64,
    /// Bytes that it added to the store.
    pub(crate) added_bytes: u64,
    /// Time it took, milliseconds, from the end of the build on.
    pub(crate) millis: u64,
}

/// The image that the Dockerfile was handed to stand on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BaseRecord {
    /// What it is called, by its digest where a registry has it.
    pub(crate) reference: String,
    /// Its key.
    pub(crate) key: CacheKey,
    /// Whether it was there.
    pub(crate) outcome: BaseOutcome,
    /// How long finding or building it took, milliseconds.
    pub(crate) millis: u64,
}

/// How a base image came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BaseOutcome {
    /// It was there.
    Found,
    /// It was built.
    Built,
}

/// Layers that were left in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLayersRecord {
    /// The names that they are found by.
    pub(crate) references: Vec<String>,
    /// Time it took, milliseconds.
    pub(crate) millis: u64,
}

/// How a tier went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TierOutcome {
    /// It had what was wanted.
    Hit,
    /// It had not.
    Miss,
    /// It was not asked.
    Skipped,
}

/// What a cache mount was worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    /// Its identity in the builder.
    pub(crate) id: String,
    /// Where the step sees it.
    pub(crate) target: String,
    /// What it holds: `pip`, `apt`, ….
    pub(crate) kind: String,
    /// Files restored before the build.
    pub(crate) restored_files: u64,
    /// Their bytes.
    pub(crate) restored_bytes: u64,
    /// Files that the build read.
    pub(crate) used_files: u64,
    /// Files that the build added.
    pub(crate) added_files: u64,
    /// Files saved after the build.
    pub(crate) saved_files: u64,
    /// Their bytes.
    pub(crate) saved_bytes: u64,
    /// Set where the mount was not restored since its steps were expected to be cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prediction: Option<Prediction>,
}

/// Whether what was expected of a mount's steps came true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Prediction {
    /// They were cached.
    Right,
    /// One of them ran, without what was kept of the mount.
    Wrong,
}

impl MountRecord {
    /// A mount of which nothing was moved yet.
    pub(crate) fn of(id: String, target: &str, kind: &str) -> Self {
        Self {
            id,
            target: target.to_owned(),
            kind: kind.to_owned(),
            restored_files: 0,
            restored_bytes: 0,
            used_files: 0,
            added_files: 0,
            saved_files: 0,
            saved_bytes: 0,
            prediction: None,
        }
    }
}

impl BuildRecord {
    /// A record of a build that has just started and knows nothing yet.
    pub(crate) fn started(at: Timestamp) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            started: at,
            outcome: Outcome::Failed,
            hit_tier: None,
            image_id: None,
            names: Vec::new(),
            image_key: None,
            dependency_key: None,
            lanes: None,
            steps: StepCounts::default(),
            step_list: Vec::new(),
            tiers: Vec::new(),
            mounts: Vec::new(),
            base: None,
            kept: None,
            kept_layers: None,
            remote: None,
            millis: 0,
            more: BTreeMap::new(),
            error: None,
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests(key: &str) -> Self {
        let key = CacheKey::from(crate::digest::Digest::of(key.as_bytes()));
        Self {
            outcome: Outcome::Built,
            image_key: Some(key),
            dependency_key: Some(key),
            ..Self::started(Timestamp::UNIX_EPOCH)
        }
    }
}
