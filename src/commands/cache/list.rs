//! `larder cache list`.

use super::super::print_result;
use super::{Cache, CommandError};
use crate::cli::Format;
use crate::output::entries::Entries;

pub(super) fn run(format: Format, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let entries = Entries::new(&census, &cache.name);
    print_result(cache.printer, format, &entries, || entries.text())
}
