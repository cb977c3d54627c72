//! `larder key`: the keys that a build with these flags has.

use serde::Serialize;

use super::build::{Inputs, Lookup, NoKeys, compute_keys, engine, input_error};
use super::error::CommandError;
use crate::buildkit::Client;
use crate::cli::{Format, KeyArgs};
use crate::key::CacheKey;
use crate::output::Printer;
use crate::registry::Login;
use crate::settings::{BuildSettings, Environment, Settings};
use crate::store::Store;

#[derive(Serialize)]
struct Output {
    schema: &'static str,
    image_key: CacheKey,
    dependency_key: CacheKey,
    unpinned: Vec<String>,
}

pub(super) async fn run(
    args: &KeyArgs,
    settings: &Settings,
    environment: &Environment,
    printer: Printer,
) -> Result<(), CommandError> {
    let build = BuildSettings::resolve(&args.build, settings, environment)?;
    let inputs = Inputs::read(&build.source).map_err(|error| input_error(&error))?;
    let client = Client::connect(&settings.endpoint).await?;
    let engine = engine(&client)?;
    let login = Login::new(&settings.docker_config);
    let lookup = Lookup { engine: engine.as_ref(), login: &login, pull: build.source.pull };
    let store = Store::new(&settings.cache_dir);
    let keys = compute_keys(&build, &inputs, &lookup, &settings.endpoint, &store, &settings.seal)
        .await
        .map_err(|error| no_keys(&error, &inputs, printer))?;
    let output = Output {
        schema: "larder.key.v1",
        image_key: keys.keys.image,
        dependency_key: keys.keys.dependency,
        unpinned: keys.unpinned,
    };
    match args.format {
        Format::Text => {
            printer.out(&format!(
                "image key: {}\ndependency key: {}\n",
                output.image_key, output.dependency_key
            ));
            if !output.unpinned.is_empty() {
                printer.warn(&format!("no digest is known of the base image {}", output.unpinned.join(", ")));
            }
        }
        Format::Json => {
            let json = serde_json::to_string_pretty(&output).map_err(|error| CommandError::config(&error))?;
            printer.out(&format!("{json}\n"));
        }
    }
    Ok(())
}

fn no_keys(error: &NoKeys, inputs: &Inputs, printer: Printer) -> CommandError {
    match (error, inputs.dockerfile_text()) {
        (NoKeys::Syntax(mistake), Some((name, text))) => {
            printer.note(&format!("{}\n", mistake.caret(name, text)));
            CommandError::config(error)
        }
        (NoKeys::Syntax(_) | NoKeys::Resolve(_), _) => CommandError::config(error),
        _ => CommandError::config(error).hint("a build of this works, but it is never an exact hit"),
    }
}
