//! The stage that makes an image on top of a prefix in a registry, without a builder, if the image is only pushed.
//!
//! ```text
//!  prefix ─▶ config, index ─┐
//!  Dockerfile, context ─────┴─▶ layers, config, manifest ─▶ registry
//!                               blobs of the prefix ─▶ checked, mounted or copied
//! ```
//!
//! After any failure the image can still be built: nothing is tagged before everything else is in the registry.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::job::Job;
use super::keyed::Keyed;
use super::lookup::Lookup;
use super::steps::unneeded_steps;
use crate::context::Filter;
use crate::digest::Digest;
use crate::dockerfile::Source;
use crate::engine::ImageStore;
use crate::error_chain::chain;
use crate::graft::{
    Accounts, CopySources, DamagedIndex, FinishedLayer, PrefixIndex, Refusal, Tail, TailOptions, make_layer,
};
use crate::key::PrefixKey;
use crate::ledger::{StepCountsRecord, StepEntry, TierOutcome, TierRecord, millis};
use crate::pipeline::blocking::blocking;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::input_snapshot::InputSnapshot;
use crate::pipeline::inputs::{BuildContext, ignore_files};
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::transfers::transfer;
use crate::pipeline::visible_files::ignore_patterns;
use crate::plan::PushWith;
use crate::registry::{Compression, GraftBase, RegistryError, Repository, UploadError, with_timeout};
use crate::store::Meter;

pub(super) const NAME: &str = "graft";
const DEADLINE: Duration = Duration::from_secs(20);
const PLACEHOLDER_CONFIG: &[u8] = br#"{"history":[],"rootfs":{"diff_ids":[]}}"#;
const ANNOTATION_PREFIXES: [&str; 2] = ["annotation.", "annotation-manifest."];

pub(super) struct GraftedImage {
    pub(super) tier: TierRecord,
    /// The id that the image will have in the engine when it is pulled.
    pub(super) id: String,
    pub(super) config: Digest,
    pub(super) manifest: Digest,
    pub(super) steps: StepCountsRecord,
    pub(super) step_list: Vec<StepEntry>,
}

pub(super) enum GraftOutcome {
    Made(Box<GraftedImage>),
    /// The image has to be built. The reason was reported.
    Declined {
        tier: TierRecord,
        is_registry_error: bool,
    },
    /// Grafting does not apply to this build. Nothing was reported.
    NotApplicable,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum GraftError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Index(#[from] DamagedIndex),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error("cannot create a layer")]
    Layer(#[from] io::Error),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl GraftError {
    fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported(reason.into())
    }

    fn is_registry_error(&self) -> bool {
        matches!(self, Self::Registry(_) | Self::Upload(UploadError::Registry(_)))
    }
}

pub(super) struct GraftPlan {
    pub(super) repository: Repository,
    pub(super) key: PrefixKey,
    pub(super) base: GraftBase,
    pub(super) tail: Tail,
    pub(super) compression: Compression,
    pub(super) annotations: BTreeMap<String, String>,
    created: Timestamp,
}

pub(super) struct GraftLayers {
    pub(super) layers: Vec<FinishedLayer>,
    /// The prefixes that end after one of the layers, with the layer's index and the encoded index of the prefix.
    pub(super) prefixes: Vec<(PrefixKey, usize, Option<String>)>,
}

impl Job<'_> {
    /// Makes the image on its deepest prefix and pushes it, if that is possible. Fails if a registry fails under
    /// `--strict`, if the user interrupts, and at the deadline.
    pub(super) async fn graft(&self, keyed: &Keyed, lookup: &Lookup) -> Result<GraftOutcome> {
        let clock = Instant::now();
        let Some(keys) = keyed.keys().filter(|keys| self.can_graft(keys, lookup)) else {
            return Ok(GraftOutcome::NotApplicable);
        };
        let grafting = async {
            // The time limit of the build does not apply to pushes.
            let planning = async { Ok(Box::pin(self.plan_graft(keys)).await) };
            let Some((planned, layers)) = self.run_within_limits(planning).await?? else { return Ok(None) };
            let meter = Arc::new(Meter::default());
            let pushing = Box::pin(self.push_graft((keys, lookup), &planned, layers, &meter));
            let pushed =
                transfer("pushing the image", pushing, &meter, self.session, self.reporter).await??;
            Ok(Some((planned, pushed)))
        };
        let record = |outcome, reason: String, bytes| TierRecord {
            bytes,
            millis: millis(clock.elapsed()),
            ..TierRecord::new(NAME, outcome, reason)
        };
        match grafting.await {
            Ok(Some((planned, pushed))) => {
                let reason = format!("made on the layers up to {}", planned.key.describe_end());
                let tier = self.report_answer(record(TierOutcome::Hit, reason, pushed.bytes));
                // buildkitd identifies images by their manifests.
                let is_config = self.engine().is_some()
                    && matches!(self.connection.image_store().await, Ok(ImageStore::GraphDriver));
                let id = if is_config { pushed.config } else { pushed.manifest };
                let made = planned.tail.copy_count();
                let steps = StepCountsRecord {
                    total: keys.steps,
                    cached: keys.steps.saturating_sub(made),
                    ..StepCountsRecord::default()
                };
                let (config, manifest) = (pushed.config, pushed.manifest);
                let step_list = unneeded_steps(&keys.resolution, |stage, line| match lookup.builder {
                    Some(builder) => Some(builder.tier_of_step((stage, line), NAME)),
                    None => Some(Some(NAME)),
                });
                let grafted = GraftedImage { tier, id: id.to_string(), config, manifest, steps, step_list };
                Ok(GraftOutcome::Made(Box::new(grafted)))
            }
            // The tier of prefixes reports this case.
            Ok(None) => Ok(GraftOutcome::NotApplicable),
            Err(GraftError::Pipeline(error)) => Err(error),
            Err(error) => {
                let is_registry_error = error.is_registry_error();
                if is_registry_error {
                    self.faults.report(&error)?;
                }
                let tier = self.report_answer(record(TierOutcome::Skipped, chain(&error), 0));
                Ok(GraftOutcome::Declined { tier, is_registry_error })
            }
        }
    }

