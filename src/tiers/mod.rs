//! The tiers: places where an image may already be, asked from the cheapest to the dearest.
//!
//! A tier answers a lookup with an image, with a reasoned miss, or with a fault
//! that counts as a miss. A fault never fails a build by itself; whether it
//! does is decided above (`--strict`).

mod archive;
mod engine;
mod judge;
mod registry;
mod tags;

use std::time::Duration;

use jiff::Timestamp;

use crate::ledger::{TierOutcome, TierRecord, millis};

pub use archive::{
    ArchiveDecision, ArchivePolicy, ArchiveRequest, ArchiveTier, KeepError, Kept, LoadError, Loaded,
};
pub use engine::EngineTier;
pub use registry::{RegistryTier, Taken, Target, TransferError};
pub use tags::Tags;

/// Something went wrong in a tier.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

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
}

impl<T> Answer<T> {
    fn hit(found: T, reason: impl Into<String>) -> Self {
        Self { found: Some(found), ..Self::miss(reason) }
    }

    fn miss(reason: impl Into<String>) -> Self {
        Self {
            found: None,
            reason: reason.into(),
            bytes: 0,
            faults: Vec::new(),
            unknown: false,
            too_old: false,
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

    fn fault(fault: impl Into<Fault>, reason: impl Into<String>) -> Self {
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
