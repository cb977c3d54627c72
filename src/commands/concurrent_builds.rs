//! Builds several images of `larder.yaml` concurrently.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::build_one;
use super::error::CommandError;
use crate::cli::BuildArgs;
use crate::output::Printer;
use crate::pipeline::session::Session;
use crate::pipeline::stages::{BuildPurpose, BuildResult};
use crate::settings::{BuildSettings, ProgressMode, Settings};

pub(super) struct NamedBuild {
    pub(super) name: String,
    pub(super) build: BuildSettings,
    pub(super) purpose: BuildPurpose,
}

/// Builds images, with the name as prefix of messages if there are several. If one fails, the others are finished
/// first.
pub(super) async fn build_images(
    builds: &[NamedBuild],
    session: &Session<'_>,
    printer: Printer,
) -> Result<Vec<BuildResult>, CommandError> {
    if builds.len() > 1 && builds.iter().any(|named| named.build.progress == ProgressMode::Json) {
        return Err(single_image_error("progress in JSON", builds.len()));
    }
    let mut names = BTreeMap::new();
    for NamedBuild { name, build, .. } in builds {
        for tag in &build.tags {
            if let Some(other) = names.insert(tag.familiar(), name) {
                let tag = tag.familiar();
                return Err(CommandError::config_line(format!(
                    "{other} and {name} have the same name {tag}"
                ))
                .hint("give each image different `names` in larder.yaml, and list each image once"));
            }
        }
    }
    let running = builds.iter().map(|NamedBuild { name, build, purpose }| async move {
        let printer = if builds.len() > 1 { printer.for_part(name) } else { printer };
        build_one(build, purpose, session, printer).await.map_err(|error| (printer, error))
    });
    let done = join_all(running).await;
    let (mut built, mut failed, mut kind) = (Vec::new(), Vec::new(), None);
    for (NamedBuild { name, .. }, result) in builds.iter().zip(done) {
        match result {
            Ok(image) => built.push(image),
            Err((_, error)) if builds.len() == 1 => return Err(error),
            Err((printer, error)) => {
                error.print(printer);
                failed.push(name.as_str());
                kind.get_or_insert(error.kind);
            }
        }
    }
    match kind {
        None => Ok(built),
        Some(kind) => {
            let cause = format!("{} of {} images failed: {}", failed.len(), builds.len(), failed.join(", "));
            Err(CommandError::new(kind, cause))
        }
    }
}

/// Returns an error for names that are not images of the file, and for flags that apply to one image only.
pub(super) fn check_names_and_flags(
    names: &[&str],
    args: &BuildArgs,
    settings: &Settings,
) -> Result<(), CommandError> {
    if let Some(unknown) = names.iter().find(|name| !settings.image_names().any(|known| known == **name)) {
        return Err(CommandError::config_line(format!(
            "only images of larder.yaml can be built together, and `{unknown}` is not one of them"
        ))
        .hint(known_images_hint(settings)));
    }
    let for_one_only = [
        ("--tag", !args.image.tag.is_empty()),
        ("--file", args.source.file.is_some()),
        ("--output", !args.output.is_empty()),
        ("--iidfile", args.iidfile.is_some()),
        ("--metadata-file", args.metadata_file.is_some()),
    ];
    match for_one_only.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(single_image_error(flag, names.len())),
        None => Ok(()),
    }
}

fn single_image_error(what: &str, count: usize) -> CommandError {
    CommandError::config_line(format!("{what} supports a single image, but {count} are given"))
        .hint("build the images one at a time, or configure each image in larder.yaml")
}

pub(super) fn known_images_hint(settings: &Settings) -> String {
    let known: Vec<&str> = settings.image_names().collect();
    if known.is_empty() {
        "larder.yaml defines no images; add them under `images`".to_owned()
    } else {
        format!("larder.yaml defines {}", known.join(", "))
    }
}
