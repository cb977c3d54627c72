//! `larder cache list`.

use super::super::print_json;
use super::{Cache, CommandError};
use crate::cli::Format;
use crate::output::entries::Entries;

pub(super) fn run(format: Format, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let entries = Entries::new(&census, &cache.name);
    match format {
        Format::Text => cache.printer.out(&entries.text()),
        Format::Json => print_json(cache.printer, &entries)?,
    }
    Ok(())
}
