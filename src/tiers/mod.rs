//! The tiers: places where an image may already exist, queried from the cheapest to the most expensive.
//!
//! A lookup in a tier results in an image, in a miss with its reason, or in a fault, which counts as a miss. A fault
//! never fails a build by itself; the caller handles `--strict`. All tiers of whole images implement `ImageTier`, and
//! each has a `save` method, which lets later builds find what was built.

mod archive;
mod engine;
mod layers;
mod prefix;
mod registry;
mod tags;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::Image;
use crate::key::CacheKey;
use crate::ledger::{TierOutcome, TierRecord, millis};
use crate::notes::{ImageAge, ImageEntry};
use crate::registry::ImageRef;
use crate::store::{Entry, Meter};

pub use archive::ArchiveTier;
pub(crate) use archive::{ArchiveError, ArchivePolicy, ArchiveRequest, LoadError};
pub(crate) use engine::EngineTier;
pub(crate) use layers::{LayerCaches, LayersTier, MARK_LABEL, Stages};
pub(crate) use prefix::PrefixTier;
pub(crate) use registry::{PushTarget, RegistryTerms, RegistryTier, TransferError};
pub(crate) use tags::Tags;

pub(crate) type BoxedError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) trait ImageTier {
    /// The tier's name in records and summaries.
    const NAME: &'static str;

    /// Looks for an image that would be a hit. Transfers and tags nothing.
    async fn look(&mut self, wanted: &ImageRequest<'_>) -> TierAnswer<Hit>;

    /// Transfers the image that [`look`](Self::look) found to where it is wanted, and tags it with its names.
    async fn fetch(&mut self, hit: Hit, wanted: &ImageRequest<'_>, meter: &Arc<Meter>) -> TierAnswer<Hit>;

    /// Looks for an image, and fetches it if it is a hit.
    async fn look_and_fetch(&mut self, wanted: &ImageRequest<'_>, meter: &Arc<Meter>) -> TierAnswer<Hit> {
        let mut looked = self.look(wanted).await;
        let Some(hit) = looked.found.take() else { return looked };
        let mut fetched = self.fetch(hit, wanted, meter).await;
        fetched.faults.splice(..0, looked.faults);
        fetched
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageRequest<'a> {
    pub(crate) key: CacheKey,
    /// `OS/ARCHITECTURE[/VARIANT]`; never empty.
    pub(crate) platforms: &'a [String],
    pub(crate) names: &'a [ImageRef],
    pub(crate) accepted: &'a HitConditions,
}

#[derive(Debug, Clone)]
pub(crate) struct Hit {
    /// The id that the image has, or would have, in the engine.
    pub(crate) id: String,
    pub(crate) tier: &'static str,
    pub(crate) image: Option<Image>,
    pub(crate) age: Option<ImageAge>,
    /// `true` if the image already has its names in the registries that it is pushed to.
    pub(crate) is_named: bool,
    /// The digest of the manifest that its names refer to in a registry.
    pub(crate) digest: Option<String>,
    pub(crate) entry: Option<Entry>,
}

impl Hit {
    fn of(tier: &'static str, id: String, age: Option<ImageAge>) -> Self {
        Self { id, tier, image: None, age, is_named: false, digest: None, entry: None }
    }

    fn in_engine(self, image: Image) -> Self {
        Self { id: image.id.clone(), image: Some(image), ..self }
    }
}

/// The conditions under which an image of a key is a hit.
#[derive(Debug, Clone, Default)]
pub(crate) struct HitConditions {
    /// If set, the layers of the image must have been created at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// The number of layers of the base image, if known. They do not count for the age of an image.
    pub(crate) base_layers: Option<usize>,
    /// The notes about the key on this machine. Images that a rebuild has replaced are not accepted.
    pub(crate) notes: Option<ImageEntry>,
}

impl HitConditions {
    /// Returns a miss with the reason why an image of this age is not a hit, or `None` if it may be one. `id` is its id
    /// in the engine, if known.
    fn refusal<T>(&self, id: Option<&str>, age: ImageAge) -> Option<TierAnswer<T>> {
        if self.since.is_some_and(|since| age.oldest < since) {
            Some(TierAnswer::too_old(age.oldest))
        } else if self.notes.as_ref().is_some_and(|noted| noted.has_replaced(id, age.built)) {
            Some(TierAnswer::miss("a rebuild has replaced the image of this key"))
        } else {
            None
        }
    }
}

#[derive(Debug)]
pub(crate) struct TierAnswer<T> {
    pub(crate) found: Option<T>,
    pub(crate) reason: String,
    pub(crate) bytes: u64,
    pub(crate) faults: Vec<BoxedError>,
    /// `true` if the key was never seen before, so that an input must have changed.
    pub(crate) is_unknown_key: bool,
    /// `true` if there is an image that would be a hit if it were younger.
    pub(crate) is_too_old: bool,
    /// `true` if there is a newer image of the key than the one that was looked for.
    pub(crate) has_newer: bool,
}

impl<T> TierAnswer<T> {
    fn hit(found: T, reason: impl Into<String>) -> Self {
        Self { found: Some(found), ..Self::miss(reason) }
    }

    pub(crate) fn miss(reason: impl Into<String>) -> Self {
        Self {
            found: None,
            reason: reason.into(),
            bytes: 0,
            faults: Vec::new(),
            is_unknown_key: false,
            is_too_old: false,
            has_newer: false,
        }
    }

    /// Creates a miss because an image was built at `built`, which is too long ago.
    fn too_old(built: Timestamp) -> Self {
        let built = built.strftime("%Y-%m-%d %H:%M UTC");
        Self { is_too_old: true, ..Self::miss(format!("the image was built at {built}, before --max-age")) }
    }

    pub(crate) fn fault(fault: impl Into<BoxedError>, reason: impl Into<String>) -> Self {
        Self { faults: vec![fault.into()], ..Self::miss(reason) }
    }

    /// Returns the ledger's record of this answer from `tier`, which took `duration`.
    pub(crate) fn record(&self, tier: &str, duration: Duration) -> TierRecord {
        let outcome = if self.found.is_some() { TierOutcome::Hit } else { TierOutcome::Miss };
        TierRecord {
            failed: self.found.is_none() && !self.faults.is_empty(),
            bytes: self.bytes,
            millis: millis(duration),
            ..TierRecord::new(tier, outcome, self.reason.clone())
        }
    }
}
