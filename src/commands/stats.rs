//! `larder stats`: prints statistics of the last builds, writes a report of them, checks thresholds, and compares two
//! builds.

use std::path::Path;

use jiff::Timestamp;

use super::error::{CommandError, ErrorKind};
use super::{CommandContext, print_json, print_text};
use crate::amounts::count;
use crate::cli::{StatsArgs, StatsFormat, ThresholdArgs};
use crate::error_chain::chain;
use crate::ledger::{self, BuildRecord, CiJobRecord, Ledger};
use crate::output::Printer;
use crate::output::report::{self, CacheContents};
use crate::output::stats::{Comparison, Limits, Stats, label};
use crate::settings::Settings;
use crate::store::StoreLocation;

/// The number of builds in which the two of `--compare` are looked for.
const MAX_COMPARED: usize = 10_000;

pub(super) fn run(
    args: &StatsArgs,
    command: &CommandContext<'_>,
    printer: Printer,
) -> Result<(), CommandError> {
    let settings = command.settings;
    if let Some(compared) = &args.compare {
        return compare(compared, args, settings, printer);
    }
    let last = usize::try_from(args.last).unwrap_or(usize::MAX);
    let builds = read(args, last, settings, printer)?.builds;
    if builds.is_empty() {
        check_selection(args, settings)?;
    }
    let notes = settings.job.notes();
    let bytes = notes.bytes().map_err(|error| CommandError::config(&error))?;
    let stats = Stats::new(&builds, notes.directory(), bytes, limits(args.thresholds));
    match args.format {
        StatsFormat::Text => print_text(printer, &stats.text()),
        StatsFormat::Json => print_json(printer, &stats),
        StatsFormat::Markdown => print_text(printer, &stats.markdown()),
        StatsFormat::Junit => print_text(printer, &stats.junit()),
        StatsFormat::Openmetrics => print_text(printer, &stats.openmetrics()),
    }?;
    if let Some(directory) = &args.html {
        write_report(&stats, directory, command)?;
        let page = directory.join(report::PAGE);
        printer.note(&format!("the report is in {}\n", page.display()));
    }
    let mut missed = Vec::new();
    for threshold in stats.thresholds() {
        match threshold.is_met {
            Some(true) => {}
            Some(false) => missed.push(threshold.text.clone()),
            None => printer.warn(&format!("not checked: {}", threshold.text)),
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(CommandError::new(ErrorKind::Threshold, missed.join("; "))) }
}

/// Fails if the flags select none of the builds in the ledger, so that a wrong name does not meet every threshold.
fn check_selection(args: &StatsArgs, settings: &Settings) -> Result<(), CommandError> {
    let flags = [("image", &args.image), ("branch", &args.branch), ("build", &args.build)];
    let given: Vec<String> =
        flags.iter().filter_map(|(flag, value)| Some(format!("--{flag} {}", value.as_deref()?))).collect();
    let path = settings.job.notes().ledger_path();
    let last = ledger::read(&path, 1, |_| true).map_err(|error| CommandError::config(&error))?.builds;
    let (Some(last), false) = (last.first(), given.is_empty()) else { return Ok(()) };
    let branch = last.job.as_ref().and_then(|job| job.branch.as_ref());
    let branch = branch.or_else(|| last.lanes.as_ref().map(|lanes| &lanes.own));
    let image = last.repositories.first().map(|image| format!(" of {image}")).unwrap_or_default();
    let branch = branch.map(|branch| format!(" on {branch}")).unwrap_or_default();
    Err(CommandError::config_line(format!("no build matches {}", given.join(" ")))
        .hint(format!("the last one, {}, is{image}{branch}", label(last))))
}

fn write_report(
    stats: &Stats<'_>,
    directory: &Path,
    command: &CommandContext<'_>,
) -> Result<(), CommandError> {
    let files = report::render(stats, &contents(command), Timestamp::now());
    report::write(directory, &files).map_err(|error| {
        CommandError::config(&error).hint("--html takes a directory that this user may create or write to")
    })
}

/// Lists what is in the local cache. That it cannot be read is part of the report.
fn contents(command: &CommandContext<'_>) -> CacheContents {
    let unknown = |reason: String| CacheContents::Unknown { reason };
    match command.session.store() {
        Err(error) => unknown(chain(&error)),
        Ok(store) => match store.census(StoreLocation::Local) {
            Err(error) => unknown(chain(&error)),
            Ok((census, faults)) => CacheContents::new(&census, faults.len()),
        },
    }
}

/// Reads the last builds that the flags select.
fn read(
    args: &StatsArgs,
    last: usize,
    settings: &Settings,
    printer: Printer,
) -> Result<Ledger, CommandError> {
    let this = settings.job.ci.as_ref();
    let number = match args.build.as_deref() {
        Some("this") => {
            let number = this.and_then(|job| job.number.as_deref());
            Some(number.ok_or_else(|| {
                CommandError::config_line("the number of this build is not known: no CI system has set it")
                    .hint("name a build by its number, or count the last ones with --last")
            })?)
        }
        other => other,
    };
    let is_wanted = |build: &BuildRecord| {
        let job = build.job.as_ref();
        let is_of_build = |number: &str| {
            let is_this_job = || {
                let name = |job: &CiJobRecord| (job.system.clone(), job.job.clone());
                args.build.as_deref() != Some("this") || job.map(name) == this.map(name)
            };
            job.is_some_and(|job| job.number.as_deref() == Some(number)) && is_this_job()
        };
        args.image.as_ref().is_none_or(|image| build.is_of_image(image))
            && args.branch.as_ref().is_none_or(|branch| build.is_of_branch(branch))
            && number.is_none_or(is_of_build)
    };
    let path = settings.job.notes().ledger_path();
    let ledger = ledger::read(&path, last, is_wanted).map_err(|error| CommandError::config(&error))?;
    if ledger.unreadable > 0 {
        let unreadable = count(ledger.unreadable, "line of the ledger is", "lines of the ledger are");
        printer.warn(&format!("{unreadable} not readable and not counted"));
    }
    Ok(ledger)
}

fn limits(args: ThresholdArgs) -> Limits {
    let ThresholdArgs { min_hit_rate, max_cache_gb, max_restore_seconds, min_saved_seconds } = args;
    Limits { min_hit_rate, max_cache_gb, max_restore_seconds, min_saved_seconds }
}

fn compare(
    compared: &[String],
    args: &StatsArgs,
    settings: &Settings,
    printer: Printer,
) -> Result<(), CommandError> {
    let builds = read(args, MAX_COMPARED, settings, printer)?.builds;
    let find = |name: &String| {
        let is_of_number = |build: &&BuildRecord| {
            build.job.as_ref().and_then(|job| job.number.as_ref()).is_some_and(|number| number == name)
        };
        let found = match name.as_str() {
            "last" => builds.last(),
            "previous" => builds.len().checked_sub(2).and_then(|place| builds.get(place)),
            _ => builds.iter().rev().find(is_of_number),
        };
        found.ok_or_else(|| {
            CommandError::config_line(format!("the ledger has no build `{name}`"))
                .hint("name builds by their numbers in the CI system, or `last` and `previous`")
        })
    };
    let [before, after] = compared else { unreachable!("clap requires two values") };
    let comparison = Comparison::new(find(before)?, find(after)?);
    match args.format {
        StatsFormat::Text => print_text(printer, &comparison.text()),
        StatsFormat::Json => print_json(printer, &comparison),
        _ => Err(CommandError::config_line("--compare supports only the formats text and json")),
    }
}
