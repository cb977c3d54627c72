//! `larder cache info`.

use super::super::{print_json, print_text};
use super::{Cache, CommandError};
use crate::cli::{Format, InfoArgs};
use crate::output::entries::EntryInfo;

pub(super) fn run(args: &InfoArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let info = EntryInfo::new(cache.one(&args.id, &census)?);
    match args.read.format {
        Format::Text => print_text(cache.printer, &info.text())?,
        Format::Json => print_json(cache.printer, &info)?,
    }
    Ok(())
}