    /// Returns `true` if the image is only pushed, and the build can use prefixes.
    fn can_graft(&self, keys: &BuildKeys, lookup: &Lookup) -> bool {
        let archiving = self.archive_policy(lookup, self.will_be_in_registry());
        self.build.tiers.graft
            && self.wants_push()
            && !self.should_be_in_engine()
            && self.build.push.with != PushWith::Engine
            && self.purpose.keyed.is_none()
            && !archiving.should_archive()
            && self.no_continuation_reason(keys, lookup).is_none()
            && lookup.losing.prefix.is_none()
            && keys.sole_platform().is_some_and(|platform| platform.starts_with("linux/"))
            && self.inputs.built_text().is_some()
            && matches!(self.inputs.context, BuildContext::Directory(_) | BuildContext::Empty(_))
    }

    /// Makes the layers on the deepest prefix. Returns `None` if there is no prefix.
    async fn plan_graft(&self, keys: &BuildKeys) -> Result<Option<(GraftPlan, GraftLayers)>, GraftError> {
        let Some(place) = self.prefix_repository() else { return Ok(None) };
        let outputs = self.build.outputs.iter();
        if let Some(option) = outputs.flat_map(|output| output.attributes.keys()).next() {
            return Err(GraftError::unsupported(format!("the output has the option {option}")));
        }
        let Some(deepest) = keys.keys.prefixes.iter().flatten().next() else { return Ok(None) };
        let created = self.time_of_image()?;
        // Detect unsupported instructions before any request is sent.
        self.resolve_tail(keys, deepest, PLACEHOLDER_CONFIG, created)?;
        if self.has_images_in_engine().await {
            // The engine's images of these names must be replaced, which only a build does.
            return Ok(None);
        }
        let mut repository = self.registries().repository(&place).await?;
        let looking = Box::pin(self.graft_base(keys, &mut repository, deepest));
        let Some((key, base)) = with_timeout(place.host(), DEADLINE, looking).await? else { return Ok(None) };
        let tail = self.resolve_tail(keys, &key, &base.config, created)?;
        if base.layer_count() + tail.layers.len() != tail.config.layer_count() {
            return Err(GraftError::unsupported("the history of the prefix does not describe its layers"));
        }
        let compression = self.graft_compression(keys, &base).await?;
        let annotations = self.graft_annotations(&base)?;
        let planned = GraftPlan { repository, key, base, tail, compression, annotations, created };
        let layers = self.make_layers(keys, &planned).await?;
        Ok(Some((planned, layers)))
    }

    /// Returns the time for everything that has no time of its own.
    fn time_of_image(&self) -> Result<Timestamp, GraftError> {
        match self.build.source.build_args.get("SOURCE_DATE_EPOCH") {
            None => Ok(Timestamp::now()),
            Some(seconds) => {
                let time = seconds.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
                time.ok_or_else(|| GraftError::unsupported("SOURCE_DATE_EPOCH is not a number of seconds"))
            }
        }
    }

    fn resolve_tail(
        &self,
        keys: &BuildKeys,
        key: &PrefixKey,
        config: &[u8],
        created: Timestamp,
    ) -> Result<Tail, GraftError> {
        let text = self.inputs.built_text().ok_or(Refusal::UnknownBase)?;
        let dockerfile = text.parsed().map_err(|_| Refusal::UnknownBase)?;
        let mut options = keys.options.clone();
        options.base_settings = self.inputs.known_bases.starts(&keys.resolution.platform.to_string());
        let resolution = dockerfile.resolve(&options).map_err(|_| Refusal::UnknownBase)?;
        let mut index = key.cut.stage;
        let root = loop {
            let stage = resolution.stages.iter().find(|stage| stage.index == index);
            match stage.map(|stage| &stage.base).ok_or(Refusal::UnknownBase)? {
                Source::Stage(base) => index = *base,
                root => break root,
            }
        };
        let is_known = match root {
            Source::Image(base) => options.base_settings.contains_key(&resolution.bases[*base].reference),
            Source::Scratch => true,
            Source::Stage(_) | Source::Context(_) => false,
        };
        if !is_known {
            return Err(Refusal::UnknownBase.into());
        }
        let source = &self.build.source;
        let options = TailOptions { build_args: &source.build_args, labels: &source.labels, created };
        Ok(Tail::of(dockerfile, &resolution, key.cut, config, &options)?)
    }

