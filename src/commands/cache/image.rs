//! Selects the entry of an image by id, or from a file that is imported.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::{Cache, file_error};
use crate::commands::error::CommandError;
use crate::store::{CensusEntry, EntryKind};

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
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (total, file) = opened.map_err(|error| file_error(path, "read", &error))?;
        let (_, entries) = self.import(BufReader::new(file), total)?;
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
