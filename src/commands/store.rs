//! The store that the settings name.

use std::sync::Arc;

use super::error::{CommandError, chain};
use crate::output::Printer;
use crate::settings::Settings;
use crate::store::backend::Directory;
use crate::store::{LAYOUT, Store, StoreError};

/// Opens the store; nothing is read yet.
pub(super) fn open(settings: &Settings) -> Result<Store, CommandError> {
    let local = Arc::new(Directory::new(&settings.cache_dir.join(LAYOUT)));
    let remote = settings.store.remote.as_ref().map(|(url, how)| url.below(LAYOUT).open(how)).transpose();
    let remote = remote.map_err(|error| {
        CommandError::config(&error)
            .hint("correct --remote or LARDER_REMOTE, or leave it out to use this machine's cache alone")
    })?;
    Ok(Store::new(local, remote, settings.store.terms.clone()))
}

/// Warns of what went wrong in the store beside what was done.
pub(super) fn warn_of(faults: &[StoreError], printer: Printer) {
    for fault in faults {
        printer.warn(&chain(fault));
    }
}
