//! Which mounts need no visit, since nobody has used them.

use super::Carrier;
use crate::digest::Digest;
use crate::mounts::{Standing, TargetMount};
use crate::store::Entry;

impl Carrier<'_> {
    /// Which mounts nobody has used since they held these entries; to ask costs less than a visit.
    pub(super) async fn standing(&self, mounts: &[TargetMount], entries: &[Option<Entry>]) -> Vec<bool> {
        let noted: Vec<Option<Vec<u8>>> =
            mounts.iter().map(|mount| self.notes.mount_standing(&self.standing_name(mount))).collect();
        let records = if noted.iter().any(Option::is_some) {
            // Without an answer all of them are visited.
            self.client.cache_mounts().await.unwrap_or_default()
        } else {
            Vec::new()
        };
        let stands = |((mount, entry), noted): ((&TargetMount, &Option<Entry>), &Option<Vec<u8>>)| {
            let now = entry.as_ref().and_then(|entry| Standing::of(&mount.id.wire, &records, &entry.id));
            now.is_some() && now.as_ref().map(Standing::as_bytes) == noted.as_deref()
        };
        mounts.iter().zip(entries).zip(&noted).map(stands).collect()
    }

    /// Notes that these mounts hold these entries now.
    pub(super) async fn note_standing(&self, held: &[(&TargetMount, Digest)]) {
        if held.is_empty() || self.settings.store.terms.read_only {
            return;
        }
        // To look for the first time is itself a use to Docker 20.10, which then finds out what a mount takes.
        if self.client.cache_mounts().await.is_err() {
            return;
        }
        let Ok(records) = self.client.cache_mounts().await else { return };
        for (mount, entry) in held {
            if let Some(standing) = Standing::of(&mount.id.wire, &records, entry) {
                // What is not noted costs a visit.
                drop(self.notes.keep_mount_standing(&self.standing_name(mount), standing.as_bytes()));
            }
        }
    }

    fn standing_name(&self, mount: &TargetMount) -> String {
        format!("{} {}", self.client.endpoint(), self.family(mount))
    }
}
