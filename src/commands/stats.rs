//! `larder stats`: prints statistics of the last builds.

use super::error::CommandError;
use super::print_result;
use crate::amounts::count;
use crate::cli::StatsArgs;
use crate::ledger;
use crate::output::Printer;
use crate::output::stats::Stats;
use crate::settings::Settings;

pub(super) fn run(args: &StatsArgs, settings: &Settings, printer: Printer) -> Result<(), CommandError> {
    let notes = settings.job.notes();
    let ledger = ledger::read(&notes.ledger_path()).map_err(|error| CommandError::config(&error))?;
    if ledger.unreadable > 0 {
        let unreadable = count(ledger.unreadable, "line of the ledger is", "lines of the ledger are");
        printer.warn(&format!("{unreadable} not readable and not counted"));
    }
    let bytes = notes.bytes().map_err(|error| CommandError::config(&error))?;
    let last = usize::try_from(args.last).unwrap_or(usize::MAX);
    let stats = Stats::new(&ledger.builds, last, notes.directory(), bytes);
    print_result(printer, args.format, &stats, || stats.text())
}
