//! The stage that looks for a prefix of the image in a registry or in the store. The build then continues from it.
//!
//! | The builder | The build |
//! |---|---|
//! | has made the layers of the prefix | builds the unchanged Dockerfile; nothing is queried |
//! | has continued from the prefix before | continues from it again; nothing is queried |
//! | has done neither | continues from the deepest prefix in the registry or, if there is none, in the store |
//!
//! The last case must be recorded, because BuildKit identifies the steps after `FROM prefix` by different keys than the
//! same steps after the instructions that made the prefix.

use std::collections::BTreeSet;
use std::time::Instant;

use jiff::Timestamp;
use tempfile::TempDir;

use super::fetch_errors;
use super::job::Job;
use super::keyed::Keyed;
use super::lookup::Lookup;
use super::solve::SolveFailure;
use crate::buildkit::SolveError;
use crate::buildkit::solve::ExporterResponse;
use crate::dockerfile::{
    InstructionKind, PrefixImage, Resolution, SKIP_CHECKS, Source, continue_from_prefix, enforces_checks,
};
use crate::key::{CacheKey, PrefixKey};
use crate::ledger::{Loss, TierOutcome, TierRecord, millis};
use crate::notes::PrefixBase;
use crate::pipeline::error::Result;
use crate::pipeline::inputs::{DockerfileText, NOT_LOCAL};
use crate::pipeline::keys::BuildKeys;
use crate::plan::{BuildOutput, OutputKind};
use crate::registry::{ImageRef, ImageSettings};
use crate::tiers::PrefixTier;

#[derive(Default)]
pub(super) struct PrefixLookup {
    pub(super) tier: Option<TierRecord>,
    pub(super) continuation: Option<Continuation>,
    /// The keys of the prefixes that are known to have a tag in the job's own lane.
    pub(super) published: BTreeSet<CacheKey>,
    /// The keys of prefixes that proved to be unusable. They are replaced.
    pub(super) unusable: BTreeSet<CacheKey>,
    /// `true` if the layers of a prefix are older than `--max-age`. Then every step runs again.
    pub(super) has_expired: bool,
}

pub(super) struct Continuation {
    pub(super) key: PrefixKey,
    base: PrefixBase,
    pub(super) text: DockerfileText,
    /// The directory that contains the text under the name of the user's Dockerfile.
    pub(super) directory: TempDir,
    /// `true` if an instruction after the prefix copies from or mounts a different stage.
    pub(super) reaches_stages: bool,
    /// `true` if the builder is not known to have had the prefix before.
    pub(super) is_imported: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the build cannot continue from {base}: {reason}")]
pub(super) struct UnusablePrefix {
    base: String,
    reason: String,
    /// `true` if a layer could not be fetched.
    pub(super) is_layer_fault: bool,
}

pub(super) struct PrefixAnswer {
    pub(super) outcome: TierOutcome,
    pub(super) reason: String,
    /// The number of bytes that were loaded from the store.
    pub(super) bytes: u64,
    /// `true` if the reason is a fault of the registry.
    pub(super) failed: bool,
}

impl PrefixAnswer {
    pub(super) fn miss(reason: impl Into<String>) -> Self {
        Self { outcome: TierOutcome::Miss, reason: reason.into(), bytes: 0, failed: false }
    }

    fn skipped(reason: impl Into<String>) -> Self {
        Self { outcome: TierOutcome::Skipped, ..Self::miss(reason) }
    }

    /// Returns the answer for a prefix that was found: a hit for this reason, unless the build cannot continue from it.
    pub(super) fn of(continuing: Result<(), String>, reason: String) -> Self {
        match continuing {
            Ok(()) => Self { outcome: TierOutcome::Hit, ..Self::miss(reason) },
            Err(reason) => Self::skipped(reason),
        }
    }
}

/// Returns the properties of an image that a build that continues from it depends on.
pub(super) fn base(
    name: String,
    settings: ImageSettings,
    oldest: Option<Timestamp>,
    id: Option<String>,
) -> PrefixBase {
    let variables = settings.env.iter().filter_map(|variable| variable.split('=').next());
    PrefixBase { name, variables: variables.map(str::to_owned).collect(), command: settings.cmd, oldest, id }
}

impl Continuation {
    pub(super) fn base(&self) -> &str {
        &self.base.name
    }

