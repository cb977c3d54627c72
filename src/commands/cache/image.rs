//! Selects the entry of an image by id, or from a file that is imported.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::{Cache, unusable};
use crate::commands::error::CommandError;
use crate::store::{EntryKind, Listed};

impl Cache<'_> {
    /// Returns the entry of the image `named` by id, or by a file of `larder cache export`.
    pub(in crate::commands) fn image(&self, named: &str) -> Result<Listed, CommandError> {
        let path = Path::new(named);
        let listed = if path.is_file() {
            self.image_of_file(path)?
        } else {
            self.one(named, &self.census()?)?.clone()
        };
        let kind = listed.entry.manifest.address.kind;
        if kind != EntryKind::Image {
            let id = listed.entry.short_id();
            return Err(CommandError::config_line(format!("the entry {id} holds no image but a {kind}"))
                .hint("larder cache list shows which entries are images"));
        }
        self.store.vouch_for(&listed.entry).map_err(|error| {
            CommandError::config(&error)
                .hint("--trusted-key (LARDER_TRUSTED_KEYS) names the keys that are trusted")
        })?;
        Ok(listed)
    }

    fn image_of_file(&self, path: &Path) -> Result<Listed, CommandError> {
        let named = path.display();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (total, file) = opened.map_err(|error| unusable(path, "read", &error))?;
        let (_, entries) = self.import(BufReader::new(file), total)?;
        let census = self.census()?;
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
}
