//! An entry's image: in the engine already, or loaded; nothing is read but the store.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::Ready;
use super::row::Row;
use crate::buildkit::Client;
use crate::cli::PlaceArg;
use crate::commands::build::engine;
use crate::commands::cache::{Cache, unusable};
use crate::commands::error::{CommandError, chain};
use crate::commands::moving::watched;
use crate::engine::Engine;
use crate::output::Printer;
use crate::output::entries::EntryInfo;
use crate::output::summary;
use crate::registry::ImageRef;
use crate::settings::{BuildSettings, Settings};
use crate::store::{EntryKind, Listed, Meter};
use crate::tiers::{ArchiveTier, EngineTier};

/// Brings the image that `named` stands for into the engine.
pub(super) async fn ready(
    named: &str,
    build: &BuildSettings,
    settings: &Settings,
    printer: Printer,
) -> Result<Ready, CommandError> {
    let cache = Cache::open(PlaceArg::Local, settings, printer)?;
    let listed = find(named, &cache)?;
    let entry = &listed.entry;
    if entry.manifest.address.kind != EntryKind::Image {
        let id = entry.short_id();
        let kind = entry.manifest.address.kind;
        return Err(CommandError::config_line(format!("the entry {id} holds no image but a {kind}"))
            .hint("larder cache list shows which entries are images"));
    }
    printer.note(&format!("running from the cache\n{}", EntryInfo::new(&listed).brief()));
    let client = Client::connect(&settings.endpoint).await?;
    let engine = engine(&client)?.ok_or_else(|| {
        CommandError::config_line("buildkitd runs no images")
            .hint("name a Docker engine with --host or DOCKER_HOST")
    })?;
    let clock = Instant::now();
    let images = engine.image_store().await.map_err(|error| unloadable(&error))?;
    let tier = ArchiveTier::new(cache.store.clone(), engine.clone(), images, build.tiers.archive_timeout);
    let known = tier.present(entry).await.map_err(|error| unloadable(&error))?;
    let (image, tier) = if let Some(image) = known {
        printer.note("  the image is in the engine already\n");
        cache.store.touch(entry).err().into_iter().for_each(|fault| printer.warn(&chain(&fault)));
        (image, EngineTier::NAME)
    } else {
        let meter = Arc::new(Meter::default());
        let free = free_name(&listed, &engine).await;
        let loaded =
            watched("loading the image", tier.load(entry, &free, &meter), &meter, settings, Some(printer));
        let loaded = loaded.await?.map_err(|error| unloadable(&error))?;
        loaded.faults.iter().for_each(|fault| printer.warn(&chain(fault)));
        printer.note(&format!("  {}\n", summary::loaded(loaded.bytes, clock.elapsed())));
        (loaded.image, ArchiveTier::NAME)
    };
    Ok(Ready { engine, image: image.id, row: Row::of_entry(entry, tier, clock.elapsed()) })
}

/// The entry with that id, or the one in the file of that name, which then is in the cache, too.
fn find(named: &str, cache: &Cache<'_>) -> Result<Listed, CommandError> {
    let path = Path::new(named);
    if !path.is_file() {
        return Ok(cache.one(named, &cache.census()?)?.clone());
    }
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (total, file) = opened.map_err(|error| unusable(path, "read", &error))?;
    let (_, entries) = cache.import(BufReader::new(file), total)?;
    let census = cache.census()?;
    let mut images = census.entries.iter().filter(|listed| {
        entries.iter().any(|entry| entry.id == listed.entry.id)
            && listed.entry.manifest.address.kind == EntryKind::Image
    });
    match (images.next(), images.next()) {
        (Some(image), None) => Ok(image.clone()),
        (None, _) => Err(CommandError::config_line(format!("{named} holds no image"))
            .hint("larder cache export ENTRY --output FILE writes one")),
        (Some(_), Some(_)) => Err(CommandError::config_line(format!("{named} holds several images"))
            .hint("they are in the cache now: larder cache list shows their ids")),
    }
}

/// The name that the image had, unless another image in the engine has it by now.
async fn free_name(listed: &Listed, engine: &Engine) -> Vec<ImageRef> {
    let name = &listed.entry.manifest.subject.title;
    let reference = name.parse::<ImageRef>().ok().filter(|reference| reference.familiar() == *name);
    let is_free = matches!(engine.image(name).await, Ok(None));
    reference.filter(|_| is_free).into_iter().collect()
}

fn unloadable(error: &(dyn std::error::Error + 'static)) -> CommandError {
    CommandError::build(format!("the image cannot be loaded from the cache: {}", chain(error)))
        .hint("larder run without --from-cache builds it anew")
}