    /// Returns `true` if the history of the image has entries that the unchanged Dockerfile would not produce.
    pub(super) fn adds_history(&self) -> bool {
        let Ok(dockerfile) = self.text.parsed() else { return true };
        let stage = &dockerfile.stages[self.key.cut.stage];
        let repeated = stage.instructions.iter().take_while(|at| *at.lines.start() <= self.key.line);
        repeated.skip(1).any(|at| !matches!(at.kind, InstructionKind::Onbuild(_)))
    }

    pub(super) fn fault(&self, result: &Result<ExporterResponse, SolveFailure>) -> Option<UnusablePrefix> {
        let (reason, is_of_layer) = match result {
            Err(SolveFailure::Import(error)) => (error.0.clone(), true),
            Err(SolveFailure::Solve(SolveError::Build(failure))) => {
                let message = &failure.message;
                let digest = self.base.name.rsplit('@').next().unwrap_or_default();
                if !(fetch_errors::is_image_error(message) || message.contains(digest)) {
                    return None;
                }
                (message.clone(), fetch_errors::is_layer_error(message))
            }
            _ => return None,
        };
        Some(UnusablePrefix { base: self.base.name.clone(), reason, is_layer_fault: is_of_layer })
    }
}

impl PrefixLookup {
    /// Returns the prefix in a registry that the build has continued from.
    pub(super) fn base(&self) -> Option<ImageRef> {
        let base = self.continuation.as_ref().map(|continued| &continued.base);
        base.filter(|base| base.id.is_none())?.name.parse().ok()
    }

    /// Returns the time of the oldest RUN step in the prefix that the build has continued from, if it has one.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.continuation.as_ref()?.base.oldest
    }

    /// Looks for a prefix to continue from. Fails if a registry or the store fails under `--strict`, if the user
    /// interrupts, and at the deadline.
    pub(super) async fn look(job: &Job<'_>, keyed: &Keyed, lookup: &Lookup) -> Result<Self> {
        let clock = Instant::now();
        let mut prefixes = Self::default();
        let Some(keys) = keyed.keys().filter(|_| job.build.tiers.prefix) else { return Ok(prefixes) };
        let place = job.prefix_repository();
        let unsupported = job.no_continuation_reason(keys, lookup);
        let loss = lookup.losing.prefix.as_ref().filter(|_| unsupported.is_none());
        let reason = unsupported.or_else(|| loss.map(Loss::to_string));
        let PrefixAnswer { outcome, reason, bytes, failed } = match reason {
            Some(reason) => PrefixAnswer::skipped(reason),
            None => job.run_within_limits(Box::pin(prefixes.find(job, keys, place.as_ref()))).await?,
        };
        // If the build uses no registry, a miss in the store is not reported.
        if place.is_some() || outcome == TierOutcome::Hit {
            prefixes.tier = Some(job.report_answer(TierRecord {
                failed,
                loses_time: loss.is_some(),
                bytes,
                millis: millis(clock.elapsed()),
                ..TierRecord::new(PrefixTier::NAME, outcome, reason)
            }));
        }
        Ok(prefixes)
    }

    async fn find(
        &mut self,
        job: &Job<'_>,
        keys: &BuildKeys,
        place: Option<&ImageRef>,
    ) -> Result<PrefixAnswer> {
        // Querying the builder takes longer than looking into the store.
        if place.is_none() && job.earliest_accepted().is_none() && !job.may_have_stored_prefix(keys).await? {
            return Ok(PrefixAnswer::miss("the store has no prefix of this image"));
        }
        let prefixes = keys.keys.prefixes.as_deref().unwrap_or_default();
        if let Some(looked) = self.known_to_builder(job, keys, prefixes).await? {
            return Ok(looked);
        }
        let Some(place) = place else { return self.look_in_store(job, keys).await };
        let of_registry = self.look_in_registry(job, keys, place).await?;
        // An earlier build that was not pushed may have archived its prefixes.
        if of_registry.outcome == TierOutcome::Miss
            && !self.has_expired
            && job.may_have_stored_prefix(keys).await?
            && let stored = self.look_in_store(job, keys).await?
            && stored.outcome == TierOutcome::Hit
        {
            return Ok(stored);
        }
        Ok(of_registry)
    }

