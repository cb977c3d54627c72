//! The stage that looks for the whole image in each tier in turn, and gives it its names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout;

use super::job::Job;
use super::keyed::Keyed;
use super::losing_tiers::LosingTiers;
use super::registry::{NewerImage, report_named};
use crate::dockerfile::Source;
use crate::ledger::{Loss, TierRecord};
use crate::notes::ImageAge;
use crate::pipeline::changes;
use crate::pipeline::error::Result;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::transfers::transfer;
use crate::plan::OutputKind;
use crate::store::Meter;
use crate::tiers::{
    ArchiveTier, BoxedError, EngineTier, Hit, HitConditions, ImageRequest, ImageTier, RegistryTerms,
    RegistryTier, TierAnswer, TransferError,
};

/// How long a hit in the engine waits for a remote store, or for a registry that the image is not pushed to.
const NEWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The time limit for asking a builder whether it has layers. An empty one answers at once.
pub(super) const LAYERS_TIMEOUT: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct Lookup {
    pub(super) tiers: Vec<TierRecord>,
    pub(super) hit: Option<Hit>,
    /// `true` if a tier has an image of the key, or one of its prefixes, that is too old.
    is_expired: bool,
    /// `true` if the store has an image of the key that cannot be loaded.
    pub(super) is_unloadable: bool,
    /// `true` if a registry failed. Nothing else is fetched from it then.
    pub(super) has_registry_failed: bool,
    /// `true` if a registry cannot be reached. Nothing is pushed to it then.
    pub(super) is_registry_unreachable: bool,
    /// What the builder had; `None` if that is not known.
    pub(super) builder: Option<BuilderState>,
    /// The changes since the last build of the image, in words.
    pub(super) changes: Vec<String>,
    pub(super) losing: LosingTiers,
}

/// What a builder would not have to do in a build without larder.
#[derive(Debug, Clone, Copy)]
pub(super) enum BuilderState {
    Empty,
    /// It is known to have made or used a prefix of the image that ends in this stage at this line.
    Kept {
        stage: usize,
        line: usize,
    },
}

impl BuilderState {
    /// Returns `tier` for the step at this line, or `None` if the builder is known to have it.
    pub(super) fn tier_of_step(self, (stage, line): (usize, usize), tier: &str) -> Option<&str> {
        match self {
            Self::Kept { stage: last, line: end } if stage != last || line <= end => None,
            _ => Some(tier),
        }
    }
}

