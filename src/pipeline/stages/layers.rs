//! Layers that a registry has, and that a build may take from there.

use std::time::{Duration, Instant};

use super::job::Job;
use super::keyed::Keyed;
use super::lookup::Lookup;
use super::solving::Ended;
use crate::buildkit::solve::{CacheEntry, ExporterResponse};
use crate::buildkit::{Ability, SolveError};
use crate::digest::Digest;
use crate::ledger::StepEntry;
use crate::pipeline::borrowed_name::MARK;
use crate::pipeline::error::PipelineError;
use crate::pipeline::import_watch::ImportError;
use crate::pipeline::keys::BuildKeys;
use crate::registry::{ImageRef, RegistryError, StoredManifest, within};

/// How long a registry may take to tell which caches it has.
const DEADLINE: Duration = Duration::from_secs(20);
/// What a registry has of the layers of a build.
#[derive(Default)]
pub(super) struct LayerCaches {
    /// The repository, if one is used.
    pub(super) place: Option<ImageRef>,
    /// What is there.
    pub(super) found: Vec<LayerCache>,
    /// The marks that are there, each with whether a registry cache of all stages goes with it.
    marks: Vec<(String, bool)>,
    /// Why nothing, or not all, could be looked for; a few words.
    fault: Option<String>,
    /// The builder has no layers of its own.
    only_source: bool,
    /// `true` if the registry cannot be reached: nothing is left there either.
    pub(super) is_unreachable: bool,
    /// How long looking took.
    elapsed: Duration,
}

/// The stages that a cache has the layers of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stages {
    All,
    /// The one that is built.
    Last,
}

/// A cache of layers.
pub(super) struct LayerCache {
    pub(super) name: ImageRef,
    pub(super) manifest: StoredManifest,
    pub(super) is_inline: bool,
    /// BuildKit is to take layers from it.
    is_taken: bool,
}

/// How BuildKit fails on a layer that it has imported and cannot fetch: an import is resolved up front, a layer where it is
/// needed.
const UNFETCHED: [&str; 6] = [
    "failed to copy",
    "httpReadSeeker",
    "failed to load cache key",
    "unlazy",
    "failed to fetch",
    "failed to register layer",
];

/// What is wrong with layers that were imported, if the build ended for that.
pub(super) fn import_fault(
    imports: &[CacheEntry],
    result: &Result<ExporterResponse, Ended>,
) -> Option<ImportError> {
    let failure = match result {
        Err(Ended::Import(error)) => return Some(error.clone()),
        Err(Ended::Solve(SolveError::Build(failure))) => failure,
        _ => return None,
    };
    let is_of_import = !imports.is_empty()
        && !failure.message.contains("exit code")
        && UNFETCHED.iter().any(|words| failure.message.contains(words));
    is_of_import.then(|| ImportError(failure.message.clone()))
}

impl LayerCaches {
    /// What BuildKit is to take layers from, each as it was just found.
    pub(super) fn imports(&self) -> Vec<CacheEntry> {
        let imports = self.taken().map(|cache| {
            let name = cache.name.pinned(cache.manifest.digest).to_string();
            CacheEntry { kind: "registry".to_owned(), attributes: [("ref".to_owned(), name)].into() }
        });
        imports.collect()
    }

    /// Does without what was found, since it cannot be fetched.
    pub(super) fn give_up(&mut self) {
        self.found.clear();
        self.marks.clear();
        self.fault = Some("the layers of the registry cannot be taken".to_owned());
    }

    fn taken(&self) -> impl Iterator<Item = &LayerCache> {
        self.found.iter().filter(|cache| cache.is_taken)
    }

    /// Looks for caches of layers.
    ///
    /// # Errors
    ///
    /// Fails with a registry at fault under `--strict`, when the user interrupts, or the time of the build is over.
    pub(super) async fn look_for(
        job: &Job<'_>,
        keyed: &Keyed,
        lookup: &Lookup,
    ) -> Result<Self, PipelineError> {
        job.bound(Box::pin(Self::found_for(job, keyed, lookup))).await
    }

    async fn found_for(job: &Job<'_>, keyed: &Keyed, lookup: &Lookup) -> Result<Self, PipelineError> {
        let is_unreachable = lookup.is_registry_unreachable;
        let Some(place) = job.layers_place() else { return Ok(Self::default()) };
        if lookup.runs_every_step(job).is_some() {
            // No cache is imported; the new one replaces the old one.
            return Ok(Self { place: Some(place), is_unreachable, ..Self::default() });
        }
        let unsigned = job.settings.store.terms.trust.is_strict();
        if lookup.has_registry_failed || unsigned {
            let reason = if unsigned {
                "caches of layers have no signatures"
            } else {
                "the registry has failed before"
            };
            let fault = Some(reason.to_owned());
            return Ok(Self { place: Some(place), fault, is_unreachable, ..Self::default() });
        }
        let clock = Instant::now();
        let tags = job.registry_tags(keyed.keys()).await;
        let full = tags.registry_caches().into_iter();
        let full = full.map(|tag| Some(tag).filter(|_| job.reads_registry_caches()));
        let wanted: Vec<_> = full.zip(tags.inline_caches()).collect();
        // Only mounts are spared by what the marks say.
        let keys = keyed.keys().filter(|keys| !keys.keys.layers.runs.is_empty() && job.build.tiers.mounts);
        let platform = keys.and_then(BuildKeys::sole_platform);
        let looking = within(place.host(), DEADLINE, Box::pin(job.found_layers(&place, wanted, platform)));
        let mut caches = match looking.await {
            Ok((found, marks)) => Self { found, marks, ..Self::default() },
            Err(error) => {
                job.faults.report(&error)?;
                let is_unreachable = error.is_of_reach();
                let fault = Some(format!("{error}; {}", error.remedy()));
                Self { fault, is_unreachable, ..Self::default() }
            }
        };
        if !caches.found.is_empty() {
            // A builder that cannot be asked is assumed to have layers.
            caches.only_source = !job.client().has_layers().await.unwrap_or(true);
        }
        Ok(Self { place: Some(place), elapsed: clock.elapsed(), ..caches })
    }

