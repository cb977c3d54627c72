//! `larder cache info`.

use super::super::print_result;
use super::{Cache, CommandError};
use crate::cli::InfoArgs;
use crate::output::entries::EntryInfo;

pub(super) fn run(args: &InfoArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let info = EntryInfo::new(cache.find_entry(&args.id, &census)?);
    print_result(cache.printer, args.read.format, &info, || info.text())
}
