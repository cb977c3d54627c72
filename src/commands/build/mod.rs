//! `larder build`: settings → inputs → keys → tiers → BuildKit → ledger → summary.

mod archiving;
mod auto_mounts;
mod foreseen;
mod job;
mod kept_layers;
mod keyed;
mod keyed_names;
mod layers;
mod lookup;
mod made;
mod mounts;
mod place;
mod push;
mod record;
mod registry;
mod result_file;
mod run;
mod served;
mod several;
mod solved;
mod steps;
mod unneeded;
mod visited;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::base::{args_of_base, ensure};
use super::error::CommandError;
use super::session::{EngineConnection, Session};
use super::speak;
use super::store::warn_of_unknown_branch;
use crate::cli::{BuildArgs, BuildCommandArgs};
use crate::dockerfile::InstructionKind;
use crate::ledger::{BaseRecord, BuildRecord, millis};
use crate::output::Printer;
use crate::pipeline::inputs::InputError;
use crate::pipeline::own_files::withhold;
use crate::registry::ImageRef;
use crate::settings::{BuildSettings, ProgressMode, Settings, base_repository};
use crate::store::{Entry, RunFlags};
use job::Job;
use keyed::Keyed;
use lookup::Lookup;
use made::Made;
use record::{Finished, Way, record_failed_base};
use served::Served;

pub(super) use crate::pipeline::explain::{Explanation, Identity, Past};
pub(super) use crate::pipeline::inputs::Inputs;
pub(super) use crate::pipeline::keys::{BuildKeys, NoKeys, compute as compute_keys, options};
pub(super) use foreseen::{Foreseen, ForeseenHit, foresee};
pub(super) use keyed_names::KeyedNames;
pub(super) use run::{Deadline, Progress, show};
pub(super) use several::{NamedBuild, images, known_images};
pub(super) use visited::{VisitedBuild, is_of_visit};

/// The build argument that a base image is handed on by.
const BASE_IMAGE: &str = "BASE_IMAGE";

pub(super) async fn run(
    args: &BuildCommandArgs,
    session: &Session<'_>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (session.settings, session.environment);
    let BuildCommandArgs { build, more, base, base_repo, base_requirements } = args;
    if more.is_empty() {
        let mut build = build.clone();
        let mut purpose = Purpose::default();
        if let Some(dockerfile) = base {
            speak(printer, ProgressMode::resolve(&build, settings, environment)?);
            let repository = base_repository(("base-repo", base_repo.as_deref()), settings, environment)?;
            let of_base = args_of_base(dockerfile, &build);
            if build.source.build_arg.iter().any(|given| is_base_image(given)) {
                return Err(CommandError::config_line(format!("--base, and --build-arg {BASE_IMAGE}"))
                    .hint("--base hands its image on as BASE_IMAGE: leave one of the two out"));
            }
            let making = ensure(&of_base, repository, base_requirements, session, *printer);
            let (base, failed) = match Box::pin(making).await {
                Ok(made) => made,
                Err(error) => {
                    if let Some(path) =
                        build.metadata_file.as_deref().filter(|_| !error.kind.is_before_build())
                    {
                        record_failed_base(path, &error)?;
                    }
                    return Err(error);
                }
            };
            if let Some(error) = failed {
                // An image that is built and cannot be pushed is of use here all the same.
                printer.warn(&format!("{}; going on with what the engine has", error.cause));
            }
            build.source.build_arg.push(format!("{BASE_IMAGE}={}", base.reference));
            purpose.base = Some(base);
        }
        let build = BuildSettings::resolve(&build, settings, environment)?;
        return image(&build, &purpose, session, printer).await.map(drop);
    }
    if base.is_some() {
        return Err(CommandError::config_line("--base is for one image, and several are named")
            .hint("larder base build prints a reference that --build-arg BASE_IMAGE=… takes"));
    }
    let names: Vec<&str> = [&build.context].into_iter().chain(more).map(String::as_str).collect();
    several::check(&names, build, settings)?;
    let mut builds = Vec::new();
    for name in names {
        let args = BuildArgs { context: name.to_owned(), ..build.clone() };
        let build = BuildSettings::resolve(&args, settings, environment)?;
        builds.push(NamedBuild { name: name.to_owned(), build, purpose: Purpose::default() });
    }
    images(&builds, session, *printer).await.map(drop)
}

/// Whether a build argument, as it was typed, is the base image.
fn is_base_image(given: &str) -> bool {
    given.split('=').next() == Some(BASE_IMAGE)
}

/// What an image is built for.
#[derive(Debug, Clone, Default)]
pub(super) struct Purpose {
    /// The image that it stands on, if that was made before.
    pub(super) base: Option<BaseRecord>,
    /// How it is to be run, which its entry is to tell.
    pub(super) run: Option<RunFlags>,
    /// The number of engines that it is to be run on, if there are several: then it is handed to them by its entry.
    pub(super) nodes: Option<NonZeroU32>,
    /// Its names carry a key, and are given after the build.
    pub(super) keyed: Option<Arc<KeyedNames>>,
}

/// What a build came to.
pub(super) struct Built {
    pub(super) record: BuildRecord,
    /// The entry that holds the image, where it was kept or looked for.
    pub(super) entry: Option<Entry>,
    /// The names that it has.
    pub(super) names: Vec<ImageRef>,
}