impl Lookup {
    /// Looks for the image of these keys in the tiers, and gives it its names. If this fails, `self` contains the
    /// answers so far.
    pub(super) async fn run(&mut self, job: &Job<'_>, keyed: &Keyed) -> Result<()> {
        let off = job.image_tiers_disabled_reason().map(str::to_owned).or_else(|| keyed.unknown_reason());
        let tiers = &job.build.tiers;
        let no_images = match (job.engine(), job.client()) {
            (Some(_), _) => None,
            (None, Ok(_)) => Some("buildkitd stores no images"),
            (None, Err(_)) => Some("no engine can be reached"),
        };
        let is_one = keyed.keys().is_none_or(|keys| keys.sole_platform().is_some());
        let no_archive = no_images.or((!is_one).then_some("an image for several platforms is not archived"));
        let wanted = |is_used, reason: Option<&'static str>| {
            if is_used {
                reason.map(str::to_owned).or_else(|| off.clone())
            } else {
                Some(tiers.switch.to_owned())
            }
        };
        if let Some(keys) =
            self.keys_unless_skipped(job, keyed, EngineTier::NAME, (wanted(tiers.engine, no_images), None))
            && !job.faults.is_cache_unusable()
        {
            Box::pin(self.look_in_engine(job, keys)).await?;
        }
        if self.hit.is_none() {
            self.losing = job.losing_tiers().await;
        }
        let LosingTiers { registry, archive, .. } = self.losing.clone();
        // A build that uses no registries reports nothing about them.
        if self.hit.is_none()
            && job.registries_disabled_reason().is_none()
            && let Some(keys) = self.keys_unless_skipped(
                job,
                keyed,
                RegistryTier::NAME,
                (wanted(tiers.registry, None), registry),
            )
        {
            self.look_in_registry(job, keys).await?;
        }
        let is_requested = job.archive_policy(self, false).is_requested();
        let no_archive = wanted(tiers.archive, no_archive);
        if self.hit.is_none()
            && (is_requested || no_archive.is_none())
            && let Some(keys) = self.keys_unless_skipped(
                job,
                keyed,
                ArchiveTier::NAME,
                (no_archive, archive.filter(|_| is_requested)),
            )
            && !job.faults.is_cache_unusable()
        {
            self.look_in_store(job, keys).await?;
        }
        if let (Some(hit), Some(keys)) = (&self.hit, keyed.keys())
            && hit.image.is_some()
        {
            job.note_image(keys, &hit.id, hit.age)?;
        }
        Ok(())
    }

    /// Prepares a build: asks what the builder has, and judges again the tiers that are used after the lookup, because
    /// builds of other agents may have arrived since. What was decided about the other tiers stays, so that an image is
    /// archived if and only if it was looked for.
    pub(super) async fn prepare_build(&mut self, job: &Job<'_>, keyed: &Keyed) {
        if let (None, Some(keys)) = (self.builder, keyed.keys()) {
            self.builder = job.builder_state(keys).await;
        }
        let LosingTiers { prefix, layers, mounts, .. } = job.losing_tiers().await;
        (self.losing.layers, self.losing.mounts) = (layers, mounts);
        if job.prefix_repository().is_some() {
            self.losing.prefix = prefix;
        }
    }

    /// Returns the keys for the lookup in a tier, unless there is a reason to skip the tier.
    fn keys_unless_skipped<'k>(
        &mut self,
        job: &Job<'_>,
        keyed: &'k Keyed,
        tier: &str,
        (reason, loss): (Option<String>, Option<Loss>),
    ) -> Option<&'k BuildKeys> {
        if let Some(reason) = reason {
            self.tiers.push(job.report_skipped(tier, &reason));
            return None;
        }
        if let Some(loss) = loss {
            self.tiers.push(job.report_answer(TierRecord::losing(tier, &loss)));
            return None;
        }
        keyed.keys()
    }

    /// Returns the same lookup for an image whose layers are too old, so that every step runs.
    pub(super) fn expired(&self) -> Self {
        let losing = self.losing.clone();
        Self { tiers: Vec::new(), hit: None, changes: Vec::new(), is_expired: true, losing, ..*self }
    }

    pub(super) fn runs_every_step(&self, job: &Job<'_>) -> Option<&'static str> {
        // The cached layers of an image that is too old would result in the same image.
        job.build.every_step_flag().or(self.is_expired.then_some("--max-age"))
    }

    /// Returns `true` if the new image replaces earlier images of its key, because the user requested that steps run
    /// again.
    pub(super) fn replaces_images(&self, job: &Job<'_>) -> bool {
        self.runs_every_step(job).is_some() || !job.build.no_cache_filter.is_empty()
    }

    fn record_answer(&mut self, job: &Job<'_>, tier: &str, answer: &TierAnswer<Hit>, clock: Instant) {
        self.is_expired |= answer.is_too_old;
        self.tiers.push(job.report_answer(answer.record(tier, clock.elapsed())));
    }

    async fn look_in_engine(&mut self, job: &Job<'_>, keys: &BuildKeys) -> Result<()> {
        let Some(engine) = job.engine() else { return Ok(()) };
        let clock = Instant::now();
        let mut tier = EngineTier::new(&job.notes, engine);
        let accepted = HitConditions { since: job.earliest_accepted(), ..HitConditions::default() };
        let wanted = job.wanted(keys, &accepted);
        let mut answer = job.run_within_limits(async { Ok(tier.look(&wanted).await) }).await?;
        if let Some(hit) = answer.found.take() {
            answer = match job.run_within_limits(Box::pin(self.find_newer_image(job, keys, &hit))).await? {
                NewerImage::Yes(reason) => TierAnswer::miss(reason),
                NewerImage::No { is_named } => {
                    tier.fetch(Hit { is_named, ..hit }, &wanted, &Arc::default()).await
                }
            };
        }
        if answer.is_unknown_key {
            match job.identity().explain(&job.notes, &keys.keys) {
                Ok(explanation) => {
                    let changes = explanation.map(|found| found.changes).unwrap_or_default();
                    answer.reason.extend(changes::summary(&changes).map(|changes| format!(": {changes}")));
                    self.changes = changes::lines(&changes);
                }
                Err(error) => job.faults.report(&error)?,
            }
        }
        self.record_answer(job, EngineTier::NAME, &answer, clock);
        for fault in &answer.faults {
            match fault.downcast_ref() {
                Some(fault) => job.faults.report_notes(fault)?,
                None => job.faults.report(fault.as_ref())?,
            }
        }
        self.hit = answer.found;
        Ok(())
    }

    /// Queries a registry and the remote store for a newer image of the key, which a different machine may have built.
    async fn find_newer_image(&mut self, job: &Job<'_>, keys: &BuildKeys, hit: &Hit) -> Result<NewerImage> {
        let built = hit.age.map_or(Timestamp::UNIX_EPOCH, |age| age.built);
        let late = |what: &str| {
            format!(
                "{what} did not answer in {NEWER_TIMEOUT:?} whether it has a newer image; using the engine's"
            )
        };
        if job.registries_disabled_reason().is_none() {
            let wants_push = job.wants_push();
            let request = Box::pin(job.name_in_registry(keys, &hit.id, built));
            let answer = if wants_push { Ok(request.await) } else { timeout(NEWER_TIMEOUT, request).await };
            match answer {
                Ok(answer) => {
                    let (newer, faults) = answer?;
                    if !wants_push {
                        // If the image is pushed, the push reports the faults.
                        self.report_registry_faults(job, &faults)?;
                    }
                    if !matches!(newer, NewerImage::No { is_named: false }) {
                        return Ok(newer);
                    }
                }
                Err(_) => job.reporter.warn(&late("the registry")),
            }
        }
        if job.settings.store.remote.is_some()
            && job.build.tiers.archive
            && !job.faults.is_cache_unusable()
            && let (Some(tier), Some(platform)) = (job.archive_tier().await?, keys.sole_platform())
        {
            let request = tier.has_newer(keys.keys.image, platform, &hit.id, built);
            let Ok((is_newer, faults)) = timeout(NEWER_TIMEOUT, request).await else {
                job.reporter.warn(&late("the remote store"));
                return Ok(NewerImage::No { is_named: false });
            };
            faults.iter().try_for_each(|fault| job.faults.report(fault))?;
            if is_newer {
                return Ok(NewerImage::Yes("the store has a newer image of this key"));
            }
        }
        Ok(NewerImage::No { is_named: false })
    }

    /// Looks for the image in the registries that it is pushed to and names it there. Pulls it if the engine should
    /// have it.
    async fn look_in_registry(&mut self, job: &Job<'_>, keys: &BuildKeys) -> Result<()> {
        let clock = Instant::now();
        let request = async {
            let is_wanted = job.should_be_in_engine() || job.has_images_in_engine().await;
            let pull_into = job.engine().cloned().filter(|_| is_wanted);
            let terms = RegistryTerms { pull_into, ..job.registry_terms(keys).await? };
            let meter = Arc::new(Meter::default());
            let answer = job.query_registries(&terms, keys, &meter).await?;
            if job.forget_rejected_logins(&answer) {
                job.query_registries(&terms, keys, &meter).await
            } else {
                Ok(answer)
            }
        };
        // What a hit is worth depends on the state of the builder, which is asked at the same time.
        let both = async { Ok(tokio::join!(request, job.builder_state(keys))) };
        let (answer, builder) = job.run_within_limits(Box::pin(both)).await?;
        let answer = answer?;
        self.builder = builder;
        self.record_answer(job, RegistryTier::NAME, &answer, clock);
        self.report_registry_faults(job, &answer.faults)?;
        if answer.found.is_some() {
            report_named(job);
        }
        self.hit = answer.found;
        Ok(())
    }

    /// Reports faults of registries, and records them so that these registries are not used again.
    fn report_registry_faults(&mut self, job: &Job<'_>, faults: &[BoxedError]) -> Result<()> {
        for fault in faults {
            self.has_registry_failed = true;
            self.is_registry_unreachable |= fault.downcast_ref().is_some_and(TransferError::is_unreachable);
            job.faults.report(fault.as_ref())?;
        }
        Ok(())
    }

    async fn look_in_store(&mut self, job: &Job<'_>, keys: &BuildKeys) -> Result<()> {
        let clock = Instant::now();
        let Some(mut tier) = job.archive_tier().await? else { return Ok(()) };
        let (meter, accepted) = (Arc::new(Meter::default()), job.accepted(keys));
        let wanted = job.wanted(keys, &accepted);
        let taking = tier.look_and_fetch(&wanted, &meter);
        let loading = Box::pin(transfer("loading the image", taking, &meter, job.session, job.reporter));
        let answer = job.run_within_limits(loading).await?;
        if answer.found.is_some() && self.builder.is_none() {
            // Loading an image adds no layers to the builder.
            self.builder = job.builder_state(keys).await;
        }
        self.is_unloadable = answer.found.is_none() && !answer.faults.is_empty();
        // If archiving was not requested, the lookup is only reported if it found something.
        let is_news = answer.found.is_some() || !answer.faults.is_empty() || answer.is_too_old;
        if is_news || job.archive_policy(self, false).is_requested() {
            self.record_answer(job, ArchiveTier::NAME, &answer, clock);
        }
        answer.faults.iter().try_for_each(|fault| job.faults.report(fault.as_ref()))?;
        self.hit = answer.found;
        Ok(())
    }
}

