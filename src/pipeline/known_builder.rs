//! A builder and what earlier builds on this machine have noted of it.

use jiff::Timestamp;

use crate::buildkit::{Client, ConnectError};
use crate::digest::Digest;
use crate::engine::{Engine, EngineError};
use crate::notes::{BuilderEntry, Notes, NotesError};

/// The id of the worker in every Docker engine before 26.0.
const NAMELESS: &str = "moby";

pub(crate) struct KnownBuilder<'a> {
    engine: Option<&'a Engine>,
    notes: &'a Notes,
    entry: BuilderEntry,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UnknownBuilder {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Notes(#[from] NotesError),
}

impl<'a> KnownBuilder<'a> {
    pub(crate) async fn look_up(
        client: &Client,
        engine: Option<&'a Engine>,
        notes: &'a Notes,
    ) -> Result<Self, UnknownBuilder> {
        let mut identity = client.worker().await?.id.clone();
        if let (NAMELESS, Some(engine)) = (identity.as_str(), engine) {
            identity = engine.identity().await?;
        }
        Ok(Self { engine, notes, entry: notes.builder(&identity)? })
    }

    /// Returns `true` if the builder has made these layers and still has the image on top of them.
    pub(crate) async fn has_layers(&self, layers: Digest) -> Result<bool, UnknownBuilder> {
        let (Some(image), Some(engine)) = (self.entry.image_on(layers), self.engine) else {
            return Ok(false);
        };
        Ok(engine.image(image).await?.is_some())
    }

    pub(crate) fn note_layers(&mut self, layers: Digest, image: &str) -> Result<(), NotesError> {
        self.entry.note_layers(layers, image, Timestamp::now());
        self.notes.note_builder(&self.entry)
    }

    pub(crate) fn has_made(&self, image: Digest) -> bool {
        self.entry.has_made(image)
    }

    pub(crate) fn note_image(&mut self, image: Digest) -> Result<(), NotesError> {
        self.entry.note_image(image, Timestamp::now());
        self.notes.note_builder(&self.entry)
    }

    /// Records that the limits of the builder were reported. Returns `true` for the first call.
    pub(crate) fn note_limits_reported(&mut self) -> Result<bool, NotesError> {
        let is_first = self.entry.note_limits_reported();
        if is_first {
            self.notes.note_builder(&self.entry)?;
        }
        Ok(is_first)
    }

    pub(crate) fn has_had_step(&self, mark: Digest) -> bool {
        self.entry.has_had_step(mark)
    }

    pub(crate) fn note_steps(&mut self, marks: impl IntoIterator<Item = Digest>) -> Result<(), NotesError> {
        self.entry.note_steps(marks, Timestamp::now());
        self.notes.note_builder(&self.entry)
    }

    pub(crate) fn forget_layers(&mut self, layers: Digest) -> Result<(), NotesError> {
        self.entry.forget_layers(layers);
        self.notes.note_builder(&self.entry)
    }

    /// Returns the last time when the mount with this key had content.
    pub(crate) fn mount_seen(&self, key: Digest) -> Option<Timestamp> {
        self.entry.mount_seen(key)
    }

    /// Records that these mounts have content.
    pub(crate) fn note_mounts(&mut self, keys: &[Digest]) -> Result<(), NotesError> {
        for key in keys {
            self.entry.note_mount(*key, Timestamp::now());
        }
        self.notes.note_builder(&self.entry)
    }
}
