//! Layers in a registry: what a build may take from there, and what it leaves for others.
//!
//! The image that is left with an inline cache is not the user's: that is as
//! `docker build` makes it. Its steps are those that just ran, so the builder
//! makes both of the same layers, and a registry takes each layer once.
//!
//! Both caches are exported by solves of their own, after the build: then their
//! failure is none of the build. Of steps that a cache had spared, BuildKit
//! exports what it knows from where it found them (seen on 20.10 and 28.5): a
//! registry cache that is written without taking the last one up again loses
//! the stages below a hit, and an inline cache that is written with it loses
//! the steps before a hit.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::exports::Exports;
use super::request::{self, Conditions};
use super::run::{Ended, interruptible};
use super::steps;
use super::{BuildKeys, Job};
use crate::buildkit::solve::{CacheEntry, Exporter, ExporterResponse};
use crate::buildkit::{ApiVersion, EngineProduct, SolveError};
use crate::commands::error::{CommandError, chain};
use crate::commands::registries::PushError;
use crate::digest::Digest;
use crate::engine::{EngineError, ImageStore};
use crate::ledger::{KeptLayersRecord, StepEntry, millis};
use crate::output::summary;
use crate::registry::{ImageRef, RegistryError, StoredManifest, within};
use crate::store::Meter;

/// How long a registry may take to tell which caches it has.
const DEADLINE: Duration = Duration::from_secs(20);
/// Docker engines read registry caches that are written as images from this API on (25.0, BuildKit 0.12), and write them.
const REGISTRY_CACHES_SINCE: ApiVersion = ApiVersion { major: 1, minor: 44 };
/// What the image with an inline cache says of the layers in it, or in the registry cache beside it: their mark.
const MARK: &str = "larder.layers";
/// One build of this process at a time leaves layers.
static KEEPING: Mutex<()> = Mutex::const_new(());
/// The pause before layers are pushed again, after another job has taken the name away; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// What an engine says when another job gives the same name to its image, or removes it.
const TAKEN: [&str; 4] = ["No such image", "tag does not exist", "does not exist locally", "already exists"];
/// Status messages waiting to be dropped.
const WAITING: usize = 256;

