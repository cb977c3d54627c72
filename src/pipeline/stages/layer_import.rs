//! Finds the caches of layers in a registry that a build imports, and determines which layers were imported.

use std::time::Instant;

use jiff::Timestamp;

use super::fetch_errors;
use super::job::Job;
use super::keyed::Keyed;
use super::lookup::Lookup;
use super::solve::SolveFailure;
use crate::buildkit::solve::{CacheEntry, ExporterResponse};
use crate::buildkit::{Ability, SolveError};
use crate::digest::Digest;
use crate::ledger::StepEntry;
use crate::pipeline::error::Result;
use crate::pipeline::import_watch::ImportError;
use crate::pipeline::keys::BuildKeys;
use crate::registry::ImageRef;
use crate::tiers::{LayerCaches, LayersTier, Stages};

pub(super) fn import_fault(
    imports: &[CacheEntry],
    result: &Result<ExporterResponse, SolveFailure>,
) -> Option<ImportError> {
    let failure = match result {
        Err(SolveFailure::Import(error)) => return Some(error.clone()),
        Err(SolveFailure::Solve(SolveError::Build(failure))) => failure,
        _ => return None,
    };
    let is_of_import = !imports.is_empty() && fetch_errors::is_cache_error(&failure.message);
    is_of_import.then(|| ImportError(failure.message.clone()))
}

impl Job<'_> {
    /// Looks for caches of layers, unless the build must not import any. Fails if a registry fails under `--strict`, if
    /// the user interrupts, and at the deadline.
    pub(super) async fn find_layer_caches(&self, keyed: &Keyed, lookup: &Lookup) -> Result<LayerCaches> {
        self.run_within_limits(Box::pin(self.query_layer_caches(keyed, lookup))).await
    }

    async fn query_layer_caches(&self, keyed: &Keyed, lookup: &Lookup) -> Result<LayerCaches> {
        let is_unreachable = lookup.is_registry_unreachable;
        let Some(place) = self.layer_cache_repository().filter(|_| lookup.losing.layers.is_none()) else {
            return Ok(LayerCaches::default());
        };
        let none =
            |fault: Option<&str>| LayerCaches::empty(place.clone(), fault.map(str::to_owned), is_unreachable);
        if lookup.runs_every_step(self).is_some() {
            // No cache is imported. The new cache replaces the old one.
            return Ok(none(None));
        }
        if self.settings.store.terms.trust.is_strict() {
            return Ok(none(Some("layer caches have no signatures")));
        }
        if lookup.has_registry_failed {
            return Ok(none(Some("the registry failed earlier")));
        }
        let clock = Instant::now();
        // Marks are only used to decide which mounts are skipped.
        let keys = keyed.keys().filter(|keys| !keys.keys.layers.runs.is_empty() && self.build.tiers.mounts);
        let tier = LayersTier {
            place: &place,
            tags: self.registry_tags(keyed.keys()).await,
            reads_registry_caches: self.can_import_registry_caches(),
            marked_for: keys.and_then(BuildKeys::sole_platform),
        };
        let mut caches = match tier.look(self.registries().repository(&place)).await {
            Ok(caches) => caches,
            Err(error) => {
                self.faults.report(&error)?;
                let fault = Some(format!("{error}; {}", error.remedy()));
                LayerCaches::empty(place, fault, error.is_unreachable())
            }
        };
        if !caches.found.is_empty() {
            // If the builder cannot be queried, assume it has layers.
            caches.is_only_source = !self.builder_has_layers().await.unwrap_or(true);
        }
        caches.elapsed = clock.elapsed();
        Ok(caches)
    }

    /// Returns the stages whose dependency layers are in a registry, if there are any.
    pub(super) async fn stages_in_registry(
        &self,
        caches: &LayerCaches,
        keys: &BuildKeys,
    ) -> Result<Option<Stages>> {
        for (is_full, stages) in [(true, Stages::All), (false, Stages::Last)] {
            if caches.has_mark(&self.layers_mark(keys, is_full).await?, is_full) {
                return Ok(Some(stages));
            }
        }
        Ok(None)
    }

    /// Marks the cached steps that were imported, which are those that the builder is not known to have had before.
    pub(super) async fn mark_imported(&self, caches: &LayerCaches, steps: &mut [StepEntry]) -> Result<()> {
        // The steps are noted even if the tier is not used, so that they do not count as imported when it is used again.
        if self.layer_cache_repository().is_none() {
            return Ok(());
        }
        let mut builder = match self.known_builder().await {
            Ok(builder) => builder,
            Err(error) => return self.faults.report(&error),
        };
        let mark = |step: &StepEntry| step.digest.parse().ok();
        for step in steps.iter_mut().filter(|step| step.cached && !caches.found.is_empty()) {
            step.imported =
                caches.is_only_source || !mark(step).is_some_and(|mark| builder.entry.has_step(mark));
        }
        let noted = builder.note(|entry| entry.note_steps(steps.iter().filter_map(mark), Timestamp::now()));
        noted.or_else(|fault| self.faults.report_notes(&fault))
    }

    /// Returns the repository for caches of layers, or `None` if the build uses none.
    pub(super) fn layer_cache_repository(&self) -> Option<ImageRef> {
        self.cache_repository().filter(|_| self.build.tiers.layers)
    }

    pub(super) fn can_import_registry_caches(&self) -> bool {
        self.client().is_ok_and(|client| client.product().supports(Ability::RegistryCaches))
    }

    /// Returns the mark of the layers that the dependency key covers, for a registry cache of all stages or an inline
    /// cache of the last one. The mark depends on the builder, because other builders identify the layers by other
    /// keys.
    pub(super) async fn layers_mark(&self, keys: &BuildKeys, is_full: bool) -> Result<String> {
        let store = self.connection.image_store().await?;
        let text = format!("{}\n{}\n{store:?}\n{is_full}", keys.layers_digest(), self.client()?.product());
        Ok(Digest::of(text.as_bytes()).hex())
    }
}
