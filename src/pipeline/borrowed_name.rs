//! Temporarily replaces a local image name that an engine needs for a push, although the user may use the name for a
//! different image.
//!
//! ```text
//!  REPO:cache ─▶ the user's image          borrow: also REPO:larder-aside-cache ─▶ the user's image
//!  REPO:cache ─▶ an image of larder        (solve, push)
//!  REPO:cache ─▶ the user's image          give back: the second name is removed
//! ```
//!
//! The second name protects the user's image from removal in the meantime, and lets the next build restore the name if
//! this process is killed. The name must be restored after every outcome: a failure, a deadline or an interrupt.

use std::time::Duration;

use crate::engine::{Engine, EngineError, Image};
use crate::registry::ImageRef;
use crate::tiers::MARK_LABEL;

/// The time limit for restoring the name. After an interrupt the user waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct BorrowedName {
    engine: Engine,
    name: ImageRef,
    aside: ImageRef,
    users_image: Option<String>,
    is_borrowed: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the local name {name} was not restored after the push{remedy}")]
pub(crate) struct GiveBackError {
    name: String,
    remedy: String,
    source: Option<EngineError>,
}

impl BorrowedName {
    pub(crate) fn new(engine: &Engine, name: &ImageRef) -> Self {
        let aside = format!("larder-aside-{}", name.tag_or_latest());
        let aside = name.with_tag(&aside).expect("tags of caches have less than 115 letters");
        Self { engine: engine.clone(), name: name.clone(), aside, users_image: None, is_borrowed: false }
    }

    /// Gives the user's image of that name, if there is one, a second name. If this fails, the original name is
    /// unchanged.
    pub(crate) async fn borrow(&mut self) -> Result<(), EngineError> {
        let named = self.engine.image(&self.name.familiar()).await?;
        self.users_image = match named {
            Some(image) if !is_made_by_larder(&image) => Some(image.id),
            named => match self.engine.image(&self.aside.familiar()).await? {
                // A different job has borrowed the name, or was killed while it had borrowed it.
                Some(image) => Some(image.id),
                None => named.filter(|image| is_from_repository(image, &self.name)).map(|image| image.id),
            },
        };
        if let Some(id) = &self.users_image {
            self.engine.tag(id, &self.aside).await?;
        }
        self.is_borrowed = true;
        Ok(())
    }

    /// Removes the pushed image from the engine, and restores the name of the user's image. Does nothing if the name
    /// was not borrowed. If this fails, the error says how to restore the name.
    pub(crate) async fn restore_name(self) -> Result<(), GiveBackError> {
        let failed = |source| {
            let (name, aside) = (self.name.familiar(), self.aside.familiar());
            let remedy =
                self.users_image.as_ref().map(|_| format!(" (`docker tag {aside} {name}` restores it)"));
            GiveBackError { name, remedy: remedy.unwrap_or_default(), source }
        };
        match tokio::time::timeout(DEADLINE, self.restore()).await {
            Ok(restored) => restored.map_err(|error| failed(Some(error))),
            Err(_) => Err(failed(None)),
        }
    }

    async fn restore(&self) -> Result<(), EngineError> {
        if !self.is_borrowed {
            // An interrupt came before the name was borrowed.
            return Ok(());
        }
        // Otherwise later builds would prefer this image to the registry's image, and its layers would stay on disk.
        self.engine.remove_name(&self.name).await?;
        if let Some(id) = &self.users_image {
            self.engine.tag(id, &self.name).await?;
            self.engine.remove_name(&self.aside).await?;
        }
        Ok(())
    }
}

/// Returns `true` if larder made the image for a push, on this machine or on the one that it was pulled from.
fn is_made_by_larder(image: &Image) -> bool {
    image.config.settings.labels.contains_key(MARK_LABEL)
}

/// Returns `true` if the engine may have pulled the image from this repository. containerd's image store lists a digest
/// in its repository for every image.
fn is_from_repository(image: &Image, name: &ImageRef) -> bool {
    let familiar = name.familiar();
    let repository = familiar.rsplit_once(':').map_or(familiar.as_str(), |(repository, _)| repository);
    let digests = image.repository_digests.iter().filter_map(|known| known.split_once('@'));
    digests.map(|(known, _)| known).any(|known| known == repository)
}
