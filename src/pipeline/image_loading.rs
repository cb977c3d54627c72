//! Loads the image of a store entry into an engine, for example one of several engines that run it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{PipelineError, Result};
use super::reporter::{BuildEvent, Reporter};
use super::session::{EngineConnection, Session};
use super::transfers::transfer;
use crate::engine::Engine;
use crate::error_chain::chain;
use crate::registry::ImageRef;
use crate::store::{Entry, Meter, Store};
use crate::tiers::{ArchiveTier, EngineTier, ImageTier};

pub(crate) struct LoadedImage {
    pub(crate) image: String,
    pub(crate) tier: &'static str,
    pub(crate) elapsed: Duration,
}

#[derive(Clone, Copy)]
pub(crate) enum LoadNames<'a> {
    Given(&'a [ImageRef]),
    /// This name, unless the engine already has a different image with that name.
    IfFree(&'a str),
}

/// Loads the image of `entry` into an engine, unless the engine already has it.
pub(crate) async fn load_into_engine(
    entry: &Entry,
    names: LoadNames<'_>,
    (store, deadline): (&Store, Duration),
    (connection, reporter): (&EngineConnection, &dyn Reporter),
    session: &Session<'_>,
) -> Result<LoadedImage> {
    let clock = Instant::now();
    let engine = connection.engine.as_ref().ok_or(PipelineError::NoEngine)?;
    let images = connection.image_store().await.map_err(|error| unloadable(&error))?;
    let tier = ArchiveTier::new(store.clone(), engine.clone(), images, deadline);
    let handed = |image, tier| LoadedImage { image, tier, elapsed: clock.elapsed() };
    if let Some(image) = tier.image_in_engine(entry).await.map_err(|error| unloadable(&error))? {
        reporter.note("  the image is in the engine already\n");
        store.touch(entry).err().into_iter().for_each(|fault| reporter.warn(&chain(&fault)));
        if let LoadNames::Given(names) = names {
            engine.add_names(&image.id, &image.names, names).await.map_err(|error| unloadable(&error))?;
        }
        return Ok(handed(image.id, EngineTier::NAME));
    }
    let meter = Arc::new(Meter::default());
    let names = match names {
        LoadNames::Given(names) => names.to_vec(),
        LoadNames::IfFree(name) => free_name(name, engine).await,
    };
    let loading = tier.load(entry, &names, &meter);
    let loaded = transfer("loading the image", loading, &meter, session, reporter);
    let loaded = loaded.await?.map_err(|error| unloadable(&error))?;
    loaded.faults.iter().for_each(|fault| reporter.warn(&chain(fault)));
    reporter.report(&BuildEvent::Loaded { bytes: loaded.bytes, elapsed: clock.elapsed() });
    Ok(handed(loaded.image.id, ArchiveTier::NAME))
}

/// Returns the name as a list, or an empty list if the engine already has an image with that name.
async fn free_name(name: &str, engine: &Engine) -> Vec<ImageRef> {
    let reference = name.parse::<ImageRef>().ok().filter(|reference| reference.familiar() == *name);
    let is_free = matches!(engine.image(name).await, Ok(None));
    reference.filter(|_| is_free).into_iter().collect()
}

fn unloadable(error: &(dyn std::error::Error + 'static)) -> PipelineError {
    PipelineError::CannotLoad(chain(error))
}
