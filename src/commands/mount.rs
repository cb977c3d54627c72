//! `larder mount`: restores and saves cache mounts around a build by any program.

use super::error::CommandError;
use super::{check_faults, print_json, print_text, warn_of_unknown_branch};
use crate::buildkit::Client;
use crate::cli::{MountCommand, OutputFormat, ReportArgs};
use crate::commands::CommandContext;
use crate::error_chain::chain;
use crate::mounts::{MountAction, Mounts};
use crate::output::Printer;
use crate::pipeline::error::PipelineError;
use crate::pipeline::inputs::{Inputs, NOT_LOCAL};
use crate::pipeline::mount_transfer::MountTransfer;
use crate::pipeline::reached_mounts::{ReachedMountsError, reached_mounts};
use crate::pipeline::stages::{Deadline, VisitRequest, connect, read_inputs};
use crate::settings::{BuildSettings, SourceSettings};

pub(super) async fn run(
    action: &MountCommand,
    command: &CommandContext<'_>,
    mut printer: Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (command.settings, command.environment);
    let (action, args) = match action {
        MountCommand::List(args) => (MountAction::List, args),
        MountCommand::Restore(args) => (MountAction::Restore, args),
        MountCommand::Save(args) => (MountAction::Save, args),
    };
    let ReportArgs { build, format } = &**args;
    let build = BuildSettings::resolve(build, settings, environment)?;
    warn_of_unknown_branch(command.session, printer);
    printer.set_progress(build.progress);
    if let Some(fault) = &settings.job.cache_fault {
        printer.warn(&format!("{}; going on without it", chain(&**fault)));
    }
    // Saving has its own time limit, `--mount-timeout`.
    let deadline = Deadline::after(build.timeout.filter(|_| action != MountAction::Save));
    let mut inputs = read_inputs(&build, &settings.job).await?;
    let connection = connect(&mut inputs, &build, command.session, &printer).await?;
    let client = connection.client().map_err(PipelineError::from)?;
    let mounts = target_mounts(&build.source, &inputs, client, printer).await?;
    let visited = VisitRequest::new(&build, &inputs, client, &settings.job, (None, deadline));
    let carrier = MountTransfer::new(action, &connection, command.session, visited, &printer)?;
    let report = match action {
        MountAction::List => carrier.list(&mounts).await?,
        MountAction::Restore => carrier.restore(&mounts).await?.0,
        MountAction::Save => carrier.save(&mounts).await?,
    };
    report.warnings.iter().for_each(|warning| printer.warn(warning));
    match (format, action) {
        (OutputFormat::Json, _) => print_json(printer, &report)?,
        (OutputFormat::Text, MountAction::List) => print_text(printer, &report.text())?,
        (OutputFormat::Text, _) => printer.note(&report.text()),
    }
    check_faults(&report.faults, build.strict)
}

async fn target_mounts(
    source: &SourceSettings,
    inputs: &Inputs,
    client: &Client,
    printer: Printer,
) -> Result<Mounts, CommandError> {
    let (Some((name, written)), Some(text)) = (inputs.user_text(), inputs.built_text()) else {
        return Err(CommandError::config_line(NOT_LOCAL).hint("use --file with a Dockerfile on this machine"));
    };
    reached_mounts(client, source, text).await.map_err(|error| match error {
        ReachedMountsError::Builder(error) => (&*error).into(),
        ReachedMountsError::Dockerfile(cause, place) => {
            if let Some(mistake) = place {
                printer.message(&format!("{}\n", mistake.caret(name, written.as_str())));
            }
            CommandError::config_line(cause)
        }
    })
}