    /// Returns the deepest prefix in the registry that has an index and is not too old.
    async fn graft_base(
        &self,
        keys: &BuildKeys,
        repository: &mut Repository,
        deepest: &PrefixKey,
    ) -> Result<Option<(PrefixKey, GraftBase)>, RegistryError> {
        let tags = self.registry_tags(Some(keys)).await;
        let candidates = keys.keys.grafted.iter().chain([deepest]);
        let tagged =
            candidates.flat_map(|key| tags.of_prefix(key.key).into_iter().map(move |tag| (key, tag)));
        let looking = tagged.map(|(key, tag)| {
            let mut repository = repository.clone();
            async move { Ok::<_, RegistryError>((key, repository.manifest(&tag).await?)) }
        });
        for (key, manifest) in try_join_all(looking).await? {
            let Some(manifest) = manifest else { continue };
            let Some(base) = repository.graft_base(manifest, key.key.digest()).await? else { continue };
            let made = base.created.unwrap_or(Timestamp::UNIX_EPOCH);
            if self.earliest_accepted().is_none_or(|since| made >= since) {
                return Ok(Some((key.clone(), base)));
            }
        }
        Ok(None)
    }

    async fn graft_compression(&self, keys: &BuildKeys, base: &GraftBase) -> Result<Compression, GraftError> {
        let compression = self.build.push.effective();
        let wanted = self.registry_terms(keys).await?.compression;
        if wanted.is_some_and(|wanted| !base.supports_compression(wanted)) {
            return Err(GraftError::unsupported("the layers of the prefix are compressed with zstd"));
        }
        if compression == Compression::Zstd && base.is_docker() {
            return Err(GraftError::unsupported(
                "the prefix has Docker's media types, which do not support zstd",
            ));
        }
        Ok(compression)
    }

    fn graft_annotations(&self, base: &GraftBase) -> Result<BTreeMap<String, String>, GraftError> {
        // Engines with a graph driver push images without annotations.
        let wanted = self.build.annotations.iter().filter(|_| !base.is_docker());
        let own = wanted.map(|(name, value)| {
            let name = ANNOTATION_PREFIXES.iter().find_map(|start| name.strip_prefix(start));
            name.map(|name| (name.to_owned(), value.clone()))
        });
        own.collect::<Option<_>>()
            .ok_or_else(|| GraftError::unsupported("an annotation does not apply to the manifest"))
    }

    async fn make_layers(&self, keys: &BuildKeys, planned: &GraftPlan) -> Result<GraftLayers, GraftError> {
        let directory = match &self.inputs.context {
            BuildContext::Directory(directory) => directory.clone(),
            BuildContext::Empty(directory) => directory.path().to_owned(),
            BuildContext::Archive(_) | BuildContext::Remote(_) => return Err(Refusal::UnknownBase.into()),
        };
        let ignored = ignore_files(&directory, &self.inputs.dockerfile);
        let withheld = self.inputs.withheld(&directory);
        // A builder receives only the files that the steps name.
        let named = keys.resolution.context.selectors().map(|selector| selector.path.as_str());
        let named = named.map(|path| if path.is_empty() { "." } else { path }.to_owned());
        let follow: Vec<String> =
            if keys.resolution.context.is_everything() { Vec::new() } else { named.collect() };
        let (tail, index) = (planned.tail.layers.clone(), planned.base.index.clone());
        let now = planned.created.as_second();
        let line = |key: &&PrefixKey| key.cut > planned.key.cut;
        let ends: Vec<PrefixKey> = keys.keys.grafted.iter().filter(line).cloned().collect();
        let make = move || -> Result<_, GraftError> {
            let exclude = ignore_patterns(ignored, &mut InputSnapshot::default());
            let exclude = exclude.map_err(|error| Refusal::UnreadableContext(chain(&error)))?;
            let filter = Filter { exclude, follow, withheld, ..Filter::default() };
            let sources = CopySources::walk(&directory, &filter, &tail)?;
            let PrefixIndex { mut tree, accounts } = PrefixIndex::decode(&index)?;
            let mut accounts: Option<Accounts> = Some(accounts);
            let (mut layers, mut prefixes) = (Vec::new(), Vec::new());
            for planned in &tail {
                let layer = make_layer(planned, &sources, &tree, accounts.as_ref(), now)?;
                layer.apply_to(&mut tree);
                accounts = accounts.filter(|_| !layer.changes_accounts());
                if let (Some(key), Some(accounts)) =
                    (ends.iter().find(|key| key.line == planned.line()), &accounts)
                {
                    let index = PrefixIndex { tree: tree.clone(), accounts: accounts.clone() };
                    prefixes.push((key.clone(), layers.len(), index.encode()));
                }
                layers.push(layer);
            }
            Ok(GraftLayers { layers, prefixes })
        };
        blocking(make).await
    }
}
