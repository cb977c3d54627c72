//! `larder cache list`.

use super::super::{print_json, print_text};
use super::{Cache, CommandError};
use crate::cli::Format;
use crate::output::entries::Entries;

pub(super) fn run(format: Format, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let entries = Entries::new(&census, &cache.name);
    match format {
        Format::Text => print_text(cache.printer, &entries.text())?,
        Format::Json => print_json(cache.printer, &entries)?,
    }
    Ok(())
}
