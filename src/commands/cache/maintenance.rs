//! `larder cache evict`, `clear` and `verify`.

use std::io::{self, BufRead, IsTerminal};

use jiff::Timestamp;

use super::super::error::ErrorKind;
use super::super::print_result;
use super::{Cache, CommandError};
use crate::cli::{ClearArgs, EvictArgs, OutputFormat, VerifyArgs};
use crate::digest::Digest;
use crate::output::eviction::EvictionReport;
use crate::output::verification::VerificationReport;
use crate::pipeline::transfers::transfer_on_thread;
use crate::store::EvictionSelection;

pub(super) fn evict(args: &EvictArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    if args.ids.is_empty() {
        return remove(EvictionSelection::OverLimits(cache.limits()), args.dry_run, args.read.format, cache);
    }
    let census = cache.census()?;
    let ids: Vec<Digest> =
        cache.find_entries(&args.ids, &census)?.iter().map(|listed| listed.entry.id).collect();
    remove(EvictionSelection::Ids(&ids), args.dry_run, args.read.format, cache)
}

pub(super) fn clear(args: &ClearArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    if !args.yes && !is_confirmed(cache)? {
        cache.printer.note("nothing was removed\n");
        return Ok(());
    }
    remove(EvictionSelection::All, false, args.read.format, cache)
}

fn remove(
    victims: EvictionSelection<'_>,
    dry_run: bool,
    format: OutputFormat,
    cache: &Cache<'_>,
) -> Result<(), CommandError> {
    let swept = cache.store.evict(cache.place, victims, dry_run, Timestamp::now())?;
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

pub(super) fn verify(args: &VerifyArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let total = cache.census()?.bytes_stored;
    let what = format!("verifying {}", cache.name);
    let verified = transfer_on_thread(&what, total, &cache.printer, |progress| {
        cache.store.verify(cache.place, args.repair, progress)
    })?;
    let report = VerificationReport::new(&verified, args.repair);
    print_result(cache.printer, args.read.format, &report, || report.text())?;
    if report.is_undamaged() {
        return Ok(());
    }
    let (cause, hint) = if args.repair {
        (
            "the cache was damaged, and some entries could not be repaired",
            "incomplete entries were set aside; later builds save them again",
        )
    } else {
        (
            "the cache is damaged",
            "larder cache verify --repair copies chunks from the other store and sets incomplete entries aside",
        )
    };
    Err(CommandError::new(ErrorKind::Cache, cause).hint(hint))
}
