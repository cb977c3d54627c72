//! The record of one build, which `larder build --metadata-file` writes as well.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::judge::Loss;
use crate::key::CacheKey;

/// The version of the format. Fields may be added without a new version, but not changed.
const SCHEMA: &str = "larder.build.v1";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BuildRecord {
    pub(crate) schema: String,
    pub(crate) started: Timestamp,
    /// `true` if another agent ran the build, and shared its record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) from_other_agent: bool,
    pub(crate) outcome: BuildOutcome,
    /// The tier that had the image (`engine`, `registry`, `archive`); only for an image hit.
    pub(crate) hit_tier: Option<String>,
    /// The id of the image, `sha256:…`; absent if the build created none.
    pub(crate) image_id: Option<String>,
    pub(crate) names: Vec<String>,
    /// The repositories of the names, sorted; they identify the image in other builds.
    #[serde(default)]
    pub(crate) repositories: Vec<String>,
    /// The image key; absent if the inputs are not known in advance.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(crate) image_key: Option<CacheKey>,
    /// The dependency key; absent if the inputs are not known in advance.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(crate) dependency_key: Option<CacheKey>,
    /// Why there are no keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) no_key: Option<String>,
    /// The CI job that ran the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<CiJobRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lanes: Option<LanesRecord>,
    /// What has changed since the last build of the image, in words; empty if that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) changes: Vec<String>,
    /// The RUN, COPY and ADD steps of the target; all of them are cached for an image hit.
    pub(crate) steps: StepCountsRecord,
    /// The steps that ran, that the builder found in its cache, and that a tier made unnecessary.
    #[serde(default)]
    pub(crate) step_list: Vec<StepEntry>,
    /// `true` if the builder had no layers before the build; absent if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) was_builder_empty: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) solve: Option<SolveRecord>,
    /// What the build did when; the phases may overlap.
    #[serde(default)]
    pub(crate) phases: Vec<PhaseRecord>,
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
    /// Bytes of the local cache after the build; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored_bytes: Option<u64>,
    pub(crate) millis: u64,
    /// How long the build would have taken without larder on this engine; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) without_millis: Option<u64>,
    /// The response of BuildKit's exporters (`containerimage.digest`, …), in the same place as in docker build's
    /// metadata file, and fields of newer versions of larder.
    #[serde(default, flatten)]
    pub(crate) more: BTreeMap<String, Value>,
    /// Why the build failed, as one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BuildOutcome {
    /// The image existed, so that no build was needed.
    ImageHit,
    Built,
    #[default]
    Failed,
    Interrupted,
}

/// A job as its CI system describes it. A value is absent if the system does not set its variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct CiJobRecord {
    /// The CI system, such as `jenkins`.
    pub(crate) system: String,
    pub(crate) job: Option<String>,
    /// The number of the build.
    pub(crate) number: Option<String>,
    /// The address of the build's page.
    pub(crate) url: Option<String>,
    pub(crate) branch: Option<String>,
    /// The commit.
    pub(crate) revision: Option<String>,
}

/// A part of a build for which larder waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// The inputs are read and the engine is connected.
    Prepare,
    Keys,
    /// The whole image is looked for, and transferred.
    Lookup,
    Graft,
    /// Prefixes and caches of layers are looked for.
    Layers,
    Restore,
    Solve,
    /// The cache mounts are saved.
    Save,
    Archive,
    Push,
    /// Prefixes and layers are written to the registry or the store.
    Export,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PhaseRecord {
    pub(crate) phase: Phase,
    /// The time from the start of the build.
    pub(crate) start_millis: u64,
    pub(crate) millis: u64,
    /// How long the engine takes for the same push, as far as known; only for pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) engine_millis: Option<u64>,
}

impl PhaseRecord {
    pub(crate) const fn new(phase: Phase, start_millis: u64, millis: u64) -> Self {
        Self { phase, start_millis, millis, engine_millis: None }
    }
}

/// The time that BuildKit spent on a build. The parts may overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SolveRecord {
    pub(crate) millis: u64,
    /// RUN, COPY and ADD steps were running.
    pub(crate) steps_millis: u64,
    /// The layers of base images were fetched and unpacked.
    pub(crate) base_millis: u64,
    /// Caches in a registry were read, and their layers were fetched and unpacked.
    pub(crate) import_millis: u64,
    /// The image was exported.
    pub(crate) export_millis: u64,
    /// None of the above.
    pub(crate) other_millis: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct RemoteRecord {
    /// The location without credentials.
    pub(crate) place: String,
    pub(crate) fault: String,
}

/// Counts of RUN, COPY and ADD steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StepCountsRecord {
    pub(crate) total: usize,
    pub(crate) cached: usize,
    /// The cached steps whose layers came, as far as known, from a registry and not from the builder.
    #[serde(default)]
    pub(crate) imported: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct StepEntry {
    /// The mark that identifies the step in this cache, `sha256:…`; empty if it has none.
    pub(crate) digest: String,
    /// The name, for example `[builder 2/3] RUN make`; without the command if that could contain build arguments.
    pub(crate) name: String,
    /// The name of the stage, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    /// The instruction as written in the Dockerfile; absent if it is not known which one this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    pub(crate) cached: bool,
    /// `true` if the layer came, as far as known, from a registry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) imported: bool,
    /// The tier (`prefix`, `graft`, or that of an image hit) that made the step unnecessary, so that the builder was
    /// not asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tier: Option<String>,
    /// The time from the start of the build; absent if the step did not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_millis: Option<u64>,
    pub(crate) millis: u64,
    /// The last known duration of a step that did not run; absent if it ran, or if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spared_millis: Option<u64>,
    /// The state of its cache mounts; absent if it did not run, has none, or if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mounts: Option<MountState>,
}

