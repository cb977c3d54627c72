//! A local name that an engine needs to push an image by, although the user may call another image so.
//!
//! ```text
//!  REPO:cache ─▶ the user's image          borrow: also REPO:larder-aside-cache ─▶ the user's image
//!  REPO:cache ─▶ an image of larder        (solve, push)
//!  REPO:cache ─▶ the user's image          give back: the name aside is removed
//! ```
//!
//! The name aside keeps the image from being removed meanwhile, and is what the
//! next build gives back if this process is killed. It must be given back after
//! every end: a failure, a deadline, an interrupt.

use std::time::Duration;

use crate::engine::{Engine, EngineError, Image};
use crate::registry::ImageRef;
use crate::tiers::MARK;

/// How long giving a name back may take; after an interrupt the user waits for that.
const DEADLINE: Duration = Duration::from_secs(10);

/// The local name of an image that is pushed.
pub(crate) struct BorrowedName {
    engine: Engine,
    name: ImageRef,
    aside: ImageRef,
    /// The id of the user's image of that name, if there is one.
    held: Option<String>,
    is_borrowed: bool,
}

/// The name is not as it was in the engine.
#[derive(Debug, thiserror::Error)]
#[error("the local name {name} is not as it was before its image was pushed{remedy}")]
pub(crate) struct GiveBackError {
    name: String,
    remedy: String,
    source: Option<EngineError>,
}

impl BorrowedName {
    /// Returns the name before anything was done with it.
    pub(crate) fn new(engine: &Engine, name: &ImageRef) -> Self {
        let aside = format!("larder-aside-{}", name.tag().unwrap_or("latest"));
        let aside = name.with_tag(&aside).expect("tags of caches have less than 115 letters");
        Self { engine: engine.clone(), name: name.clone(), aside, held: None, is_borrowed: false }
    }

    /// Puts the image aside that the user calls so, if there is one.
    ///
    /// # Errors
    ///
    /// Fails when the engine cannot be asked or refuses; the name is then as it was.
    pub(crate) async fn borrow(&mut self) -> Result<(), EngineError> {
        let named = self.engine.image(&self.name.familiar()).await?;
        self.held = match named {
            Some(image) if !is_larders(&image) => Some(image.id),
            named => match self.engine.image(&self.aside.familiar()).await? {
                // Another job has borrowed the name, or one was killed.
                Some(image) => Some(image.id),
                None => named.filter(|image| is_from(image, &self.name)).map(|image| image.id),
            },
        };
        if let Some(id) = &self.held {
            self.engine.tag(id, &self.aside).await?;
        }
        self.is_borrowed = true;
        Ok(())
    }

    /// Removes what was pushed from the engine, and gives the name back to the user's image. Does nothing if the name was not
    /// borrowed.
    ///
    /// # Errors
    ///
    /// Fails when the engine refuses or does not answer in time; the message says how to restore the name.
    pub(crate) async fn give_back(self) -> Result<(), GiveBackError> {
        let failed = |source| {
            let (name, aside) = (self.name.familiar(), self.aside.familiar());
            let remedy = self.held.as_ref().map(|_| format!(" (`docker tag {aside} {name}` restores it)"));
            GiveBackError { name, remedy: remedy.unwrap_or_default(), source }
        };
        match tokio::time::timeout(DEADLINE, self.restore()).await {
            Ok(restored) => restored.map_err(|error| failed(Some(error))),
            Err(_) => Err(failed(None)),
        }
    }

    async fn restore(&self) -> Result<(), EngineError> {
        if !self.is_borrowed {
            // An interrupt came before anything was done with the name.
            return Ok(());
        }
        // Otherwise later builds would prefer it to the registry's, and its layers would be kept.
        self.engine.remove_name(&self.name).await?;
        if let Some(id) = &self.held {
            self.engine.tag(id, &self.name).await?;
            self.engine.remove_name(&self.aside).await?;
        }
        Ok(())
    }
}

/// Returns `true` if larder has made the image to push it, or somebody has pulled that from a registry.
fn is_larders(image: &Image) -> bool {
    image.config.settings.labels.contains_key(MARK)
}

/// Returns `true` if the engine has pulled the image from this repository, or cannot exclude it: containerd's store knows
/// each image by a digest in its repository.
fn is_from(image: &Image, name: &ImageRef) -> bool {
    let familiar = name.familiar();
    let repository = familiar.rsplit_once(':').map_or(familiar.as_str(), |(repository, _)| repository);
    let digests = image.repository_digests.iter().filter_map(|known| known.split_once('@'));
    digests.map(|(known, _)| known).any(|known| known == repository)
}
