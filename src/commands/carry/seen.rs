//! What a builder had when it was visited last: a mount that has become empty since was dropped.

use tokio::task::JoinHandle;

use super::Carrier;
use crate::commands::error::chain;
use crate::commands::known_builder::KnownBuilder;
use crate::digest::Digest;
use crate::engine::{Engine, EngineError};
use crate::mounts::TargetMount;

/// A mount that was visited.
pub(super) struct Seen {
    /// What people know it by.
    id: String,
    key: Digest,
    /// There was nothing in it.
    was_empty: bool,
}

impl Seen {
    pub(super) fn of(mount: &TargetMount, was_empty: bool) -> Self {
        Self { id: mount.id.to_string(), key: mount.id.key(), was_empty }
    }
}

/// The builder's name, which is asked for while the visit goes on.
pub(super) struct Asked(Option<JoinHandle<Result<String, EngineError>>>);

impl Asked {
    pub(super) fn of(engine: Option<&Engine>) -> Self {
        let asking = engine.cloned().map(|engine| tokio::spawn(async move { engine.identity().await }));
        Self(asking)
    }
}

impl Carrier<'_> {
    /// Tells which of the mounts the builder has dropped, and notes that all of them have something in them now.
    pub(super) async fn remember(&mut self, asked: Asked, seen: &[Seen]) {
        let (Some(engine), Some(asking), false) = (&self.engine, asked.0, seen.is_empty()) else { return };
        let Ok(Ok(identity)) = asking.await else { return };
        let mut builder = match KnownBuilder::of(engine, &self.notes, &identity) {
            Ok(builder) => builder,
            Err(error) => return self.trouble(chain(&error)),
        };
        let dropped = seen.iter().filter(|mount| mount.was_empty).filter_map(|mount| {
            let last = builder.mount_seen(mount.key)?.strftime("%Y-%m-%d %H:%M:%SZ");
            Some(format!(
                "the builder has dropped the cache mount {} since {last}: its garbage collector did, or a prune",
                mount.id
            ))
        });
        self.report.warnings.extend(dropped);
        let keys: Vec<Digest> = seen.iter().map(|mount| mount.key).collect();
        if let Err(error) = builder.note_mounts(&keys) {
            self.trouble(chain(&error));
        }
    }
}
