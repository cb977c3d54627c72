//! The layers tier: caches of layers in a registry, which BuildKit imports.
//!
//! Each lane has two caches: a registry cache of all stages, if the engine can write one, and an image with an inline
//! cache of the last stage. Solves after a build write them, see `pipeline/stages/exported_layers.rs`.

use std::time::Duration;

use super::Tags;
use crate::buildkit::solve::CacheEntry;
use crate::registry::{ImageRef, RegistryError, Repository, StoredManifest, with_timeout};

/// The label of an image with an inline cache. Its value is the mark of the layers.
pub(crate) const MARK_LABEL: &str = "larder.layers";
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct LayersTier<'a> {
    pub(crate) place: &'a ImageRef,
    pub(crate) tags: Tags,
    /// `true` if the engine imports registry caches.
    pub(crate) reads_registry_caches: bool,
    /// The platform of the images whose marks are read; `None` if marks are not needed.
    pub(crate) marked_for: Option<&'a str>,
}

pub(crate) struct LayerCache {
    pub(crate) name: ImageRef,
    pub(crate) manifest: StoredManifest,
    pub(crate) is_inline: bool,
    is_imported: bool,
}

/// The stages whose layers a cache contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stages {
    All,
    /// The stage that is built.
    Last,
}

/// The caches of layers that were found, and that a solve can import.
#[derive(Default)]
pub(crate) struct LayerCaches {
    pub(crate) place: Option<ImageRef>,
    pub(crate) found: Vec<LayerCache>,
    /// The marks of the images, each with `true` if a registry cache of all stages belongs to it.
    marks: Vec<(String, bool)>,
    /// A short reason why some caches could not be looked for.
    pub(crate) fault: Option<String>,
    /// `true` if the builder had no layers, so that every cached step was imported.
    pub(crate) is_only_source: bool,
    /// `true` if the registry cannot be reached, so that nothing is written to it either.
    pub(crate) is_unreachable: bool,
    /// The duration of the lookup, even if it failed.
    pub(crate) elapsed: Duration,
}

impl LayersTier<'_> {
    /// Looks for the caches of all lanes that the job reads.
    ///
    /// Fails if the registry fails or exceeds the time limit.
    pub(crate) async fn look(
        &self,
        connect: impl Future<Output = Result<Repository, RegistryError>>,
    ) -> Result<LayerCaches, RegistryError> {
        let looking = with_timeout(
            self.place.host(),
            DEADLINE,
            Box::pin(async { self.find(&mut connect.await?).await }),
        );
        let (found, marks) = looking.await?;
        Ok(LayerCaches { place: Some(self.place.clone()), found, marks, ..LayerCaches::default() })
    }

    /// Finds the caches of each lane. The registry cache is imported if it exists, else the image with an inline cache:
    /// with both, BuildKit would use a step of the inline cache, and would then not know the stages below it.
    async fn find(
        &self,
        repository: &mut Repository,
    ) -> Result<(Vec<LayerCache>, Vec<(String, bool)>), RegistryError> {
        let (mut found, mut marks) = (Vec::new(), Vec::new());
        for (full, inline) in self.tags.registry_caches().into_iter().zip(self.tags.inline_caches()) {
            let full = Some((full, false)).filter(|_| self.reads_registry_caches);
            let mut is_imported = true;
            for (tag, is_inline) in full.into_iter().chain([(inline, true)]) {
                let Some(name) = self.place.with_tag(&tag) else { continue };
                let Some(manifest) = repository.manifest(&tag).await? else { continue };
                if let (true, Some(platform)) = (is_inline, self.marked_for) {
                    let image = repository.image(&manifest, platform).await?;
                    let mark = image.and_then(|image| image.config.settings.labels.get(MARK_LABEL).cloned());
                    marks.extend(mark.map(|mark| (mark, !is_imported)));
                }
                found.push(LayerCache { name, manifest, is_inline, is_imported });
                is_imported = false;
            }
        }
        Ok((found, marks))
    }
}

impl LayerCaches {
    /// Creates an empty result for a repository, with the reason if the lookup failed.
    pub(crate) fn empty(place: ImageRef, fault: Option<String>, is_unreachable: bool) -> Self {
        Self { place: Some(place), fault, is_unreachable, ..Self::default() }
    }

    /// Returns the cache entries that BuildKit imports, each pinned to the digest of its manifest.
    pub(crate) fn imports(&self) -> Vec<CacheEntry> {
        let imports = self.imported().map(|cache| {
            let name = cache.name.pinned(cache.manifest.digest).to_string();
            CacheEntry { kind: "registry".to_owned(), attributes: [("ref".to_owned(), name)].into() }
        });
        imports.collect()
    }

    /// Returns the digests and sizes of the blobs of the caches, as far as their manifests list them.
    pub(crate) fn blob_sizes(&self) -> impl Iterator<Item = (String, u64)> {
        self.imported().flat_map(|cache| cache.manifest.blob_sizes())
    }

    /// Discards the caches that were found, because their layers cannot be fetched.
    pub(crate) fn discard(&mut self) {
        self.found.clear();
        self.marks.clear();
        self.fault = Some("the layers cannot be fetched from the registry".to_owned());
    }

    fn imported(&self) -> impl Iterator<Item = &LayerCache> {
        self.found.iter().filter(|cache| cache.is_imported)
    }

    /// Returns `true` if an image has this mark. `is_full` selects whether a registry cache of all stages must belong
    /// to it.
    pub(crate) fn has_mark(&self, mark: &str, is_full: bool) -> bool {
        self.marks.iter().any(|(known, full)| known == mark && *full == is_full)
    }

    /// Returns the text about the registry in the record of the tier, after `imported` steps were imported from it.
    pub(crate) fn record_reason(&self, imported: usize) -> Option<String> {
        let place = self.place.as_ref()?;
        if let Some(fault) = &self.fault {
            return Some(fault.clone());
        }
        let names: Vec<&str> = self.imported().filter_map(|cache| cache.name.tag()).collect();
        Some(if names.is_empty() {
            format!("{} has no cache yet", place.repository())
        } else {
            format!("{imported} of them from {}:{}", place.repository(), names.join(", "))
        })
    }
}
