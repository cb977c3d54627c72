//! `larder key`: the keys that a build with these flags has, and what they are made of.

use std::fmt::Write as _;

use serde::Serialize;

use super::build::{BuildKeys, Inputs, Lookup, NoKeys, add_mounts, compute_keys, engine, read_inputs};
use super::connecting::connect;
use super::error::{CommandError, chain};
use super::registries::Registries;
use super::{print_json, print_text};
use crate::cli::{BuildArgs, Format, KeyArgs};
use crate::key::{CacheKey, Input};
use crate::output::Printer;
use crate::output::progress::screen_text;
use crate::settings::{BuildSettings, Environment, Settings};

#[derive(Serialize)]
struct Output {
    schema: &'static str,
    image_key: CacheKey,
    dependency_key: CacheKey,
    unpinned: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<Input>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependency_inputs: Option<Vec<Input>>,
}

pub(super) async fn run(
    args: &KeyArgs,
    settings: &Settings,
    environment: &Environment,
    printer: Printer,
) -> Result<(), CommandError> {
    let (_, BuildKeys { keys, unpinned, .. }) = keyed(&args.build, settings, environment, printer).await?;
    let published = |inputs: &[Input]| -> Option<Vec<Input>> {
        args.explain.then(|| inputs.iter().map(|input| settings.seal.publish(input)).collect())
    };
    let output = Output {
        schema: "larder.key.v1",
        image_key: keys.image,
        dependency_key: keys.dependency,
        unpinned,
        inputs: published(&keys.inputs),
        dependency_inputs: published(&keys.dependency_inputs),
    };
    match args.format {
        Format::Text => print_text(printer, &text(&output))?,
        Format::Json => print_json(printer, &output)?,
    }
    Ok(())
}

fn text(output: &Output) -> String {
    let mut text = String::new();
    let keys = [
        ("image key", output.image_key, &output.inputs),
        ("dependency key", output.dependency_key, &output.dependency_inputs),
    ];
    for (name, key, inputs) in keys {
        let _ = writeln!(text, "{name}: {key}");
        for Input { kind, name, digest, .. } in inputs.iter().flatten() {
            let _ = writeln!(text, "  {:<18} {digest}  {}", kind.name(), screen_text(name));
        }
    }
    text
}

/// The keys of the build that `args` describe; what is worth a warning is told.
pub(super) async fn keyed(
    args: &BuildArgs,
    settings: &Settings,
    environment: &Environment,
    printer: Printer,
) -> Result<(BuildSettings, BuildKeys), CommandError> {
    let build = BuildSettings::resolve(args, settings, environment)?;
    let mut inputs = read_inputs(&build, settings)?;
    let client = connect(&settings.endpoint, settings.engine_wait, Some(printer)).await?;
    let engine = engine(&client)?;
    let registries = Registries::new(settings, engine.as_ref());
    let lookup = Lookup { engine: engine.as_ref(), registries: &registries, pull: build.source.pull };
    add_mounts(&mut inputs, &build, &lookup, &settings.endpoint, printer).await?;
    let notes = settings.notes();
    let keys = compute_keys(&build, &inputs, &lookup, &settings.endpoint, &notes, &settings.seal)
        .await
        .map_err(|error| no_keys(&error, &inputs, printer))?;
    if !keys.unpinned.is_empty() {
        printer.warn(&format!("no digest is known of the base image {}", keys.unpinned.join(", ")));
    }
    for fault in &keys.faults {
        printer.warn(&format!("{}; going on without it", chain(fault)));
    }
    Ok((build, keys))
}

fn no_keys(error: &NoKeys, inputs: &Inputs, printer: Printer) -> CommandError {
    let dockerfile = inputs.dockerfile_text();
    let mistake = match error {
        NoKeys::Syntax(mistake) => Some(mistake.clone()),
        NoKeys::Resolve(fault) => dockerfile.and_then(|(_, text)| fault.place(text)),
        NoKeys::Context(_) => return CommandError::config(error).hint("a build reads the same files"),
        _ => return CommandError::config(error).hint("a build of this can work, but is never an exact hit"),
    };
    if let (Some(mistake), Some((name, text))) = (mistake, dockerfile) {
        printer.note(&format!("{}\n", mistake.caret(name, text)));
    }
    CommandError::config(error)
}
