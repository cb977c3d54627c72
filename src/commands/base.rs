//! `larder base build`, and `larder build --base`: an image with the dependencies, built once for all that stand on it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::built;
use super::error::{CommandError, ErrorKind};
use super::key::{Keyed, keyed};
use super::{print_json, print_text};
use crate::buildkit::session::new_id;
use crate::cli::{BaseArgs, BaseBuildArgs, BaseCommand, BuildArgs, Format, ProgressArg};
use crate::commands::Invocation;
use crate::digest::Digest;
use crate::engine::Image;
use crate::error_chain::chain;
use crate::key::{Input, InputKind};
use crate::ledger::{BaseOutcome, BaseRecord, millis};
use crate::output::Printer;
use crate::pipeline::error::PipelineError;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::session::EngineConnection;
use crate::pipeline::stages::{KeyedNames, Purpose};
use crate::registry::{ImageRef, RegistryError, within};
use crate::settings::{BuildSettings, ContextSource, ProgressMode, base_repository};
use crate::tiers::Tags;

/// How long a registry may take to say whether it has a base.
const DEADLINE: Duration = Duration::from_secs(30);
/// What a base is called that has no repository.
const LOCAL: &str = "larder-base";

#[derive(Serialize)]
struct Output<'a> {
    schema: &'static str,
    #[serde(flatten)]
    base: &'a BaseRecord,
}

pub(super) async fn run(
    args: &BaseArgs,
    command: &Invocation<'_>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (command.settings, command.environment);
    let BaseCommand::Build(args) = &args.command;
    let BaseBuildArgs { build, repo, requirements, format } = &**args;
    refuse_ends(build)?;
    let repository = base_repository(("repo", repo.as_deref()), settings, environment)?;
    let is_kept = repository.is_some() && !settings.job.store.terms.read_only;
    printer.speak(ProgressMode::resolve(build, settings, environment)?);
    let printer = *printer;
    let (base, failed) = ensure(build, repository, requirements, command, printer).await?;
    if let Some(error) = failed {
        return Err(error);
    }
    if base.outcome == BaseOutcome::Built && !is_kept {
        printer.note("the base image is in this engine alone\n");
    }
    match format {
        Format::Text => print_text(printer, &format!("{}\n", base.reference)),
        Format::Json => print_json(printer, &Output { schema: "larder.base.v1", base: &base }),
    }
}

/// A base goes where others find it, and is named by its key.
fn refuse_ends(build: &BuildArgs) -> Result<(), CommandError> {
    let ends = [
        ("--tag", !build.tag.is_empty()),
        ("--output", !build.output.is_empty()),
        ("--push", build.push),
        ("--load", build.load),
        ("--metadata-file", build.metadata_file.is_some()),
        ("--iidfile", build.iidfile.is_some()),
    ];
    match ends.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(CommandError::config_line(format!("{flag} is not for base images"))
            .hint("--repo names where it goes, its key is its tag, and --format json tells more")),
    }
}

