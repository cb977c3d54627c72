//! Combines a builder with the notes that earlier builds on this machine made about it.

use std::sync::Arc;

use crate::buildkit::{Client, ConnectError};
use crate::digest::Digest;
use crate::engine::{Engine, EngineError};
use crate::notes::{BuilderEntry, Notes, NotesError};

/// The worker id that every Docker engine before 26.0 has.
const SHARED_WORKER_ID: &str = "moby";

pub(crate) struct KnownBuilder<'a> {
    engine: Option<&'a Engine>,
    notes: &'a Notes,
    pub(crate) entry: BuilderEntry,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KnownBuilderError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Notes(#[from] NotesError),
    #[error(transparent)]
    NoEngine(#[from] Arc<ConnectError>),
}

impl<'a> KnownBuilder<'a> {
    pub(crate) fn new(
        identity: &str,
        engine: Option<&'a Engine>,
        notes: &'a Notes,
    ) -> Result<Self, NotesError> {
        Ok(Self { engine, notes, entry: notes.builder(identity)? })
    }

    /// Returns the id of the builder. Engines that do not have a unique worker id take longer to return one.
    pub(crate) async fn identity(
        client: &Client,
        engine: Option<&Engine>,
    ) -> Result<String, KnownBuilderError> {
        let identity = client.worker().await?.id.clone();
        match engine {
            Some(engine) if identity == SHARED_WORKER_ID => Ok(engine.identity().await?),
            _ => Ok(identity),
        }
    }

    /// Returns `true` if the builder has made these layers and still has the image that contains them.
    pub(crate) async fn has_layers(&self, layers: Digest) -> Result<bool, KnownBuilderError> {
        let (Some(image), Some(engine)) = (self.entry.image_on(layers), self.engine) else {
            return Ok(false);
        };
        Ok(engine.image(image).await?.is_some())
    }

    pub(crate) fn note(&mut self, change: impl FnOnce(&mut BuilderEntry)) -> Result<(), NotesError> {
        change(&mut self.entry);
        self.notes.note_builder(&self.entry)
    }

    /// Records that the limits of the builder were reported. Returns `true` if they had not been reported before.
    pub(crate) fn note_limits_reported(&mut self) -> Result<bool, NotesError> {
        let is_first = self.entry.note_limits_reported();
        if is_first {
            self.notes.note_builder(&self.entry)?;
        }
        Ok(is_first)
    }
}