    async fn look_in_registry(
        &mut self,
        job: &Job<'_>,
        keys: &BuildKeys,
        place: &ImageRef,
    ) -> Result<PrefixAnswer> {
        let prefixes = keys.keys.prefixes.as_deref().unwrap_or_default();
        let tags = job.registry_tags(Some(keys)).await;
        let platform = keys.sole_platform().unwrap_or_default();
        let tier = PrefixTier { place, tags: &tags, platform, since: job.earliest_accepted() };
        let looking = async { tier.look(&mut job.registries().repository(place).await?, prefixes).await };
        let mut answer = match looking.await {
            Ok(answer) => answer,
            Err(error) => {
                job.faults.report(&error)?;
                let reason = format!("{error}; {}", error.remedy());
                return Ok(PrefixAnswer { failed: true, ..PrefixAnswer::miss(reason) });
            }
        };
        let Some(prefix) = answer.found.take() else {
            self.has_expired = answer.is_too_old;
            return Ok(PrefixAnswer::miss(answer.reason));
        };
        let has_index = prefix.image.prefix.is_some_and(|mark| mark.has_index);
        if prefix.is_own && (has_index || !job.wants_index(keys, &prefix.key)) {
            self.published.insert(prefix.key.key);
        }
        let base = base(prefix.name, prefix.image.config.settings, prefix.image.created, None);
        Ok(PrefixAnswer::of(self.continue_from(job, keys, &prefix.key, base, true), answer.reason))
    }

    /// Returns the answer for the deepest of these prefixes that the builder has, or `None` if it has none.
    async fn known_to_builder(
        &mut self,
        job: &Job<'_>,
        keys: &BuildKeys,
        prefixes: &[PrefixKey],
    ) -> Result<Option<PrefixAnswer>> {
        let builder = match job.known_builder().await {
            Ok(builder) => builder,
            Err(error) => return job.faults.report(&error).map(|()| None),
        };
        let known = prefixes.iter().filter_map(|key| Some((key, builder.entry.prefix(key.key.digest())?)));
        let known: Vec<_> = known.collect();
        // If the builder cannot be queried, assume it has layers.
        if known.is_empty() || !job.builder_has_layers().await.unwrap_or(true) {
            return Ok(None);
        }
        let tags = job.registry_tags(Some(keys)).await;
        let place = job.prefix_repository();
        for (key, known) in &known {
            let tag = tags.of_prefix(key.key).swap_remove(0);
            let name = place.as_ref().and_then(|place| place.with_tag(&tag));
            if name.is_some_and(|name| known.published.contains(&name.to_string())) {
                self.published.insert(key.key);
            }
        }
        let Some((key, known)) = known.first() else { return Ok(None) };
        if is_prefix_too_old(job, known.oldest()) {
            self.has_expired = true;
            return Ok(Some(PrefixAnswer::miss(format!(
                "the layers up to {} are older than --max-age",
                key.describe_end()
            ))));
        }
        let Some(base) = &known.base else {
            let reason = format!("the builder has made the layers up to {}", key.describe_end());
            return Ok(Some(PrefixAnswer::skipped(reason)));
        };
        if !job.has_loaded_base(base).await {
            return Ok(None);
        }
        let reason = format!("the builder has continued from the layers up to {} before", key.describe_end());
        Ok(Some(PrefixAnswer::of(self.continue_from(job, keys, key, base.clone(), false), reason)))
    }

    /// Prepares a build that continues from this image. Fails with the reason if that is impossible.
    pub(super) fn continue_from(
        &mut self,
        job: &Job<'_>,
        keys: &BuildKeys,
        key: &PrefixKey,
        base: PrefixBase,
        is_imported: bool,
    ) -> Result<(), String> {
        let text = job.inputs.built_text().ok_or(NOT_LOCAL)?;
        let dockerfile = text.parsed().map_err(ToString::to_string)?;
        let resolution = &keys.resolution;
        let image = PrefixImage { reference: &base.name, variables: &base.variables, command: &base.command };
        let changed = continue_from_prefix(text.as_str(), dockerfile, resolution, key.cut, image);
        let changed = changed.map_err(|error| format!("cannot continue from a prefix: {error}"))?;
        let directory = job.inputs.write_dockerfile(&changed).map_err(|error| error.to_string())?;
        let reaches_stages = reaches_stages(resolution, key);
        let (key, text) = (key.clone(), DockerfileText::new(changed));
        self.continuation = Some(Continuation { key, base, text, directory, reaches_stages, is_imported });
        Ok(())
    }