    /// Returns the stages whose layers of dependencies are to be taken from a registry, if there are such.
    pub(super) async fn stages(
        &self,
        job: &Job<'_>,
        keys: &BuildKeys,
    ) -> Result<Option<Stages>, PipelineError> {
        for is_full in [true, false] {
            let mark = job.layers_mark(keys, is_full).await?;
            if self.marks.contains(&(mark, is_full)) {
                return Ok(Some(if is_full { Stages::All } else { Stages::Last }));
            }
        }
        Ok(None)
    }

    /// Marks the cached steps that the registry had: those that the builder is not known to have had before.
    ///
    /// # Errors
    ///
    /// Fails with a cache at fault under `--strict`.
    pub(super) async fn mark_imported(
        &self,
        job: &Job<'_>,
        steps: &mut [StepEntry],
    ) -> Result<(), PipelineError> {
        if self.place.is_none() {
            return Ok(());
        }
        let mut builder = match job.known_builder().await {
            Ok(builder) => builder,
            Err(error) => return job.faults.report(&error),
        };
        let mark = |step: &StepEntry| step.digest.parse().ok();
        for step in steps.iter_mut().filter(|step| step.cached && !self.found.is_empty()) {
            step.imported = self.only_source || !mark(step).is_some_and(|mark| builder.has_had_step(mark));
        }
        let noted = builder.note_steps(steps.iter().filter_map(mark));
        noted.or_else(|fault| job.faults.report_notes(&fault))
    }

    /// How long it took to find out.
    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// What is to be said of it beside the steps that were cached, of which so many came from here.
    pub(super) fn told(&self, imported: usize) -> Option<String> {
        let place = self.place.as_ref()?;
        if let Some(fault) = &self.fault {
            return Some(fault.clone());
        }
        let names: Vec<&str> = self.taken().filter_map(|cache| cache.name.tag()).collect();
        Some(if names.is_empty() {
            format!("{} has no cache yet", place.repository())
        } else {
            format!("{imported} of them from {}:{}", place.repository(), names.join(", "))
        })
    }
}

impl Job<'_> {
    /// The repository that layers are kept in.
    pub(super) fn layers_place(&self) -> Option<ImageRef> {
        let first = || self.build.tags.first().filter(|_| self.wants_push());
        self.build.tiers.cache_repo.as_ref().or_else(first).filter(|_| self.build.tiers.layers).cloned()
    }

    /// Whether the engine reads BuildKit's registry caches.
    pub(super) fn reads_registry_caches(&self) -> bool {
        self.client().product().can(Ability::RegistryCaches)
    }

    /// Of each lane the registry cache is taken, or else the image with an inline cache: with both BuildKit takes a step
    /// from the latter, and then knows nothing of other stages below it.
    async fn found_layers(
        &self,
        place: &ImageRef,
        wanted: Vec<(Option<String>, String)>,
        marked_for: Option<&str>,
    ) -> Result<(Vec<LayerCache>, Vec<(String, bool)>), RegistryError> {
        let mut repository = self.registries().repository(place).await?;
        let (mut found, mut marks) = (Vec::new(), Vec::new());
        for (full, inline) in wanted {
            let mut is_taken = true;
            for (tag, is_inline) in full.map(|tag| (tag, false)).into_iter().chain([(inline, true)]) {
                let Some(name) = place.with_tag(&tag) else { continue };
                if let Some(manifest) = repository.manifest(&tag).await? {
                    if let (true, Some(platform)) = (is_inline, marked_for) {
                        let image = repository.image(&manifest, platform).await?;
                        let mark = image.and_then(|image| image.config.settings.labels.get(MARK).cloned());
                        marks.extend(mark.map(|mark| (mark, !is_taken)));
                    }
                    found.push(LayerCache { name, manifest, is_inline, is_taken });
                    is_taken = false;
                }
            }
        }
        Ok((found, marks))
    }

    /// What the layers that the dependency key decides are marked with, in a registry cache of all stages or an inline cache
    /// of the last one. Another builder knows them by other keys.
    pub(super) async fn layers_mark(&self, keys: &BuildKeys, is_full: bool) -> Result<String, PipelineError> {
        let store = self.connection.image_store().await?;
        let text = format!("{}\n{}\n{store:?}\n{is_full}", keys.layers(), self.client().product());
        Ok(Digest::of(text.as_bytes()).hex())
    }
}
