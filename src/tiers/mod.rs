//! The tiers: places where an image may already be, asked from the cheapest to the most expensive.
//!
//! A tier answers a lookup with an image, with a reasoned miss, or with a fault that counts as a miss. A fault never fails a
//! build by itself; `--strict` is decided above. Tiers of whole images share one interface, [`ImageTier`], and each has a
//! `save` through which later builds find what was built.

mod archive;
mod engine;
mod judge;
mod layers;
mod registry;
mod tags;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::Image;
use crate::key::CacheKey;
use crate::ledger::{TierOutcome, TierRecord, millis};
use crate::notes::ImageEntry;
use crate::registry::ImageRef;
use crate::store::{Entry, Meter};

pub(crate) use archive::{ArchiveDecision, ArchivePolicy, ArchiveRequest, KeepError};
pub use archive::{ArchiveTier, LoadError, Loaded};
pub(crate) use engine::EngineTier;
pub(crate) use layers::{LayerCaches, LayersTier, MARK, Stages};
pub(crate) use registry::{RegistryTerms, RegistryTier, Target, TransferError};
pub(crate) use tags::Tags;

/// A fault of a tier.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A tier of whole images.
pub(crate) trait ImageTier {
    /// The tier's name in records and summaries.
    const NAME: &'static str;

    /// Looks for an image that would be a hit. Nothing is moved or named.
    async fn look(&mut self, wanted: &Wanted<'_>) -> Answer<Hit>;

    /// Brings the image that [`look`](Self::look) has found where it is wanted, and gives it its names.
    async fn fetch(&mut self, hit: Hit, wanted: &Wanted<'_>, meter: &Arc<Meter>) -> Answer<Hit>;

    /// Looks for the image and fetches it.
    async fn take(&mut self, wanted: &Wanted<'_>, meter: &Arc<Meter>) -> Answer<Hit> {
        let mut looked = self.look(wanted).await;
        let Some(hit) = looked.found.take() else { return looked };
        let mut fetched = self.fetch(hit, wanted, meter).await;
        fetched.faults.splice(..0, looked.faults);
        fetched
    }
}

/// The image that is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: CacheKey,
    /// `OS/ARCHITECTURE[/VARIANT]`; at least one.
    pub(crate) platforms: &'a [String],
    pub(crate) names: &'a [ImageRef],
    pub(crate) accepted: &'a Accepted,
}

/// An image that a tier has.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    /// The id that the engine has it under, or would have.
    pub(crate) id: String,
    /// The name of the tier.
    pub(crate) tier: &'static str,
    /// The image in the engine, if it is there.
    pub(crate) image: Option<Image>,
    /// When it was built, if that is known.
    pub(crate) built: Option<Timestamp>,
    /// `true` if it has its names in the registries that it is to be pushed to.
    pub(crate) is_named: bool,
    /// The digest that its names stand for in a registry.
    pub(crate) digest: Option<String>,
    /// The entry that holds it.
    pub(crate) entry: Option<Entry>,
}

impl Hit {
    fn of(tier: &'static str, id: String, built: Option<Timestamp>) -> Self {
        Self { id, tier, image: None, built, is_named: false, digest: None, entry: None }
    }

    /// Returns the hit with its image in the engine.
    fn in_engine(self, image: Image) -> Self {
        Self { id: image.id.clone(), image: Some(image), ..self }
    }
}

/// Which images of a key may be hits.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// Those that were built at this time or later.
    pub since: Option<Timestamp>,
    /// What this machine has noted of the key: those that a rebuild has replaced may not.
    pub noted: Option<ImageEntry>,
}

impl Accepted {
    /// Returns `true` if an image may be a hit that was built at `built`; its id as in [`Self::refusal`].
    pub fn accepts(&self, id: Option<&str>, built: Timestamp) -> bool {
        self.refusal::<()>(id, built).is_none()
    }

    /// Returns the miss that an image is which was built at `built`; `None` if it may be a hit. Its id is given where the
    /// engine would have it under that.
    fn refusal<T>(&self, id: Option<&str>, built: Timestamp) -> Option<Answer<T>> {
        if self.since.is_some_and(|since| built < since) {
            Some(Answer::too_old(built))
        } else if self.noted.as_ref().is_some_and(|noted| noted.has_replaced(id, built)) {
            Some(Answer::miss("a rebuild has replaced the image of this key"))
        } else {
            None
        }
    }
}

/// What a tier answered.
#[derive(Debug)]
pub struct Answer<T> {
    /// What was found.
    pub found: Option<T>,
    /// Why, in a few words.
    pub reason: String,
    /// Bytes that were moved.
    pub bytes: u64,
    /// What went wrong, if anything did.
    pub faults: Vec<Fault>,
    /// Whether the key was never seen before.
    unknown: bool,
    /// Whether there is an image that is too old.
    too_old: bool,
    /// There is an image that is newer than the one that was looked for.
    newer: bool,
}

impl<T> Answer<T> {
    fn hit(found: T, reason: impl Into<String>) -> Self {
        Self { found: Some(found), ..Self::miss(reason) }
    }

    /// A miss, for this reason.
    pub fn miss(reason: impl Into<String>) -> Self {
        Self {
            found: None,
            reason: reason.into(),
            bytes: 0,
            faults: Vec::new(),
            unknown: false,
            too_old: false,
            newer: false,
        }
    }

    /// An image that was built at `built`, longer ago than is wanted.
    fn too_old(built: Timestamp) -> Self {
        let built = built.strftime("%Y-%m-%d %H:%M UTC");
        Self { too_old: true, ..Self::miss(format!("the image was built at {built}, before --max-age")) }
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Self { unknown: true, ..Self::miss(reason) }
    }

    /// Whether the key was never seen before, so that something must have changed.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// Whether there is an image that would be a hit if it were younger.
    pub fn is_too_old(&self) -> bool {
        self.too_old
    }

    fn newer(self) -> Self {
        Self { newer: true, ..self }
    }

    /// Returns `true` if there is an image of the key that is newer than the one that was looked for.
    pub fn is_newer(&self) -> bool {
        self.newer
    }

    /// A miss because of `fault`.
    pub fn fault(fault: impl Into<Fault>, reason: impl Into<String>) -> Self {
        Self { faults: vec![fault.into()], ..Self::miss(reason) }
    }

    /// The ledger's record of this answer of `tier`, which took `duration`.
    pub fn record(&self, tier: &str, duration: Duration) -> TierRecord {
        let outcome = if self.found.is_some() { TierOutcome::Hit } else { TierOutcome::Miss };
        TierRecord {
            tier: tier.to_owned(),
            outcome,
            reason: self.reason.clone(),
            bytes: self.bytes,
            millis: millis(duration),
        }
    }
}