/// What the cache mounts of a step contained when it ran. If it has several, the greatest state is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MountState {
    Empty,
    Unknown,
    /// The builder had the content before the build.
    Kept,
    /// larder had restored content.
    Restored,
}

impl StepEntry {
    /// Returns what identifies the step in other builds of the image: its stage and its source, or else its name.
    pub(crate) fn identity(&self) -> (Option<&str>, &str) {
        match &self.source {
            Some(source) => (self.stage.as_deref(), source),
            None => (None, &self.name),
        }
    }

    pub(super) fn is_copy(&self) -> bool {
        let of_name = || self.name.rsplit("] ").next();
        self.source.as_deref().or_else(of_name).is_some_and(|text| text.starts_with("COPY"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct TierRecord {
    pub(crate) tier: String,
    pub(crate) outcome: TierOutcome,
    pub(crate) reason: String,
    /// `true` if the tier failed at looking up, loading or saving; the reason has the fault and a remedy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) failed: bool,
    /// `true` if the tier was not used because it lost time in earlier builds; the reason has the figures.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) loses_time: bool,
    /// The number of bytes that were transferred for this build.
    pub(crate) bytes: u64,
    /// The time that the tier cost before the image existed.
    pub(crate) millis: u64,
    /// The number of bytes that were saved for later builds.
    #[serde(default)]
    pub(crate) saved_bytes: u64,
    /// The time for saving. For the archive, only the part in which the build waited for nothing else.
    #[serde(default)]
    pub(crate) saving_millis: u64,
    /// The time that other work would have taken without the tier; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spared_millis: Option<u64>,
}

impl TierRecord {
    pub(crate) fn new(tier: &str, outcome: TierOutcome, reason: impl Into<String>) -> Self {
        let (tier, reason) = (tier.to_owned(), reason.into());
        Self {
            tier,
            outcome,
            reason,
            failed: false,
            loses_time: false,
            bytes: 0,
            millis: 0,
            saved_bytes: 0,
            saving_millis: 0,
            spared_millis: None,
        }
    }

    /// Creates the record of a tier that is not used because of this loss.
    pub(crate) fn losing(tier: &str, loss: &Loss) -> Self {
        Self { loses_time: true, ..Self::new(tier, TierOutcome::Skipped, loss.to_string()) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BaseRecord {
    /// The reference, with a digest if the image is in a registry.
    pub(crate) reference: String,
    #[cfg_attr(test, schemars(with = "String"))]
    pub(crate) key: CacheKey,
    pub(crate) outcome: BaseOutcome,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BaseOutcome {
    Found,
    Built,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ExportedLayersRecord {
    pub(crate) references: Vec<String>,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TierOutcome {
    Hit,
    Miss,
    Skipped,
}

/// The benefit of a cache mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Packages, such as wheels, that the build read; absent if the builder does not record access times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) used_packages: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) added_packages: Option<u64>,
    pub(crate) saved_files: u64,
    pub(crate) saved_bytes: u64,
    /// Set if the mount was not restored because its steps were expected to be cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prediction: Option<Prediction>,
}

/// Whether the steps of a mount were cached as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Returns `true` if the image has this repository, which may be given without its registry.
    pub(crate) fn is_of_image(&self, repository: &str) -> bool {
        self.repositories.iter().any(|own| {
            own.strip_suffix(repository).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        })
    }

    pub(crate) fn is_of_branch(&self, name: &str) -> bool {
        let branch = self.job.as_ref().and_then(|job| job.branch.as_deref());
        branch == Some(name) || self.lanes.as_ref().is_some_and(|lanes| lanes.own == name)
    }

    /// Returns the time in milliseconds that only passed because something was saved for later builds.
    pub(crate) fn saving_millis(&self) -> u64 {
        self.millis_without_others(|phase| matches!(phase, Phase::Save | Phase::Archive | Phase::Export))
    }

    /// Returns the time in milliseconds in which no other phase ran beside this one.
    pub(crate) fn millis_of_only(&self, wanted: Phase) -> u64 {
        self.millis_without_others(|phase| phase == wanted)
    }

    /// Returns the time in milliseconds in which phases ran, and only those that are wanted.
    fn millis_without_others(&self, is_wanted: impl Fn(Phase) -> bool) -> u64 {
        let ends = self.phases.iter().flat_map(|at| [at.start_millis, at.start_millis + at.millis]);
        let mut ends: Vec<u64> = ends.collect();
        ends.sort_unstable();
        // Between two neighbouring ends, each phase either runs all the time or not at all.
        let spans = ends.windows(2).filter(|span| {
            let is_running =
                |at: &&PhaseRecord| at.start_millis <= span[0] && span[1] <= at.start_millis + at.millis;
            let running = || self.phases.iter().filter(is_running);
            running().next().is_some() && running().all(|at| is_wanted(at.phase))
        });
        spans.map(|span| span[1] - span[0]).sum()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saving_that_overlaps_with_a_push_costs_only_what_the_push_does_not_cover() {
        let phase = PhaseRecord::new;
        let mut record = BuildRecord::for_tests("a");
        assert_eq!(record.saving_millis(), 0);
        record.phases = vec![
            phase(Phase::Solve, 10, 1_000),
            phase(Phase::Save, 1_010, 200),
            phase(Phase::Archive, 1_100, 900),
            phase(Phase::Push, 1_210, 500),
            phase(Phase::Export, 1_800, 300),
        ];
        assert_eq!(record.saving_millis(), 200 + (2_100 - 1_710));
        assert_eq!(record.millis_of_only(Phase::Archive), 1_800 - 1_710);
    }
}
