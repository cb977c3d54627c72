//! `larder base build`, and `larder build --base`: builds an image with the dependencies once, as the base of others.

use serde::Serialize;

use super::error::CommandError;
use super::{CommandContext, print_result, warn_of_unknown_branch};
use crate::cli::{BaseBuildArgs, BaseCommand, BuildArgs, ProgressArg};
use crate::ledger::{BaseOutcome, BaseRecord};
use crate::output::Printer;
use crate::pipeline::base_image::{BaseImageRequest, ensure_base};
use crate::registry::ImageRef;
use crate::settings::{BuildSettings, Environment, ProgressMode, Settings, SettingsError, base_repository};

#[derive(Serialize)]
struct BaseOutput<'a> {
    schema: &'static str,
    #[serde(flatten)]
    base: &'a BaseRecord,
}

pub(super) async fn run(
    BaseCommand::Build(args): &BaseCommand,
    command: &CommandContext<'_>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (command.settings, command.environment);
    let BaseBuildArgs { build, repo, requirements, format } = &**args;
    refuse_result_flags(build)?;
    let repository = base_repository(("repo", repo.as_ref()), settings)?;
    let is_kept = repository.is_some() && !settings.job.store.terms.read_only;
    printer.set_progress(ProgressMode::resolve(build, settings));
    warn_of_unknown_branch(command.session, *printer);
    let build = resolve(build, repository.as_ref(), settings, environment)?;
    let wanted = BaseImageRequest { build: &build, repository, requirements };
    let (base, failed) = ensure_base(wanted, command.session, printer).await?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if base.outcome == BaseOutcome::Built && !is_kept {
        printer.note("the base image is only in this engine\n");
    }
    let output = BaseOutput { schema: "larder.base.v1", base: &base };
    print_result(*printer, *format, &output, || format!("{}\n", base.reference))
}

/// Resolves the build of a base image. Its layers are cached in its own repository unless the flag sets a different
/// one, because in the configured `cache_repo` they would replace the layers of the images that are built on it.
pub(super) fn resolve(
    args: &BuildArgs,
    repository: Option<&ImageRef>,
    settings: &Settings,
    environment: &Environment,
) -> Result<BuildSettings, SettingsError> {
    let mut build = BuildSettings::resolve(args, settings, environment)?;
    if args.tiers.cache_repo.is_none() && repository.is_some() {
        build.tiers.cache_repo = repository.cloned();
    }
    Ok(build)
}

/// Refuses flags for results: a base is stored in the engine or a repository and is named by its key.
fn refuse_result_flags(build: &BuildArgs) -> Result<(), CommandError> {
    let ends = [
        ("--tag", !build.image.tag.is_empty()),
        ("--output", !build.output.is_empty()),
        ("--push", build.push),
        ("--load", build.load),
        ("--metadata-file", build.metadata_file.is_some()),
        ("--iidfile", build.iidfile.is_some()),
    ];
    match ends.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(CommandError::config_line(format!("{flag} cannot be used with a base image"))
            .hint("--repo sets the repository, the tag is the image's key, and --format json prints more details")),
    }
}

/// Returns the arguments for the base of the build `args`, with the same context and options.
pub(super) fn base_args(dockerfile: &str, args: &BuildArgs) -> BuildArgs {
    let mut base = BuildArgs {
        context: args.context.clone(),
        source: args.source.clone(),
        steps: args.steps.clone(),
        image: args.image.clone(),
        tiers: args.tiers.clone(),
        cache_mounts: args.cache_mounts.clone(),
        create_repository: args.create_repository,
        provenance: args.provenance.clone(),
        sbom: args.sbom.clone(),
        ..BuildArgs::default()
    };
    base.source.file = Some(dockerfile.to_owned());
    base.source.target = None;
    base.image.tag.clear();
    if args.quiet {
        // Standard output is reserved for the id of the image that is built on the base.
        base.image.progress = Some(ProgressArg::Quiet);
    }
    base
}
