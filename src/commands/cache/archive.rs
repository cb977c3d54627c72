//! Archives an image of the engine for an export.

use std::sync::Arc;

use super::super::error::CommandError;
use super::Cache;
use crate::pipeline::session::store::warn_of_faults;
use crate::pipeline::transfers::transfer;
use crate::registry::ImageRef;
use crate::settings::TierSettings;
use crate::store::{Entry, Meter, Subject};
use crate::tiers::ArchiveTier;

impl Cache<'_> {
    /// Returns the entry of the engine's image `name`, archived if necessary, or `None` if there is no such image.
    pub(super) fn archive(&self, name: &str) -> Result<Option<Entry>, CommandError> {
        let tiers = TierSettings::from_settings(self.settings);
        let Ok(name) = name.parse::<ImageRef>() else { return Ok(None) };
        self.command.block_on(async {
            // A wrong id must not be reported as a missing engine.
            let Ok(connection) = self.command.session.connection(None).await else { return Ok(None) };
            let Some(engine) = connection.engine.clone() else { return Ok(None) };
            let familiar = name.familiar();
            let image = engine.image(&familiar).await.map_err(|error| CommandError::config(&error))?;
            let Some(image) = image else { return Ok(None) };
            let notes = self.settings.job.notes();
            let key = notes.key_of(&image.id).map_err(|error| CommandError::config(&error))?;
            let key = key.ok_or_else(|| {
                let cause = format!("the image {familiar} was not built by larder on this machine");
                CommandError::config_line(cause).hint("larder build --enable-cache builds and archives it")
            })?;
            let images = connection.image_store().await?;
            let tier = ArchiveTier::new(self.store.clone(), engine, images, tiers.archive_timeout);
            // The entry of the build contains details that the engine does not know.
            if let Some(entry) = tier.entry_of(key, &image.platform, &image).await {
                return Ok(Some(entry));
            }
            let subject = Subject { title: familiar, ..Subject::default() };
            let meter = Arc::new(Meter::default());
            let archiving = tier.save(key, &image.platform, &image, subject, false, &meter);
            let kept = transfer("archiving", archiving, &meter, self.command.session, &self.printer).await?;
            let kept = kept.map_err(|error| CommandError::config(&error))?;
            warn_of_faults(&kept.saved.faults, &self.printer);
            self.evict_beyond_limits();
            Ok(Some(kept.saved.entry))
        })
    }
}
