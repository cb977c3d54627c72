//! `larder cache push`.

use super::super::error::CommandError;
use super::super::print_json;
use super::carry::amounts;
use super::{Cache, fault};
use crate::amounts::count;
use crate::cli::Format;
use crate::pipeline::session::store::warn_of;
use crate::store::Sent;

pub(super) fn run(format: Format, cache: &Cache<'_>) -> Result<(), CommandError> {
    let sent = cache.store.send_all(&|entry| {
        let manifest = &entry.manifest;
        let (kind, title) = (manifest.address.kind, &manifest.subject.title);
        cache.printer.note(&format!("{} contains {}: {kind} {title}\n", cache.name, entry.short_id()));
    });
    let Sent { carried, faults } = sent.map_err(|error| fault(&error))?;
    warn_of(&faults, &cache.printer);
    cache.printer.note(&format!("sent {} to {}\n", amounts(carried), cache.name));
    if format == Format::Json {
        print_json(cache.printer, &carried)?;
    }
    match faults.first() {
        None => Ok(()),
        Some(error) => {
            let mut command = fault(error);
            command.cause = format!("{} not sent", count(faults.len(), "entry was", "entries were"));
            Err(command)
        }
    }
}
