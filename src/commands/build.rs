//! `larder build`: builds one image, optionally with its base image, or several of `larder.yaml`.

use super::base::{base_args, resolve as resolve_base};
use super::concurrent_builds::{self, NamedBuild, build_images};
use super::error::CommandError;
use super::{CommandContext, build_one};
use crate::cli::{BuildArgs, BuildCommandArgs};
use crate::error_chain::chain;
use crate::output::Printer;
use crate::pipeline::base_image::{BaseImageRequest, ensure_base};
use crate::pipeline::stages::{BASE_IMAGE_ARG, BuildPurpose, record_failed_base};
use crate::settings::{BuildSettings, ProgressMode, base_repository};

pub(super) async fn run(
    args: &BuildCommandArgs,
    command: &CommandContext<'_>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (command.settings, command.environment);
    let BuildCommandArgs { build, more, base, base_repo, base_requirements } = args;
    // Set before other flags are resolved, because it also applies to their errors.
    printer.set_progress(ProgressMode::resolve(build, settings));
    if more.is_empty() {
        let mut resolved = BuildSettings::resolve(build, settings, environment)?;
        let mut purpose = BuildPurpose::default();
        if let Some(dockerfile) = base {
            let repository = base_repository(("base-repo", base_repo.as_ref()), settings)?;
            if build.source.build_arg.iter().any(|given| is_base_image(given)) {
                return Err(CommandError::config_line(format!(
                    "--base and --build-arg {BASE_IMAGE_ARG} cannot be combined"
                ))
                .hint("--base sets BASE_IMAGE itself: remove one of the two flags"));
            }
            let of_base = base_args(dockerfile, build);
            let of_base = resolve_base(&of_base, repository.as_ref(), settings, environment)?;
            let wanted = BaseImageRequest { build: &of_base, repository, requirements: base_requirements };
            let (base, failed) = match Box::pin(ensure_base(wanted, command.session, printer)).await {
                Ok(made) => made,
                Err(error) => {
                    if let Some(path) = &resolved.metadata_file {
                        record_failed_base(path, &error)?;
                    }
                    return Err(error.into());
                }
            };
            if let Some(error) = failed {
                // The built image can be used here, even if it cannot be pushed.
                printer.warn(&format!("{}; continuing with the image in the engine", chain(&error)));
            }
            resolved.source.build_args.insert(BASE_IMAGE_ARG.to_owned(), base.reference.clone());
            purpose.base = Some(base);
        }
        return build_one(&resolved, &purpose, command.session, *printer).await.map(drop);
    }
    if base.is_some() {
        return Err(CommandError::config_line("--base supports a single image, but several are given")
            .hint("larder base build prints a reference for --build-arg BASE_IMAGE=…"));
    }
    let names: Vec<&str> = [&build.context].into_iter().chain(more).map(String::as_str).collect();
    concurrent_builds::check_names_and_flags(&names, build, settings)?;
    let mut builds = Vec::new();
    for name in names {
        let args = BuildArgs { context: name.to_owned(), ..build.clone() };
        let build = BuildSettings::resolve(&args, settings, environment)?;
        builds.push(NamedBuild { name: name.to_owned(), build, purpose: BuildPurpose::default() });
    }
    build_images(&builds, command.session, *printer).await.map(drop)
}

fn is_base_image(given: &str) -> bool {
    given.split('=').next() == Some(BASE_IMAGE_ARG)
}
