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
    pub schema: String,
    /// When it started.
    pub started: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// The tier that had the image (`engine`, `registry`, `archive`), for an image hit.
    pub hit_tier: Option<String>,
    /// The image's id, `sha256:…`; absent when the build made none.
    pub image_id: Option<String>,
    /// The image's names.
    pub names: Vec<String>,
    /// The image key; absent when the inputs cannot be known beforehand.
    pub image_key: Option<CacheKey>,
    /// The dependency key; likewise.
    pub dependency_key: Option<CacheKey>,
    /// The lane that it wrote, and the trunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<LanesRecord>,
    /// RUN, COPY and ADD steps of the target; all of them cached for an image hit.
    pub steps: StepCounts,
    /// Each step that BuildKit ran or found cached.
    #[serde(default)]
    pub step_list: Vec<StepEntry>,
    /// The tiers in the order they were tried.
    pub tiers: Vec<TierRecord>,
    /// The cache mounts.
    pub mounts: Vec<MountRecord>,
    /// The base image that was found or built before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseRecord>,
    /// What keeping the image in the store came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptRecord>,
    /// What leaving its layers in a registry came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_layers: Option<KeptLayersRecord>,
    /// What was wrong with the store that machines share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteRecord>,
    /// How long it took in all, milliseconds.
    pub millis: u64,
    /// What BuildKit's exporters answered (`containerimage.digest`, …), beside the fields above as docker
    /// build's own metadata file has them; also fields that a newer larder added.
    #[serde(default, flatten)]
    pub more: BTreeMap<String, Value>,
    /// Why it failed, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
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
pub struct LanesRecord {
    /// The lane that it wrote.
    pub own: String,
    /// The flag, variable or reference that names it.
    pub own_from: String,
    /// The trunk; several names where the default branch is not known.
    pub trunk: Vec<String>,
    /// The flag, variable or reference that names it.
    pub trunk_from: String,
}

/// A remote store that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRecord {
    /// Where it is, without credentials.
    pub place: String,
    /// What went wrong first.
    pub fault: String,
}

/// Counts of RUN, COPY and ADD steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCounts {
    /// All of them.
    pub total: usize,
    /// Those answered by a cache.
    pub cached: usize,
    /// Those of them whose layers a registry had and, as far as is known, not the builder.
    #[serde(default)]
    pub imported: usize,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEntry {
    /// The mark by which this cache knows the step again, `sha256:…`; empty where none could be made.
    pub digest: String,
    /// Its name, e.g. `[builder 2/3] RUN make`; without the command when build arguments could show in it.
    pub name: String,
    /// Answered by a cache.
    pub cached: bool,
    /// By one in a registry, as far as is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
    /// How long it ran, milliseconds.
    pub millis: u64,
}

/// What a tier did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierRecord {
    /// Its name.
    pub tier: String,
    /// How it went.
    pub outcome: TierOutcome,
    /// Why, in a few words.
    pub reason: String,
    /// Bytes it moved.
    pub bytes: u64,
    /// Time it took, milliseconds.
    pub millis: u64,
}

/// An image that was kept in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRecord {
    /// The first digits of the entry's id.
    pub entry: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes that it added to the store.
    pub added_bytes: u64,
    /// Time it took, milliseconds, from the end of the build on.
    pub millis: u64,
}

/// The image that the Dockerfile was handed to stand on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseRecord {
    /// What it is called, by its digest where a registry has it.
    pub reference: String,
    /// Its key.
    pub key: CacheKey,
    /// Whether it was there.
    pub outcome: BaseOutcome,
    /// How long finding or building it took, milliseconds.
    pub millis: u64,
}

/// How a base image came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseOutcome {
    /// It was there.
    Found,
    /// It was built.
    Built,
}

/// Layers that were left in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLayersRecord {
    /// The names that they are found by.
    pub references: Vec<String>,
    /// Time it took, milliseconds.
    pub millis: u64,
}

/// How a tier went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TierOutcome {
    /// It had what was wanted.
    Hit,
    /// It had not.
    Miss,
    /// It was not asked.
    Skipped,
}

/// What a cache mount was worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    /// Its identity in the builder.
    pub id: String,
    /// Where the step sees it.
    pub target: String,
    /// What it holds: `pip`, `apt`, ….
    pub kind: String,
    /// Files restored before the build.
    pub restored_files: u64,
    /// Their bytes.
    pub restored_bytes: u64,
    /// Files that the build read.
    pub used_files: u64,
    /// Files that the build added.
    pub added_files: u64,
    /// Files saved after the build.
    pub saved_files: u64,
    /// Their bytes.
    pub saved_bytes: u64,
    /// Set where the mount was not restored since its steps were expected to be cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}

/// Whether what was expected of a mount's steps came true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// They were cached.
    Right,
    /// One of them ran, without what was kept of the mount.
    Wrong,
}

impl MountRecord {
    /// A mount of which nothing was moved yet.
    pub fn of(id: String, target: &str, kind: &str) -> Self {
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
    pub fn started(at: Timestamp) -> Self {
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
