//! Selects the entry of an image by id, or from a file that is imported, and loads it into every given engine.

use std::path::Path;

use super::Cache;
use crate::cli::LoadArgs;
use crate::commands::error::CommandError;
use crate::commands::print_text;
use crate::commands::target_engines::TargetEngines;
use crate::output::entries::EntryInfo;
use crate::pipeline::image_loading::LoadNames;
use crate::settings::archive_timeout;
use crate::store::{CensusEntry, EntryKind};

pub(super) async fn load(args: &LoadArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let deadline = archive_timeout(args.archive_timeout.as_ref(), cache.settings)?;
    let listed = cache.image(&args.id)?;
    let entry = &listed.entry;
    cache.printer.note(&format!("loading from the cache\n{}", EntryInfo::new(&listed).brief_text()));
    let mut nodes = TargetEngines::connect(cache.command.session, cache.printer).await?;
    let names = LoadNames::IfFree(&entry.manifest.subject.title);
    let loaded = nodes.load_image(entry, names, &cache.store, deadline, cache.command.session, 0).await?;
    for (node, loaded) in nodes.connected.iter().zip(&loaded) {
        let place = if nodes.has_several() { format!("{} ", node.endpoint) } else { String::new() };
        print_text(cache.printer, &format!("{place}{}\n", loaded.image))?;
    }
    nodes.check_failures()
}

impl Cache<'_> {
    /// Returns the entry of an image, where `named` is an id or the path of a file from `larder cache export`.
    pub(in crate::commands) fn image(&self, named: &str) -> Result<CensusEntry, CommandError> {
        let path = Path::new(named);
        let listed = if path.is_file() {
            self.image_of_file(path)?
        } else {
            self.find_entry(named, &self.census()?)?.clone()
        };
        let kind = listed.entry.manifest.address.kind;
        if kind != EntryKind::Image {
            let id = listed.entry.short_id();
            return Err(CommandError::config_line(format!("entry {id} is a {kind}, not an image"))
                .hint("larder cache list shows which entries are images"));
        }
        self.store.check_trust(&listed.entry).map_err(|error| {
            CommandError::config(&error).hint("set the trusted keys with --trusted-key (LARDER_TRUSTED_KEYS)")
        })?;
        Ok(listed)
    }

    fn image_of_file(&self, path: &Path) -> Result<CensusEntry, CommandError> {
        let named = path.display();
        let (_, entries) = self.import_file(path)?;
        let census = self.census()?;
        let mut images = census.entries.iter().filter(|listed| {
            entries.iter().any(|entry| entry.id == listed.entry.id)
                && listed.entry.manifest.address.kind == EntryKind::Image
        });
        match (images.next(), images.next()) {
            (Some(image), None) => Ok(image.clone()),
            (None, _) => Err(CommandError::config_line(format!("{named} contains no image"))
                .hint("larder cache export ENTRY --output FILE writes a file with an image")),
            (Some(_), Some(_)) => Err(CommandError::config_line(format!("{named} contains several images"))
                .hint("they have been imported: larder cache list shows their ids")),
        }
    }
}