/// Finds the base image that these flags describe, or builds it and puts it where others find it. Also answers why it could
/// not be pushed, where it is in the engine all the same.
pub(super) async fn ensure(
    args: &BuildArgs,
    repository: Option<ImageRef>,
    requirements: &[String],
    command: &Invocation<'_>,
    printer: Printer,
) -> Result<(BaseRecord, Option<CommandError>), CommandError> {
    let (clock, settings) = (Instant::now(), command.settings);
    let Keyed { build, keys, connection, .. } = keyed(args, command, printer).await?;
    let files = if requirements.is_empty() { None } else { named_files(requirements, &build, printer)? };
    let inputs = files.as_ref().map(|files| files.iter().map(NamedFile::input).collect());
    let key = keys.keys.base(inputs, &settings.job.seal).map_err(|error| CommandError::config(&error))?;
    let platform = keys.platforms[0].clone();
    let files = files.into_iter().flatten().map(|file| (file.place, file.digest)).collect();
    let inputs = BaseInputs { keys, files, has_images: connection.engine.is_some() };
    let record = |reference, outcome| BaseRecord { reference, outcome, key, millis: millis(clock.elapsed()) };
    let done = |reference, outcome| (record(reference, outcome), None);
    let tags = Tags::of(&settings.job.lanes.lanes).of_base(key);
    // Neither an age nor a signature is known of what is found.
    let is_strict = settings.job.store.terms.trust.is_strict() || settings.job.store.limits.max_age.is_some();
    let takes_found = build.runs_every_step().is_none() && !is_strict;
    let Some(repository) = repository else {
        let local: ImageRef = LOCAL.parse().expect("it is a name");
        let mut newest: Option<(Option<Timestamp>, ImageRef)> = None;
        for tag in tags.iter().filter(|_| takes_found) {
            let name = tagged(&local, tag)?;
            let found = engine_image(&name, &connection).await?;
            if let Some(image) = found.filter(|image| is_newer(image.created, newest.as_ref())) {
                newest = Some((image.created, name));
            }
        }
        if let Some((_, name)) = newest {
            printer.note(&format!("the base image is in the engine: {}\n", name.familiar()));
            return Ok(done(name.familiar(), BaseOutcome::Found));
        }
        let name = tagged(&local, &tags[0])?;
        let name = build_as((&name, &unkeyed(&local)?), false, args, inputs, command, printer).await?;
        return Ok(done(name.familiar(), BaseOutcome::Built));
    };
    if takes_found {
        match found(&repository, &tags, &platform, &connection).await {
            Ok(Some(name)) => {
                printer.note(&format!("the base image is in its registry: {}\n", name.familiar()));
                return Ok(done(name.familiar(), BaseOutcome::Found));
            }
            Ok(None) => {}
            Err(error) if build.strict => return Err(PipelineError::cache(&error).into()),
            Err(error) => {
                printer.warn(&format!("{}; {}; building the base image", chain(&error), error.remedy()));
            }
        }
    }
    let (name, unkeyed) = (tagged(&repository, &tags[0])?, unkeyed(&repository)?);
    let is_pushed = !settings.job.store.terms.read_only;
    let name = match build_as((&name, &unkeyed), is_pushed, args, inputs, command, printer).await {
        Ok(name) => name,
        Err(error) if build.strict || error.kind != ErrorKind::Push || connection.engine.is_none() => {
            return Err(error);
        }
        Err(error) => {
            for name in [unkeyed, name] {
                if engine_image(&name, &connection).await?.is_some() {
                    return Ok((record(name.familiar(), BaseOutcome::Built), Some(error)));
                }
            }
            return Err(error);
        }
    };
    // By its digest, so that whatever is pushed later is no part of what stands on it.
    let pinned = match name.tag().map(str::to_owned) {
        Some(tag) if is_pushed => found(&repository, &[tag], &platform, &connection).await.ok().flatten(),
        _ => None,
    };
    Ok(done(pinned.unwrap_or(name).familiar(), BaseOutcome::Built))
}

/// Returns `true` if a base that was built at `built` is newer than the newest one that was found before it. A rebuild by the
/// trunk replaces a base of this job's own.
fn is_newer<T>(built: Option<Timestamp>, newest: Option<&(Option<Timestamp>, T)>) -> bool {
    newest.is_none_or(|(newest, _)| *newest < built)
}

/// Where the base is, under the newest of these tags.
async fn found(
    repository: &ImageRef,
    tags: &[String],
    platform: &str,
    connection: &EngineConnection,
) -> Result<Option<ImageRef>, RegistryError> {
    let look = async {
        let mut place = connection.registries.repository(repository).await?;
        let mut newest = None;
        for tag in tags {
            let Some(manifest) = place.manifest(tag).await? else { continue };
            let built = place.image(&manifest, platform).await?.and_then(|image| image.created);
            if is_newer(built, newest.as_ref()) {
                newest = repository.with_tag(tag).map(|name| (built, name.pinned(manifest.digest)));
            }
        }
        Ok(newest.map(|(_, name)| name))
    };
    within(repository.host(), DEADLINE, Box::pin(look)).await
}

async fn engine_image(name: &ImageRef, connection: &EngineConnection) -> Result<Option<Image>, CommandError> {
    let Some(engine) = &connection.engine else {
        return Err(CommandError::config_line("a buildkitd keeps no images for others to stand on")
            .hint("name a repository: --repo, or --base-repo of larder build"));
    };
    engine.image(&name.familiar()).await.map_err(|error| CommandError::build(chain(&error)))
}

