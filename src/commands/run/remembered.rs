//! What an image's entry says of its runs, so that `--from-cache` runs it the same way.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::commands::build::Built;
use crate::commands::error::{CommandError, chain};
use crate::commands::moving::watched;
use crate::commands::nodes::Nodes;
use crate::commands::store::open;
use crate::output::Printer;
use crate::settings::{BuildSettings, RunSettings, Settings};
use crate::store::{Entry, EntryKind, Meter, RunFlags, Store, StoreError, Subject};
use crate::tiers::ArchiveTier;

/// The entry of what was built, which tells from now on of this run. It is made where several engines need it; what
/// goes wrong otherwise costs a warning.
pub(super) async fn remember(
    image: &Built,
    run: &RunSettings,
    build: &BuildSettings,
    nodes: &Nodes,
    settings: &Settings,
    printer: Printer,
) -> Result<Option<Entry>, CommandError> {
    let record = &image.record;
    let (Some(key), Some(platform)) = (record.image_key, image.platform.clone()) else {
        return Ok(None);
    };
    if !build.tiers.archive {
        return Ok(None);
    }
    let store = open(settings)?;
    let (searched, family) = (store.clone(), platform.clone());
    let found = spawn_blocking(move || searched.find(EntryKind::Image, &family, key.digest(), false)).await;
    let mut entry = found.ok().and_then(|found| found.entry);
    if entry.is_none() && nodes.are_several() {
        let node = &nodes.up[0];
        let id = record.image_id.as_deref().unwrap_or_default();
        let unkept = |error: &(dyn std::error::Error + 'static)| CommandError::build(chain(error));
        let images = node.engine.image_store().await.map_err(|error| unkept(&error))?;
        let there = node.engine.image(id).await.map_err(|error| unkept(&error))?;
        let there = there.ok_or_else(|| CommandError::build("the image has gone from the engine"))?;
        let deadline = build.tiers.archive_timeout;
        let tier = ArchiveTier::new(store.clone(), node.engine.clone(), images, deadline);
        let title = record.names.first().map_or(id, String::as_str).to_owned();
        let (subject, meter) = (Subject { title, ..Subject::default() }, Arc::new(Meter::default()));
        let keeping = tier.keep(key, &platform, &there, subject, &meter);
        let kept = watched("keeping the image", keeping, &meter, settings, Some(printer)).await?;
        entry = Some(kept.map_err(|error| unkept(&error))?.saved.entry);
    }
    let Some(entry) = entry else { return Ok(None) };
    if settings.store.terms.read_only {
        return Ok(Some(entry));
    }
    let count = u32::try_from(nodes.up.len()).unwrap_or(u32::MAX);
    let (store, kept, before) = (store, run.kept.clone(), entry.clone());
    let amended = spawn_blocking(move || amend(&store, &before, kept, count)).await;
    Ok(Some(match amended {
        Ok(Ok(amended)) => amended.unwrap_or(entry),
        Ok(Err(fault)) => {
            printer.warn(&format!("the entry does not tell of this run: {}", chain(&fault)));
            entry
        }
        Err(_) => entry,
    }))
}

/// The entry with what this run was; `None` where it says so already.
fn amend(store: &Store, entry: &Entry, kept: RunFlags, nodes: u32) -> Result<Option<Entry>, StoreError> {
    let subject = &entry.manifest.subject;
    let run = Some(kept).filter(|kept| !kept.flags.is_empty() || !kept.command.is_empty());
    let nodes = NonZeroU32::new(nodes).filter(|nodes| nodes.get() > 1);
    if (&subject.run, subject.nodes) == (&run, nodes) {
        return Ok(None);
    }
    let saved = store.amend(entry, Subject { nodes, run, ..subject.clone() })?;
    Ok(saved.map(|saved| saved.entry))
}