    pub(super) async fn give_up(&mut self, job: &Job<'_>, fault: &UnusablePrefix) -> Result<()> {
        if let Some(continued) = self.continuation.take() {
            self.published.remove(&continued.key.key);
            self.unusable.insert(continued.key.key);
            job.note_builder(|entry| entry.forget_prefix(continued.key.key.digest())).await?;
        }
        if let Some(tier) = &mut self.tier {
            tier.outcome = TierOutcome::Miss;
            tier.reason = fault.to_string();
        }
        job.faults.report(fault)
    }

    pub(super) async fn note_built(&self, job: &Job<'_>, keys: &BuildKeys, lookup: &Lookup) -> Result<()> {
        if keys.keys.prefixes.is_err() || job.faults.is_cache_unusable() {
            return Ok(());
        }
        let now = Timestamp::now();
        job.note_builder(|entry| match &self.continuation {
            Some(Continuation { key, base, .. }) => {
                entry.note_prefix(key.key.digest(), Some(base.clone()), None, now);
            }
            None => {
                for key in keys.keys.prefixes.iter().flatten().map(|key| key.key.digest()) {
                    if lookup.replaces_images(job) {
                        entry.forget_prefix(key);
                    }
                    entry.note_prefix(key, None, None, now);
                }
            }
        })
        .await
    }
}

impl Job<'_> {
    /// Returns the repository of prefixes, or `None` if the build uses none.
    pub(super) fn prefix_repository(&self) -> Option<ImageRef> {
        self.cache_repository().filter(|_| self.build.tiers.prefix)
    }

    pub(super) fn no_continuation_reason(&self, keys: &BuildKeys, lookup: &Lookup) -> Option<String> {
        let every_step = || lookup.runs_every_step(self).map(str::to_owned);
        let filter = || (!self.build.no_cache_filter.is_empty()).then(|| "--no-cache-filter".to_owned());
        every_step().or_else(filter).or_else(|| self.no_prefixes_reason(keys, lookup))
    }

    /// Returns the reason why the build neither continues from prefixes nor publishes them, if there is one.
    pub(super) fn no_prefixes_reason(&self, keys: &BuildKeys, lookup: &Lookup) -> Option<String> {
        let build = self.build;
        let is_set = |name: &str| build.source.build_args.get(name).map(String::as_str);
        let rewrites = |output: &BuildOutput| output.attributes.contains_key("rewrite-timestamp");
        let has_attestations = build.attestations.values().any(Option::is_some);
        let is_inline = is_set("BUILDKIT_INLINE_CACHE").is_some()
            || build.cache_to.iter().any(|cache| cache.kind == "inline");
        let reason = if let Err(reason) = &keys.keys.prefixes {
            return Some(reason.to_string());
        } else if self.settings.store.terms.trust.is_strict() {
            "prefixes have no signatures"
        } else if lookup.has_registry_failed {
            "the registry failed earlier"
        } else if build.outputs.iter().any(rewrites) {
            "rewrite-timestamp changes all layers"
        } else if has_attestations {
            "the image has attestations of the whole build"
        } else if is_inline {
            "the image has an inline cache of the whole build"
        } else if is_set(SKIP_CHECKS.0).is_some_and(enforces_checks) {
            "build checks can fail the build"
        } else if !build.outputs.iter().all(|output| matches!(output.kind, OutputKind::Image { .. })) {
            "the build has outputs that are not images"
        } else if build.cache_to.iter().any(|cache| cache.kind != "inline") {
            "--cache-to requires a build"
        } else {
            return None;
        };
        Some(reason.to_owned())
    }
}

/// Returns `true` if `--max-age` excludes a prefix whose oldest layer was made at this time.
pub(super) fn is_prefix_too_old(job: &Job<'_>, made: Option<Timestamp>) -> bool {
    job.earliest_accepted().is_some_and(|since| made.is_none_or(|made| made < since))
}

fn reaches_stages(resolution: &Resolution, prefix: &PrefixKey) -> bool {
    let stage = resolution.stages.iter().find(|stage| stage.index == prefix.cut.stage);
    let after = stage.into_iter().flat_map(|stage| &stage.instructions);
    let after = after.filter(|at| !at.is_trigger && *at.instruction.lines.start() > prefix.line);
    after.flat_map(|at| &at.sources).any(|source| matches!(source, Source::Stage(_)))
}
