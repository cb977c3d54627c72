//! Explains a miss on an agent that has no notes of the image: compares its inputs with those of the newest image of the
//! same name in the remote store, while the image is made.

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::IMPORT_GRACE;
use super::job::Job;
use super::keyed::Keyed;
use super::lookup::Lookup;
use crate::pipeline::changes;
use crate::pipeline::explain::compare_with_store;

/// A comparison that is running.
pub(super) struct StoredChanges(JoinHandle<Vec<String>>);

impl StoredChanges {
    /// Starts the comparison, unless the changes are known, or there is nothing to compare with. Its faults are those of
    /// the store, which other stages report.
    pub(super) fn start(job: &Job<'_>, keyed: &Keyed, lookup: &Lookup) -> Option<Self> {
        let is_wanted = lookup.changes.is_empty()
            && job.settings.store.remote.is_some()
            && job.image_tiers_disabled_reason().is_none()
            && !job.faults.is_cache_unusable();
        let keys = keyed.keys().filter(|_| is_wanted)?;
        let compare = compare_with_store(job.build, job.session, keys, None).ok()??;
        Some(Self(tokio::task::spawn_blocking(move || {
            compare().map(|found| changes::lines(&found.changes)).unwrap_or_default()
        })))
    }

    /// Returns the changes in words; none if the comparison takes longer than making the image.
    pub(super) async fn finish(self) -> Vec<String> {
        timeout(IMPORT_GRACE, self.0).await.ok().and_then(Result::ok).unwrap_or_default()
    }
}
