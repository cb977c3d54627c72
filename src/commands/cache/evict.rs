//! `larder cache evict` and `larder cache clear`.

use std::io::{self, BufRead, IsTerminal};

use jiff::Timestamp;

use super::super::print_result;
use super::{Cache, CommandError, store_error};
use crate::cli::{ClearArgs, EvictArgs, OutputFormat};
use crate::digest::Digest;
use crate::output::eviction::EvictionReport;
use crate::store::EvictionSelection;

pub(super) fn run(args: &EvictArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    if args.ids.is_empty() {
        return evict(EvictionSelection::OverLimits(cache.limits()), args.dry_run, args.read.format, cache);
    }
    let census = cache.census()?;
    let ids: Vec<Digest> =
        cache.find_entries(&args.ids, &census)?.iter().map(|listed| listed.entry.id).collect();
    evict(EvictionSelection::Ids(&ids), args.dry_run, args.read.format, cache)
}

pub(super) fn clear(args: &ClearArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    if !args.yes && !is_confirmed(cache)? {
        cache.printer.note("nothing was removed\n");
        return Ok(());
    }
    evict(EvictionSelection::All, false, args.read.format, cache)
}

fn evict(
    victims: EvictionSelection<'_>,
    dry_run: bool,
    format: OutputFormat,
    cache: &Cache<'_>,
) -> Result<(), CommandError> {
    let swept = cache.store.evict(cache.place, victims, dry_run, Timestamp::now());
    let swept = swept.map_err(|error| store_error(&error))?;
    let eviction = EvictionReport::new(&swept, dry_run);
    print_result(cache.printer, format, &eviction, || eviction.text())
}

fn is_confirmed(cache: &Cache<'_>) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        let cause = "clear requires a confirmation, but standard input is not a terminal";
        return Err(CommandError::config_line(cause).hint("add -y to remove everything without confirmation"));
    }
    let count = cache.census()?.entries.len();
    let entries = if count == 1 { "the 1 entry".to_owned() } else { format!("all {count} entries") };
    cache.printer.note(&format!("Remove {entries} from {}? [y/N] ", cache.name));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| CommandError::config(&error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