/// What a registry has of the layers of a build.
#[derive(Default)]
pub(super) struct LayerCaches {
    /// The repository, if one is used.
    place: Option<ImageRef>,
    /// What is there.
    found: Vec<LayerCache>,
    /// The marks that are there, each with whether a registry cache of all stages goes with it.
    marks: Vec<(String, bool)>,
    /// Why nothing, or not all, could be looked for; a few words.
    fault: Option<String>,
    /// The builder has no layers of its own.
    only_source: bool,
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
struct LayerCache {
    name: ImageRef,
    manifest: StoredManifest,
    is_inline: bool,
    /// BuildKit is to take layers from it.
    is_taken: bool,
}

/// Layers are not left for others.
#[derive(Debug, thiserror::Error)]
enum KeepLayersError {
    #[error("the layers are not kept in the registry")]
    Solve(#[from] SolveError),
    #[error("the layers are not kept in the registry")]
    Engine(#[from] EngineError),
    #[error("the layers are not kept in the registry")]
    Push(#[from] PushError),
    #[error("the layers are not kept in the registry")]
    Registry(#[from] RegistryError),
    #[error("the layers are not kept in the registry: that took longer than {0:?}")]
    Late(Duration),
}

/// Layers that a registry has cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("layers of the registry cannot be taken: {0}")]
pub(super) struct ImportError(String);

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

/// What is wrong with layers that were imported, if the build failed for that.
pub(super) fn import_fault(
    imports: &[CacheEntry],
    result: &Result<ExporterResponse, Ended>,
) -> Option<ImportError> {
    let Err(Ended::Solve(SolveError::Build(failure))) = result else { return None };
    let is_of_import = !imports.is_empty()
        && !failure.message.contains("exit code")
        && UNFETCHED.iter().any(|words| failure.message.contains(words));
    is_of_import.then(|| ImportError(failure.message.clone()))
}

impl KeepLayersError {
    /// Whether another job on this engine came in between.
    fn is_of_another_job(&self) -> bool {
        let said = chain(self);
        matches!(self, Self::Solve(_) | Self::Engine(_) | Self::Push(_))
            && TAKEN.iter().any(|words| said.contains(words))
    }

    /// What would help, in a line; `place` is the repository.
    fn remedy(&self, place: &ImageRef) -> String {
        let place = place.repository();
        match self {
            Self::Registry(error) => error.remedy(),
            Self::Late(_) => "--archive-timeout sets how long that may take".to_owned(),
            Self::Push(PushError::Login(error)) => error.remedy(),
            Self::Solve(_) | Self::Engine(_) | Self::Push(_) => {
                let said = chain(self);
                if said.contains("immutable") {
                    format!("let tags of {place} that begin with `cache` and `buildcache` be replaced")
                } else if ["not known", "name unknown", "does not exist"]
                    .iter()
                    .any(|words| said.contains(words))
                {
                    format!("create the repository {place} (--create-repository does on Amazon's)")
                } else {
                    format!("let this login push to {place}, or use --read-only")
                }
            }
        }
    }
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
    fn layers_place(&self) -> Option<ImageRef> {
        let first = || self.build.tags.first().filter(|_| self.wants_push());
        self.build.tiers.cache_repo.as_ref().or_else(first).filter(|_| self.build.tiers.layers).cloned()
    }

    /// Whether the engine reads BuildKit's registry caches.
    fn reads_registry_caches(&self) -> bool {
        match self.client.product() {
            EngineProduct::Docker { api, .. } => *api >= REGISTRY_CACHES_SINCE,
            EngineProduct::Buildkitd => true,
        }
    }

    /// Whether the engine writes BuildKit's registry caches.
    async fn writes_registry_caches(&mut self) -> Result<bool, CommandError> {
        let is_able = self.engine.is_none() || self.image_store().await? == ImageStore::Containerd;
        Ok(is_able && self.reads_registry_caches())
    }

    /// Looks for caches of layers.
    pub(super) async fn look_for_layers(&mut self, keys: Option<&BuildKeys>) -> Result<(), CommandError> {
        let Some(place) = self.layers_place() else { return Ok(()) };
        if self.runs_every_step().is_some() {
            // None are taken; what is made anew stands in for what is there.
            self.layers = LayerCaches { place: Some(place), ..LayerCaches::default() };
            return Ok(());
        }
        let unsigned = self.settings.store.terms.trust.is_strict();
        if self.registry_is_down || unsigned {
            let reason = if unsigned {
                "caches of layers have no signatures"
            } else {
                "the registry could not be asked before"
            };
            let fault = Some(reason.to_owned());
            self.layers = LayerCaches { place: Some(place), fault, ..LayerCaches::default() };
            return Ok(());
        }
        let clock = Instant::now();
        let tags = self.registry_tags();
        let full = tags.registry_caches().into_iter();
        let full = full.map(|tag| Some(tag).filter(|_| self.reads_registry_caches()));
        let wanted: Vec<_> = full.zip(tags.inline_caches()).collect();
        // Only mounts are spared by what the marks say.
        let keys = keys.filter(|keys| !keys.keys.layers.runs.is_empty() && self.build.tiers.mounts);
        let platform = keys.and_then(BuildKeys::sole_platform);
        let looking = within(place.host(), DEADLINE, Box::pin(self.found_layers(&place, wanted, platform)));
        let mut caches = match interruptible(looking).await? {
            Ok((found, marks)) => LayerCaches { found, marks, ..LayerCaches::default() },
            Err(error) => {
                self.cache_fault(&error)?;
                self.registry_is_down |= error.is_of_reach();
                LayerCaches { fault: Some(format!("{error}; {}", error.remedy())), ..LayerCaches::default() }
            }
        };
        if !caches.found.is_empty() {
            // Who cannot be asked is taken to have some.
            caches.only_source = !self.client.has_layers().await.unwrap_or(true);
        }
        self.layers = LayerCaches { place: Some(place), elapsed: clock.elapsed(), ..caches };
        Ok(())
    }

    /// Of each lane the registry cache is taken, or else the image with an inline cache: with both BuildKit takes a step
    /// from the latter, and then knows nothing of other stages below it.
    async fn found_layers(
        &self,
        place: &ImageRef,
        wanted: Vec<(Option<String>, String)>,
        marked_for: Option<&str>,
    ) -> Result<(Vec<LayerCache>, Vec<(String, bool)>), RegistryError> {
        let mut repository = self.registries.repository(place).await?;
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
    async fn layers_mark(&mut self, keys: &BuildKeys, is_full: bool) -> Result<String, CommandError> {
        let store = self.image_store().await?;
        let text = format!("{}\n{}\n{store:?}\n{is_full}", keys.layers(), self.client.product());
        Ok(Digest::of(text.as_bytes()).hex())
    }

    /// The stages whose layers of dependencies are to be taken from a registry, if there are such.
    pub(super) async fn layers_there(&mut self, keys: &BuildKeys) -> Result<Option<Stages>, CommandError> {
        for is_full in [true, false] {
            let mark = self.layers_mark(keys, is_full).await?;
            if self.layers.marks.contains(&(mark, is_full)) {
                return Ok(Some(if is_full { Stages::All } else { Stages::Last }));
            }
        }
        Ok(None)
    }

    /// Notes which of the cached steps the registry had: those that the builder is not known to have had before.
    pub(super) async fn note_imported_steps(&mut self) -> Result<(), CommandError> {
        if self.layers.place.is_none() {
            return Ok(());
        }
        let mut builder = match self.known_builder().await {
            Ok(builder) => builder,
            Err(error) => return self.cache_fault(&error),
        };
        let mark = |step: &StepEntry| step.digest.parse().ok();
        let (is_any, only_source) = (!self.layers.found.is_empty(), self.layers.only_source);
        let mut imported = Vec::new();
        for (index, step) in
            self.record.step_list.iter().enumerate().filter(|(_, step)| step.cached && is_any)
        {
            if only_source || !mark(step).is_some_and(|mark| builder.has_had_step(mark)) {
                imported.push(index);
            }
        }
        let noted = builder.note_steps(self.record.step_list.iter().filter_map(mark));
        // Builds of several images at once may share a step.
        self.record.steps.imported = imported.len().min(self.record.steps.cached);
        for index in imported {
            self.record.step_list[index].imported = true;
        }
        noted.or_else(|fault| self.notes_fault(&fault))
    }

    /// The build leaves its layers elsewhere, or nowhere.
    fn leaves_no_layers(&self) -> bool {
        let has_own = self.build.cache_to.iter().any(|cache| cache.kind != "inline");
        has_own || self.registry_is_down || self.settings.store.terms.read_only
    }

    /// Leaves the layers of what was built for others. Nothing is left of inputs that have changed meanwhile.
    pub(super) async fn keep_layers(&mut self, keys: Option<&BuildKeys>) -> Result<(), CommandError> {
        let Some(place) = self.layers.place.clone().filter(|_| !self.leaves_no_layers()) else {
            return Ok(());
        };
        if keys.is_some() && !self.is_of_key {
            return Ok(());
        }
        let tags = self.registry_tags();
        let named = |tags: Vec<String>| tags.first().and_then(|tag| place.with_tag(tag));
        let Some(inline) = named(tags.inline_caches()) else { return Ok(()) };
        let full = if self.writes_registry_caches().await? { named(tags.registry_caches()) } else { None };
        // Not over what the user calls so.
        if [Some(&inline), full.as_ref()].into_iter().flatten().any(|name| self.build.tags.contains(name)) {
            return Ok(());
        }
        let clock = Instant::now();
        let deadline = self.build.tiers.archive_timeout;
        let mark = match keys {
            Some(keys) if !keys.keys.layers.runs.is_empty() => {
                Some(self.layers_mark(keys, full.is_some()).await?)
            }
            _ => None,
        };
        let keeping = async {
            // Builds of several images at once may have one repository, and the engine names what is pushed.
            let _alone = KEEPING.lock().await;
            if self.are_layers_kept(&inline, full.as_ref(), &place).await? {
                return Ok(false);
            }
            if let Some(full) = &full {
                self.export_cache(full).await?;
            }
            let mut pause = PAUSE;
            while let Err(error) = self.push_inline_cache(&inline, mark.clone()).await {
                if !error.is_of_another_job() || pause > PAUSE * 4 {
                    return Err(error);
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Ok(true)
        };
        let kept = interruptible(tokio::time::timeout(deadline, Box::pin(keeping))).await?;
        match kept.unwrap_or(Err(KeepLayersError::Late(deadline))) {
            Ok(false) => Ok(()),
            Ok(true) => {
                if full.is_none() && keys.is_some_and(|keys| keys.target > 0) {
                    self.tell_what_is_left_out().await?;
                }
                let references = full.into_iter().chain([inline]).map(|name| name.familiar()).collect();
                let record = KeptLayersRecord { references, millis: millis(clock.elapsed()) };
                if let Some(printer) = self.teller() {
                    printer.note(&summary::kept_layers(&record));
                }
                self.record.kept_layers = Some(record);
                Ok(())
            }
            Err(error) => {
                let told = format!("; not kept: {}; {}", chain(&error), error.remedy(&place));
                let mut tiers = self.record.tiers.iter_mut();
                if let Some(tier) = tiers.find(|tier| tier.tier == steps::LAYERS) {
                    tier.reason.push_str(&told);
                }
                self.cache_fault(&error)
            }
        }
    }

    /// Says once of a builder that it leaves no layers of the stages before the last one.
    async fn tell_what_is_left_out(&mut self) -> Result<(), CommandError> {
        let told = match self.known_builder().await {
            Ok(mut builder) => builder.tell().map_err(Into::into),
            Err(error) => Err(error),
        };
        match (told, self.teller()) {
            (Ok(true), Some(printer)) => printer.note(
                "only the last stage's layers are kept: Docker 25.0 and newer with containerd's image store \
                 (\"features\": {\"containerd-snapshotter\": true} in daemon.json) keeps those of all stages\n",
            ),
            (Ok(_), _) => {}
            (Err(error), _) => return self.cache_fault(&error),
        }
        Ok(())
    }

    /// Whether the registry has all of this: no step ran, and an image of the same layers is there.
    async fn are_layers_kept(
        &self,
        inline: &ImageRef,
        full: Option<&ImageRef>,
        place: &ImageRef,
    ) -> Result<bool, KeepLayersError> {
        let steps = self.record.steps;
        let has = |wanted: &ImageRef| self.layers.found.iter().any(|cache| cache.name == *wanted);
        if steps.cached < steps.total || !full.is_none_or(has) || !has(inline) {
            return Ok(false);
        }
        let (Some(engine), Some(id)) = (&self.engine, &self.record.image_id) else { return Ok(false) };
        let Some(image) = engine.image(id).await? else { return Ok(false) };
        let mut repository = self.registries.repository(place).await?;
        for cache in self.layers.found.iter().filter(|cache| cache.is_inline) {
            let known = repository.image(&cache.manifest, &image.platform).await?;
            if known.is_some_and(|known| known.config.layers == image.config.layers) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a registry cache of all stages, on top of the last one.
    async fn export_cache(&self, name: &ImageRef) -> Result<(), KeepLayersError> {
        let name = name.to_string();
        let attributes = [
            ("ref", name.as_str()),
            ("mode", "max"),
            ("image-manifest", "true"),
            ("oci-mediatypes", "true"),
            ("compression", "zstd"),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let cache = CacheEntry { kind: "registry".to_owned(), attributes };
        self.solve_again(cache, self.layers.imports(), Exports::none(), None).await
    }

    /// Makes the image once more, with an inline cache and the mark of its layers, and pushes it.
    async fn push_inline_cache(&self, name: &ImageRef, mark: Option<String>) -> Result<(), KeepLayersError> {
        let mut attributes = BTreeMap::from([("name".to_owned(), name.to_string())]);
        let kind = if self.engine.is_some() { "moby" } else { "image" };
        if self.engine.is_none() {
            attributes.insert("push".to_owned(), "true".to_owned());
        }
        let exporters = vec![Exporter { kind: kind.to_owned(), attributes }];
        let inline = CacheEntry { kind: "inline".to_owned(), attributes: BTreeMap::new() };
        self.solve_again(inline, Vec::new(), Exports { exporters, ..Exports::none() }, mark).await?;
        let Some(engine) = &self.engine else { return Ok(()) };
        let pushed = self.registries.push(engine, name, &Meter::default()).await;
        // A local image of that name would stand before the registry's in later builds.
        let removed = engine.remove_image(&name.familiar()).await;
        pushed?;
        Ok(removed?)
    }

    /// The same build, whose steps the builder now has, with another end.
    async fn solve_again(
        &self,
        cache: CacheEntry,
        imports: Vec<CacheEntry>,
        exports: Exports,
        mark: Option<String>,
    ) -> Result<(), KeepLayersError> {
        let conditions = Conditions {
            ambiguous: None,
            every_step: false,
            engine_images: self.engine.is_some(),
            attestations: false,
            cache_imports: Vec::new(),
        };
        let login = self.registries.login().clone();
        let (mut request, attachments) =
            request::request(self.build, self.inputs, exports, login, &conditions);
        request.attributes.retain(|name, _| name != "no-cache" && !name.starts_with("attest:"));
        request.attributes.extend(mark.map(|mark| (format!("label:{MARK}"), mark)));
        request.cache_imports = imports;
        request.cache_exports = vec![cache];
        let (status, mut updates) = mpsc::channel(WAITING);
        let dropping = tokio::spawn(async move { while updates.recv().await.is_some() {} });
        let solved = self.client.solve(request, attachments, status, CancellationToken::new()).await;
        drop(dropping);
        solved?;
        Ok(())
    }
}
