//! The engine tier: finds an image of the key that the engine still has.
//!
//! The notes record the ids of the images that were built for a key. An id is a content address, so an image with that
//! id is the image that was built.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Hit, ImageRequest, ImageTier, TierAnswer};
use crate::engine::{Engine, EngineError};
use crate::key::CacheKey;
use crate::notes::{ImageAge, Notes, NotesError};
use crate::store::Meter;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineTier<'a> {
    notes: &'a Notes,
    engine: &'a Engine,
}

impl<'a> EngineTier<'a> {
    pub(crate) fn new(notes: &'a Notes, engine: &'a Engine) -> Self {
        Self { notes, engine }
    }

    /// Records `id` as an image of `key`, with its age if that is known.
    pub(crate) fn save(
        &self,
        key: CacheKey,
        dependency_key: CacheKey,
        id: &str,
        age: Option<ImageAge>,
    ) -> Result<(), NotesError> {
        self.notes.note_image(key, dependency_key, id, age, Timestamp::now())
    }
}

impl ImageTier for EngineTier<'_> {
    const NAME: &'static str = "engine";

    async fn look(&mut self, wanted: &ImageRequest<'_>) -> TierAnswer<Hit> {
        let mut images = match self.notes.image(wanted.key) {
            Ok(Some(entry)) => entry.images,
            Ok(None) => {
                let miss = TierAnswer::miss("no image of this key is known");
                return TierAnswer { is_unknown_key: true, ..miss };
            }
            Err(error) => return TierAnswer::fault(error, "the cache cannot be read"),
        };
        let youngest = images.iter().map(|image| image.age().oldest).max();
        images.retain(|image| wanted.accepted.since.is_none_or(|since| image.age().oldest >= since));
        let known = images.len();
        if let (0, Some(youngest)) = (known, youngest) {
            return TierAnswer::too_old(youngest);
        }
        let search = async {
            for image in images {
                if let Some(found) = self.engine.image(&image.id).await? {
                    let age = image.age();
                    let hit = Hit::of(Self::NAME, image.id, Some(age));
                    return Ok(Some(hit.in_engine(found)));
                }
            }
            Ok::<_, EngineError>(None)
        };
        match tokio::time::timeout(DEADLINE, search).await {
            Ok(Ok(Some(hit))) => TierAnswer::hit(hit, "the image is in the engine"),
            Ok(Ok(None)) if known == 1 => TierAnswer::miss("the engine no longer has the image of this key"),
            Ok(Ok(None)) => TierAnswer::miss(format!("the engine has none of {known} images of this key")),
            Ok(Err(error)) => TierAnswer::fault(error, "the engine cannot be queried for the image"),
            Err(late) => TierAnswer::fault(late, format!("the engine did not answer in {DEADLINE:?}")),
        }
    }

    async fn fetch(&mut self, hit: Hit, wanted: &ImageRequest<'_>, _: &Arc<Meter>) -> TierAnswer<Hit> {
        let naming = async {
            match &hit.image {
                Some(image) => self.engine.add_names(&image.id, &image.names, wanted.names).await,
                None => Ok(()),
            }
        };
        let late = Err(EngineError::Stalled { what: "tagging the image", after: DEADLINE });
        match tokio::time::timeout(DEADLINE, naming).await.unwrap_or(late) {
            Ok(()) => TierAnswer::hit(hit, "the image is in the engine"),
            Err(error) => TierAnswer::fault(error, "the engine cannot tag the image"),
        }
    }
}