impl Job<'_> {
    /// Returns what the builder has, or `None` if that is not known.
    async fn builder_state(&self, keys: &BuildKeys) -> Option<BuilderState> {
        let builder = self.known_builder().await.ok()?;
        if builder.entry.is_new() {
            let has_layers = timeout(LAYERS_TIMEOUT, self.builder_has_layers()).await.ok().flatten()?;
            return (!has_layers).then_some(BuilderState::Empty);
        }
        let mut prefixes = keys.keys.prefixes.iter().flatten();
        let known = prefixes.find(|key| builder.entry.prefix(key.key.digest()).is_some())?;
        Some(BuilderState::Kept { stage: known.cut.stage, line: known.line })
    }

    /// Returns the reason why whole images are not looked for, if there is one.
    pub(super) fn image_tiers_disabled_reason(&self) -> Option<&'static str> {
        let images = self.build.outputs.iter().all(|output| matches!(output.kind, OutputKind::Image { .. }));
        if !images {
            Some("the build has outputs that are not images")
        } else if let Some(flag) = self.build.every_step_flag() {
            Some(flag)
        } else if !self.build.no_cache_filter.is_empty() {
            Some("--no-cache-filter")
        } else if self.build.cache_to.iter().any(|cache| cache.kind != "inline") {
            Some("--cache-to requires a build")
        } else {
            None
        }
    }

    /// Returns the earliest build time of an acceptable hit, or `None` if its age does not matter.
    pub(super) fn earliest_accepted(&self) -> Option<Timestamp> {
        let age = self.settings.store.limits.max_age?;
        Timestamp::now().checked_sub(age).ok()
    }

    pub(super) fn wanted<'w>(&'w self, keys: &'w BuildKeys, accepted: &'w HitConditions) -> ImageRequest<'w> {
        ImageRequest { key: keys.keys.image, platforms: &keys.platforms, names: &self.build.tags, accepted }
    }

    pub(super) fn accepted(&self, keys: &BuildKeys) -> HitConditions {
        // A read fault was reported when the engine's image was looked up.
        let noted = self.notes.image(keys.keys.image).ok().flatten();
        HitConditions { since: self.earliest_accepted(), base_layers: self.base_layers(keys), notes: noted }
    }

    /// Returns the number of layers of the target's base image, or `None` if it is unknown.
    pub(super) fn base_layers(&self, keys: &BuildKeys) -> Option<usize> {
        let stages = &keys.resolution.stages;
        let mut index = keys.target;
        loop {
            let stage = stages.iter().find(|stage| stage.index == index)?;
            match &stage.base {
                Source::Stage(base) => index = *base,
                Source::Image(base) => return self.inputs.known_bases.layers(&keys.resolution.bases[*base]),
                Source::Scratch => return Some(0),
                Source::Context(_) => return None,
            }
        }
    }

    pub(super) fn note_image(&self, keys: &BuildKeys, id: &str, age: Option<ImageAge>) -> Result<()> {
        let Some(engine) = self.engine() else { return Ok(()) };
        let noted = EngineTier::new(&self.notes, engine).save(keys.keys.image, keys.keys.dependency, id, age);
        noted.or_else(|fault| self.faults.report_notes(&fault))
    }
}
