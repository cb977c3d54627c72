//! Archiving an image that the engine has, for an export.

use std::sync::Arc;

use super::super::error::CommandError;
use super::Cache;
use crate::cli::TierArgs;
use crate::pipeline::session::store::{keep_within, warn_of};
use crate::pipeline::transfers::transfer;
use crate::registry::ImageRef;
use crate::settings::TierSettings;
use crate::store::{Entry, Meter, Subject};
use crate::tiers::ArchiveTier;

impl Cache<'_> {
    /// Returns the entry of the image that the engine has under this name, archived if it is not yet; `None` if no engine has one.
    pub(super) fn archive(&self, name: &str) -> Result<Option<Entry>, CommandError> {
        let tiers = TierSettings::resolve(&TierArgs::default(), self.settings, self.command.environment)?;
        let Ok(name) = name.parse::<ImageRef>() else { return Ok(None) };
        self.command.block_on(async {
            // Whoever names an entry that is not there may have no engine at all.
            let Ok(connection) = self.command.session.connection(None).await else { return Ok(None) };
            let Some(engine) = connection.engine.clone() else { return Ok(None) };
            let unusable = |error| CommandError::config(&error);
            let familiar = name.familiar();
            let Some(image) = engine.image(&familiar).await.map_err(unusable)? else { return Ok(None) };
            let notes = self.settings.job.notes();
            let key = notes.key_of(&image.id).map_err(|error| CommandError::config(&error))?;
            let key = key.ok_or_else(|| {
                CommandError::config_line(format!("the image {familiar} was not built by larder here"))
                    .hint("larder build --enable-cache builds and archives it")
            })?;
            let images = connection.image_store().await?;
            let tier = ArchiveTier::new(self.store.clone(), engine, images, tiers.archive_timeout);
            // An entry of the build that made it has more to say than the engine.
            if let Some(entry) = tier.entry_of(key, &image.platform, &image).await {
                return Ok(Some(entry));
            }
            let subject = Subject { title: familiar, ..Subject::default() };
            let meter = Arc::new(Meter::default());
            let archiving = tier.save(key, &image.platform, &image, subject, false, &meter);
            let kept = transfer("archiving", archiving, &meter, self.command.session, &self.printer).await?;
            let kept = kept.map_err(|error| CommandError::config(&error))?;
            warn_of(&kept.saved.faults, &self.printer);
            warn_of(&keep_within(&self.store, &self.settings.job.store, &self.printer), &self.printer);
            Ok(Some(kept.saved.entry))
        })
    }
}
