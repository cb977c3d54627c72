//! `larder cache list`.

use super::super::print_result;
use super::{Cache, CommandError};
use crate::cli::OutputFormat;
use crate::output::entries::EntryList;

pub(super) fn run(format: OutputFormat, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let entries = EntryList::new(&census, &cache.name);
    print_result(cache.printer, format, &entries, || entries.text())
}