/// Builds, unless a cache has the image.
pub(super) async fn image(
    build: &BuildSettings,
    purpose: &Purpose,
    session: &Session<'_>,
    printer: &mut Printer,
) -> Result<Built, CommandError> {
    let settings = session.settings;
    let (clock, deadline) = (Instant::now(), Deadline::after(build.timeout));
    speak(printer, build.progress);
    if let (Some(tag), true) =
        (build.source.key_tags.iter().find(|tag| is_like_a_name(tag)), build.tags.is_empty())
    {
        printer.warn(&format!(
            "--tags {tag} names no image, but is a word in its key and what larder.yaml's images are selected by: did you mean --tag {tag}?"
        ));
    }
    warn_of_unknown_branch(settings, *printer);
    let mut inputs = read_inputs(build, settings)?;
    if purpose.base.is_some() && !takes_base(&inputs) {
        return Err(CommandError::config_line("the Dockerfile does not take the base image")
            .hint("begin it with ARG BASE_IMAGE and FROM ${BASE_IMAGE}"));
    }
    // Only now: what the Dockerfile takes is not removed, but refused above.
    let dockerfile = inputs.dockerfile_path();
    for (flag, path) in [("iidfile", &build.iid_file), ("metadata-file", &build.metadata_file)] {
        path.as_ref().map_or(Ok(()), |path| result_file::clear(flag, path, dockerfile.as_deref()))?;
    }
    let connecting = Box::pin(connected(&mut inputs, build, session, *printer));
    let connection = deadline.bound(connecting).await??;
    let job = Job::new(build, purpose, session, &inputs, &connection, *printer, deadline);
    let (job, mut finished) = Box::pin(flow(job)).await;
    let record = finished.record(&job, millis(clock.elapsed()));
    let written = record::write(&record, &job, &finished.end);
    let (entry, names) = (finished.take_entry(), finished.names(&job));
    finished.end.and(written)?;
    Ok(Built { record, entry, names })
}

/// Returns the connection to the engine, after adding the mounts of `--auto-mounts` to the Dockerfile: they depend on the base
/// images.
pub(super) async fn connected(
    inputs: &mut Inputs,
    build: &BuildSettings,
    session: &Session<'_>,
    printer: Printer,
) -> Result<Arc<EngineConnection>, CommandError> {
    let connection = session.connection(Some(printer)).await?;
    let lookup = connection.base_lookup(build);
    auto_mounts::add(inputs, build, &lookup, &connection.client, printer).await?;
    Ok(connection)
}

/// Returns `true` if a word reads like the name of an image.
fn is_like_a_name(tag: &str) -> bool {
    tag.contains([':', '/']) && tag.parse::<ImageRef>().is_ok()
}

/// Returns `false` if larder can read the Dockerfile and it has no argument for a base image where `FROM` sees it.
fn takes_base(inputs: &Inputs) -> bool {
    // What is wrong with it the build reports.
    let Some(Ok(dockerfile)) = inputs.written().map(|(_, text)| text.parsed()) else { return true };
    dockerfile.global_args.iter().any(|instruction| match &instruction.kind {
        InstructionKind::Arg(declared) => declared.iter().any(|(name, _)| name == BASE_IMAGE),
        _ => false,
    })
}

/// Finds what a build reads, without files of larder.
pub(super) fn read_inputs(build: &BuildSettings, settings: &Settings) -> Result<Inputs, CommandError> {
    let mut inputs = Inputs::read(&build.source).map_err(|error| input_error(&error))?;
    withhold(&mut inputs, build, (&settings.cache_dir, &settings.notes())).map_err(|error| {
        CommandError::config(&error)
            .hint("leave it out of COPY, ADD and mounts, or move it out of the build context")
    })?;
    Ok(inputs)
}

fn input_error(error: &InputError) -> CommandError {
    let hint = match error {
        InputError::NoDockerfile(_) => {
            "name it with --file, or give the directory that holds it as the build context"
        }
        InputError::EmptyStdin | InputError::TwoDockerfiles => {
            "larder build - < Dockerfile, or --file - with a directory"
        }
        InputError::Dockerfile(..) | InputError::IgnoreFile(..) => "check the file and its permissions",
        InputError::NotText(_) => {
            "save it as UTF-8; file and iconv tell and change what a file is written in"
        }
        InputError::Stdin(_) => "larder build - reads a tar archive or a Dockerfile from stdin",
    };
    CommandError::config(error).hint(hint)
}

/// The flow of a build: each stage takes what the ones before it came to.
async fn flow(job: Job<'_>) -> (Job<'_>, Finished) {
    if let Some(fault) = &job.settings.cache_fault
        && let Err(error) = job.faults.report(&**fault)
    {
        return (job, Finished::early(error));
    }
    let keyed = match Keyed::of(&job).await {
        Ok(keyed) => keyed,
        Err(error) => return (job, Finished::early(error)),
    };
    let job = job.renamed().await.unwrap_or(job);
    let mut lookup = Lookup::default();
    let looked = async {
        keyed.report(&job)?;
        job.bound(Box::pin(job.create_repositories())).await?;
        lookup.ask(&job, &keyed).await
    };
    let looked = Box::pin(looked).await;
    let (way, end) = match (looked, lookup.hit.take(), keyed.keys()) {
        (Err(error), ..) => (Way::None, Err(error)),
        (Ok(()), Some(hit), Some(keys)) => {
            let mut served = Box::new(Served::new(hit));
            let end = Box::pin(served.serve(&job, &keyed, keys, &lookup)).await;
            (Way::Served(served), end)
        }
        (Ok(()), ..) => {
            let mut made = Box::<Made>::default();
            let end = Box::pin(made.make(&job, &keyed, &lookup)).await;
            (Way::Made(made), end)
        }
    };
    (job, Finished { keyed: Some(keyed), lookup, way, end })
}
