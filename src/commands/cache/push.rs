//! `larder cache push`.

use super::super::error::CommandError;
use super::super::print_json;
use super::transfer::format_amounts;
use super::{Cache, store_error};
use crate::amounts::count;
use crate::cli::OutputFormat;
use crate::pipeline::session::store::warn_of_faults;
use crate::store::SendReport;

pub(super) fn run(format: OutputFormat, cache: &Cache<'_>) -> Result<(), CommandError> {
    let sent = cache.store.send_all(&|entry| {
        let manifest = &entry.manifest;
        let (kind, title) = (manifest.address.kind, &manifest.subject.title);
        cache.printer.note(&format!("{} contains {}: {kind} {title}\n", cache.name, entry.short_id()));
    });
    let SendReport { carried, faults } = sent.map_err(|error| store_error(&error))?;
    warn_of_faults(&faults, &cache.printer);
    cache.printer.note(&format!("sent {} to {}\n", format_amounts(carried), cache.name));
    if format == OutputFormat::Json {
        print_json(cache.printer, &carried)?;
    }
    match faults.first() {
        None => Ok(()),
        Some(error) => {
            let mut command = store_error(error);
            command.cause = format!("{} not sent", count(faults.len(), "entry was", "entries were"));
            Err(command)
        }
    }
}
