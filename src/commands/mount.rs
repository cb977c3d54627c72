//! `larder mount`: restores and saves cache mounts around a build by any program.

use super::error::CommandError;
use super::print_json;
use super::warn_of_unknown_branch;
use crate::buildkit::Client;
use crate::cli::{Format, MountArgs, MountBuildArgs, MountCommand};
use crate::commands::Invocation;
use crate::error_chain::chain;
use crate::mounts::{MountAction, Mounts, MountsReport};
use crate::output::Printer;
use crate::pipeline::carrier::Carrier;
use crate::pipeline::error::PipelineError;
use crate::pipeline::inputs::Inputs;
use crate::pipeline::reached_mounts::{Unreached, reached};
use crate::pipeline::stages::{Deadline, VisitedBuild, connected, read_inputs};
use crate::settings::{BuildSettings, SourceSettings};

pub(super) async fn run(
    args: &MountArgs,
    command: &Invocation<'_>,
    mut printer: Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (command.settings, command.environment);
    let (action, args) = match &args.command {
        MountCommand::List(args) => (MountAction::List, args),
        MountCommand::Restore(args) => (MountAction::Restore, args),
        MountCommand::Save(args) => (MountAction::Save, args),
    };
    let MountBuildArgs { build, format } = &**args;
    let build = BuildSettings::resolve(build, settings, environment)?;
    warn_of_unknown_branch(command.session, printer);
    printer.set_progress(build.progress);
    if let Some(fault) = &settings.job.cache_fault {
        printer.warn(&format!("{}; going on without it", chain(&**fault)));
    }
    // Saving has its own time limit, `--mount-timeout`.
    let deadline = Deadline::after(build.timeout.filter(|_| action != MountAction::Save));
    let mut inputs = read_inputs(&build, &settings.job).await?;
    let connection = connected(&mut inputs, &build, command.session, &printer).await?;
    let client = connection.client().map_err(PipelineError::from)?;
    let mounts = targets(&build.source, &inputs, client, printer).await?;
    let visited = VisitedBuild::new(&build, &inputs, client, &settings.job, (None, deadline));
    let carrier = Carrier::new(action, &connection, command.session, visited, &printer)?;
    let report = match action {
        MountAction::List => carrier.list(&mounts).await?,
        MountAction::Restore => carrier.restore(&mounts).await?.0,
        MountAction::Save => carrier.save(&mounts).await?,
    };
    finish(&report, *format, build.strict, printer)
}

/// Returns the cache mounts that the target of a build reaches.
async fn targets(
    source: &SourceSettings,
    inputs: &Inputs,
    client: &Client,
    printer: Printer,
) -> Result<Mounts, CommandError> {
    let (Some((name, written)), Some(text)) = (inputs.written(), inputs.built()) else {
        return Err(CommandError::config_line(
            "the Dockerfile is in a context that only the engine can read",
        )
        .hint("use --file with a Dockerfile on this machine"));
    };
    reached(client, source, text).await.map_err(|error| match error {
        Unreached::Builder(error) => (&*error).into(),
        Unreached::Dockerfile(cause, place) => {
            if let Some(mistake) = place {
                printer.message(&format!("{}\n", mistake.caret(name, written.as_str())));
            }
            CommandError::config_line(cause)
        }
    })
}

fn finish(report: &MountsReport, format: Format, strict: bool, printer: Printer) -> Result<(), CommandError> {
    for warning in &report.warnings {
        printer.warn(warning);
    }
    match (format, report.action) {
        (Format::Json, _) => print_json(printer, report)?,
        (Format::Text, MountAction::List) => super::print_text(printer, &report.text())?,
        (Format::Text, _) => printer.note(&report.text()),
    }
    match report.faults.first() {
        Some(fault) if strict => {
            Err(CommandError::cache_line(fault.message.clone())
                .hint("without --strict this is only a warning"))
        }
        _ => Ok(()),
    }
}