/// What the key of a base image was computed from.
struct BaseInputs {
    keys: BuildKeys,
    files: Vec<(PathBuf, Digest)>,
    has_images: bool,
}

/// Builds the image as `name`, or as `unkeyed` if the inputs change meanwhile; returns which of them it is.
async fn build_as(
    (name, unkeyed): (&ImageRef, &ImageRef),
    push: bool,
    args: &BuildArgs,
    BaseInputs { keys, files, has_images }: BaseInputs,
    command: &Invocation<'_>,
    printer: Printer,
) -> Result<ImageRef, CommandError> {
    let progress = if args.quiet { Some(ProgressArg::Quiet) } else { args.progress };
    let mut args =
        BuildArgs { tag: vec![name.to_string()], push, load: !push, quiet: false, progress, ..args.clone() };
    let local: ImageRef = LOCAL.parse().expect("it is a name");
    if name.repository() != local.repository() && args.tiers.cache_repo.is_none() {
        // Who pushes nothing takes layers from there all the same.
        args.tiers.cache_repo = Some(name.repository());
    }
    let build = BuildSettings::resolve(&args, command.settings, command.environment)?;
    printer.note(&format!("building the base image {}\n", name.familiar()));
    let names = KeyedNames::new(&build, unkeyed.clone(), (keys, files), has_images);
    let purpose = Purpose { keyed: Some(Arc::new(names)), ..Purpose::default() };
    let given = Box::pin(built(&build, &purpose, command.session, printer)).await?.names;
    Ok(given.into_iter().next().unwrap_or_else(|| name.clone()))
}

/// Returns a name that no other image has and that carries no key.
fn unkeyed(repository: &ImageRef) -> Result<ImageRef, CommandError> {
    let id = new_id().map_err(|error| CommandError::config(&error))?;
    tagged(repository, &format!("unkeyed-{}", &id[..16]))
}

fn tagged(repository: &ImageRef, tag: &str) -> Result<ImageRef, CommandError> {
    repository.with_tag(tag).ok_or_else(|| CommandError::config_line(format!("{tag} cannot be a tag")))
}

/// A file that counts because it was named.
struct NamedFile {
    name: String,
    place: PathBuf,
    digest: Digest,
}

impl NamedFile {
    fn input(&self) -> Input {
        Input::with_digest(InputKind::File, &self.name, self.digest)
    }
}

/// Reads the files that alone count.
fn named_files(
    paths: &[String],
    build: &BuildSettings,
    printer: Printer,
) -> Result<Option<Vec<NamedFile>>, CommandError> {
    let ContextSource::Directory(directory) = &build.source.context else {
        return Err(CommandError::config_line(
            "--requirements names files of a directory, and the context is none",
        ));
    };
    let mut files = Vec::new();
    for path in paths {
        let file = Path::new(directory).join(path);
        match std::fs::read(&file) {
            Ok(bytes) => {
                files.push(NamedFile { name: path.clone(), place: file, digest: Digest::of(&bytes) });
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                printer.warn(&format!(
                    "--requirements: cannot read {}: {}; all that the Dockerfile takes of the context decides",
                    file.display(),
                    chain(&error)
                ));
                return Ok(None);
            }
            Err(error) => {
                let cause = format!("--requirements: cannot read {}: {}", file.display(), chain(&error));
                return Err(CommandError::config_line(cause).hint("paths are relative to the build context"));
            }
        }
    }
    Ok(Some(files))
}

/// The arguments of the base that `args` are to stand on: the same context and the same surroundings.
pub(super) fn args_of_base(dockerfile: &str, args: &BuildArgs) -> BuildArgs {
    let mut base = BuildArgs {
        context: args.context.clone(),
        source: args.source.clone(),
        steps: args.steps.clone(),
        no_cache: args.no_cache,
        force_rebuild: args.force_rebuild,
        // Standard output is for the image that stands on it.
        progress: if args.quiet { Some(ProgressArg::Quiet) } else { args.progress },
        timeout: args.timeout.clone(),
        strict: args.strict,
        tiers: args.tiers.clone(),
        carry: args.carry.clone(),
        create_repository: args.create_repository,
        provenance: args.provenance.clone(),
        sbom: args.sbom.clone(),
        ..BuildArgs::default()
    };
    base.source.file = Some(dockerfile.to_owned());
    base.source.target = None;
    base
}
