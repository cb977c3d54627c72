//! Several images of `larder.yaml`, built at the same time.

use futures_util::future::join_all;

use super::{Built, image};
use crate::cli::{BuildArgs, ProgressArg};
use crate::commands::error::CommandError;
use crate::output::Printer;
use crate::settings::{Environment, Settings};

/// Builds the images of these names, all with these flags; each tells of itself under its name.
///
/// # Errors
///
/// Fails when one of them does; the others are finished first.
pub(in crate::commands) async fn images(
    names: &[&str],
    args: &BuildArgs,
    settings: &Settings,
    environment: &Environment,
    printer: Printer,
) -> Result<Vec<Built>, CommandError> {
    check(names, args, settings)?;
    let builds = names.iter().map(|name| async move {
        let args = BuildArgs { context: (*name).to_owned(), ..args.clone() };
        let mut printer = if names.len() > 1 { printer.for_part(name) } else { printer };
        image(&args, settings, environment, &mut printer).await.map_err(|error| (printer, error))
    });
    let done = join_all(builds).await;
    if names.len() == 1 {
        return done.into_iter().map(|built| built.map_err(|(_, error)| error)).collect();
    }
    let (mut built, mut failed, mut kind) = (Vec::new(), Vec::new(), None);
    for (name, result) in names.iter().zip(done) {
        match result {
            Ok(image) => built.push(image),
            Err((printer, error)) => {
                error.tell(printer);
                failed.push(*name);
                kind.get_or_insert(error.kind);
            }
        }
    }
    match kind {
        None => Ok(built),
        Some(kind) => {
            let cause = format!("{} of {} images failed: {}", failed.len(), names.len(), failed.join(", "));
            Err(CommandError { kind, cause, hints: Vec::new() })
        }
    }
}

/// Refuses what is no image of the file, and flags that can be meant for one image only.
fn check(names: &[&str], args: &BuildArgs, settings: &Settings) -> Result<(), CommandError> {
    if let Some(unknown) = names.iter().find(|name| !settings.image_names().any(|known| known == **name)) {
        return Err(CommandError::config_line(format!(
            "only images of larder.yaml are built several at once, and `{unknown}` is none"
        ))
        .hint(known_images(settings)));
    }
    let for_one = [
        ("--tag", !args.tag.is_empty()),
        ("--file", args.source.file.is_some()),
        ("--output", !args.output.is_empty()),
        ("--iidfile", args.iidfile.is_some()),
        ("--metadata-file", args.metadata_file.is_some()),
        ("--progress=json", args.progress == Some(ProgressArg::Json)),
    ];
    match for_one.iter().find(|(_, is_given)| *is_given && names.len() > 1) {
        Some((flag, _)) => {
            Err(CommandError::config_line(format!("{flag} is for one image, not for {}", names.len()))
                .hint("build the images one after the other, or say it of each in larder.yaml"))
        }
        None => Ok(()),
    }
}

/// What could have been meant.
pub(in crate::commands) fn known_images(settings: &Settings) -> String {
    let known: Vec<&str> = settings.image_names().collect();
    if known.is_empty() {
        "images are described under `images` in larder.yaml; none are".to_owned()
    } else {
        format!("larder.yaml has {}", known.join(", "))
    }
}
