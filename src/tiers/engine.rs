//! The engine tier: an image built from this very key is still in the engine.
//!
//! The notes knows which image ids a key has built; the engine says whether it
//! still has one. Ids are content addresses, so an image that is there under
//! its id is the one that was built.

use std::time::Duration;

use jiff::Timestamp;

use super::Answer;
use crate::engine::{Engine, EngineError, Image};
use crate::key::CacheKey;
use crate::notes::{Notes, NotesError};
use crate::registry::ImageRef;

/// How long the engine may take to look for images.
const DEADLINE: Duration = Duration::from_secs(10);

/// Looks for whole images in the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineTier<'a> {
    notes: &'a Notes,
    engine: &'a Engine,
}

impl<'a> EngineTier<'a> {
    /// The tier's name in records and summaries.
    pub const NAME: &'static str = "engine";

    /// A tier over what `notes` knows and `engine` has.
    pub fn new(notes: &'a Notes, engine: &'a Engine) -> Self {
        Self { notes, engine }
    }

    /// Looks for an image of `key` that was built at `since` or later. Returns it and when it was built.
    pub async fn find(&self, key: CacheKey, since: Option<Timestamp>) -> Answer<(Image, Timestamp)> {
        let mut images = match self.notes.image(key) {
            Ok(Some(entry)) => entry.images,
            Ok(None) => return Answer::unknown("no image of this key is known"),
            Err(error) => return Answer::fault(error, "the cache cannot be read"),
        };
        let youngest = images.iter().map(|image| image.created).max();
        images.retain(|image| since.is_none_or(|since| image.created >= since));
        let known = images.len();
        if let (0, Some(youngest)) = (known, youngest) {
            return Answer::too_old(youngest);
        }
        let search = async {
            for image in images {
                if let Some(found) = self.engine.image(&image.id).await? {
                    return Ok(Some((found, image.created)));
                }
            }
            Ok::<_, EngineError>(None)
        };
        match tokio::time::timeout(DEADLINE, search).await {
            Ok(Ok(Some(found))) => Answer::hit(found, "the image is in the engine"),
            Ok(Ok(None)) if known == 1 => Answer::miss("the image of this key is gone from the engine"),
            Ok(Ok(None)) => Answer::miss(format!("none of {known} images of this key is in the engine")),
            Ok(Err(error)) => Answer::fault(error, "the engine cannot be asked for the image"),
            Err(late) => Answer::fault(late, format!("the engine did not answer in {DEADLINE:?}")),
        }
    }

    /// Gives an image that was found these names.
    ///
    /// # Errors
    ///
    /// Fails when the image has been removed meanwhile, or the engine refuses.
    pub async fn name(&self, image: &Image, names: &[ImageRef]) -> Result<(), EngineError> {
        let naming = async {
            for name in names.iter().filter(|name| !image.names.contains(&name.familiar())) {
                self.engine.tag(&image.id, name).await?;
            }
            Ok(())
        };
        let late = Err(EngineError::Stalled { what: "naming the image", after: DEADLINE });
        tokio::time::timeout(DEADLINE, naming).await.unwrap_or(late)
    }

    /// Notes that `id` is an image of `key`, built at `built` if that is known.
    ///
    /// # Errors
    ///
    /// Fails when the notes cannot be written.
    pub fn note(
        &self,
        key: CacheKey,
        dependency_key: CacheKey,
        id: &str,
        built: Option<Timestamp>,
    ) -> Result<(), NotesError> {
        self.notes.note_image(key, dependency_key, id, built, Timestamp::now())
    }
}
