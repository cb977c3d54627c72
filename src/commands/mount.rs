//! `larder mount`: carrying cache mounts around a build by any command.

use super::build::{Inputs, input_error};
use super::carry::Carrier;
use super::error::CommandError;
use super::print_json;
use crate::buildkit::Client;
use crate::cli::{Format, MountArgs, MountBuildArgs, MountCommand};
use crate::dockerfile::{Dockerfile, Options};
use crate::mounts::{Mounts, mounts};
use crate::output::Printer;
use crate::output::mounts::{MountAction, MountsReport};
use crate::settings::{BuildSettings, Environment, Settings, SourceSettings};

pub(super) async fn run(
    args: &MountArgs,
    settings: &Settings,
    environment: &Environment,
    printer: Printer,
) -> Result<(), CommandError> {
    let (action, args) = match &args.command {
        MountCommand::List(args) => (MountAction::List, args),
        MountCommand::Restore(args) => (MountAction::Restore, args),
        MountCommand::Save(args) => (MountAction::Save, args),
    };
    let MountBuildArgs { build, format } = &**args;
    let build = BuildSettings::resolve(build, settings, environment)?;
    let inputs = Inputs::read(&build.source).map_err(|error| input_error(&error))?;
    let client = Client::connect(&settings.endpoint).await?;
    let mounts = targets(&build.source, &inputs, &client, printer).await?;
    let carrier = Carrier::new(action, &client, settings, &build.mounts, printer)?;
    let report = match action {
        MountAction::List => carrier.list(&mounts).await?,
        MountAction::Restore => carrier.restore(&mounts).await?,
        MountAction::Save => carrier.save(&mounts).await?,
    };
    finish(&report, *format, build.strict, printer)
}

/// The cache mounts that the target of a build reaches.
pub(super) async fn targets(
    source: &SourceSettings,
    inputs: &Inputs,
    client: &Client,
    printer: Printer,
) -> Result<Mounts, CommandError> {
    let Some((name, text)) = inputs.dockerfile_text() else {
        return Err(CommandError::config_line(
            "the Dockerfile is in a context that only the engine can read",
        )
        .hint("name a Dockerfile of this machine with --file"));
    };
    let (os, architecture) = client.platform().await?;
    let options = Options {
        target: source.target.clone(),
        build_args: source.build_args.clone(),
        platform: source.platforms.first().cloned(),
        build_platform: format!("{os}/{architecture}"),
        named_contexts: source.named_contexts.keys().cloned().collect(),
        triggers: std::collections::BTreeMap::new(),
    };
    let mistake = |mistake: &crate::dockerfile::SyntaxError| {
        printer.note(&format!("{}\n", mistake.caret(name, text)));
    };
    let dockerfile = Dockerfile::parse(text).map_err(|error| {
        mistake(&error);
        CommandError::config_line("the Dockerfile has an error")
    })?;
    let resolution = dockerfile.resolve(&options).map_err(|error| {
        error.place(text).iter().for_each(mistake);
        CommandError::config(&error)
    })?;
    Ok(mounts(&resolution, &source.build_args))
}

fn finish(report: &MountsReport, format: Format, strict: bool, printer: Printer) -> Result<(), CommandError> {
    match (format, report.action) {
        (Format::Json, _) => print_json(printer, report)?,
        (Format::Text, MountAction::List) => super::print_text(printer, &report.text())?,
        (Format::Text, _) => printer.note(&report.text()),
    }
    match report.faults.first() {
        Some(fault) if strict => Err(CommandError::cache_line(fault.message.clone())
            .hint("without --strict the cache is done without")),
        _ => Ok(()),
    }
}
