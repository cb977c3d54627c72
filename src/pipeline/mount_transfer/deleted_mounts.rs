//! Detects mounts that the builder has deleted: they are empty, but larder filled or saved them before.

use jiff::Timestamp;

use super::MountTransfer;
use crate::digest::Digest;
use crate::error_chain::chain;
use crate::mounts::TargetMount;

pub(super) struct VisitedMount {
    id: String,
    key: Digest,
    /// `true` if it was empty before larder accessed it.
    was_empty: bool,
}

impl VisitedMount {
    pub(super) fn of(mount: &TargetMount, was_empty: bool) -> Self {
        Self { id: mount.id.to_string(), key: mount.id.key(), was_empty }
    }
}

impl MountTransfer<'_> {
    /// Warns of the mounts that the builder has deleted, and records that all of these mounts have content now.
    pub(super) async fn record_visits(&mut self, seen: &[VisitedMount]) {
        if seen.is_empty() {
            return;
        }
        let mut builder = match self.connection.known_builder(&self.notes).await {
            Ok(builder) => builder,
            Err(error) => return self.report_problem(chain(&error)),
        };
        // A new engine can have the identity of an earlier one without ever having had its mounts.
        let known = seen
            .iter()
            .filter(|mount| mount.was_empty)
            .filter_map(|mount| builder.entry.mount_seen(mount.key));
        let is_same = match known.min() {
            Some(last) => match self.connection.client() {
                Ok(client) => client.has_cache_since(last).await.unwrap_or_default(),
                Err(_) => false,
            },
            None => false,
        };
        let dropped = seen.iter().filter(|_| is_same).filter(|mount| mount.was_empty).filter_map(|mount| {
            let last = builder.entry.mount_seen(mount.key)?.strftime("%Y-%m-%d %H:%M:%SZ");
            Some(format!(
                "the builder has deleted the cache mount {}, which larder last filled at {last}: by garbage collection or a prune",
                mount.id
            ))
        });
        self.report.warnings.extend(dropped);
        let now = Timestamp::now();
        let noted = builder.note(|entry| seen.iter().for_each(|mount| entry.note_mount(mount.key, now)));
        if let Err(error) = noted {
            self.report_problem(chain(&error));
        }
    }
}
