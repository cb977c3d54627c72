//! `larder dir`: saves and restores a directory, such as the cache of a package manager.

use std::sync::Arc;

use super::error::{CommandError, ErrorKind};
use super::{check_faults, print_json, warn_of_unknown_branch};
use crate::cli::{DirCommand, OutputFormat};
use crate::commands::CommandContext;
use crate::output::Printer;
use crate::pipeline::dir::report::DirOutcome;
use crate::pipeline::dir::{restore, save};
use crate::settings::{DirRestoreSettings, DirSaveSettings};

pub(super) async fn run(
    action: &DirCommand,
    command: &CommandContext<'_>,
    printer: Printer,
) -> Result<(), CommandError> {
    let settings = command.settings;
    let (report, format, is_strict) = match action {
        DirCommand::Save(args) => {
            let settings = DirSaveSettings::resolve(args, settings)?;
            warn_of_unknown_branch(command.session, printer);
            let is_strict = settings.dir.strict;
            (save(settings, command.session, Arc::new(printer)).await?, args.key.format, is_strict)
        }
        DirCommand::Restore(args) => {
            let settings = DirRestoreSettings::resolve(args, settings)?;
            warn_of_unknown_branch(command.session, printer);
            let is_strict = settings.dir.strict;
            (restore(settings, command.session, Arc::new(printer)).await?, args.key.format, is_strict)
        }
    };
    let is_refused = report.outcome == DirOutcome::Refused;
    match format {
        // A warning with the reason has already been printed.
        OutputFormat::Text if is_refused => {}
        OutputFormat::Text => printer.note(&report.text()),
        OutputFormat::Json => print_json(printer, &report)?,
    }
    check_faults(&report.faults, is_strict)?;
    if is_strict && is_refused {
        let reason = report.reason.as_deref().unwrap_or_default();
        return Err(CommandError::new(ErrorKind::Cache, format!("{}: {reason}", report.path)));
    }
    Ok(())
}
