//! The stages of a build: settings → inputs → keys → tiers → BuildKit → ledger → summary.
//!
//! Each takes what the ones before it came to and returns an outcome of its own; [`flow`] is their order.

mod archiving;
mod auto_mounts;
mod deadline;
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
mod served;
mod solved;
mod solving;
mod steps;
mod unneeded;
mod visited;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use super::error::CommandError;
use super::session::{EngineConnection, Session};
use super::speak;
use super::store::warn_of_unknown_branch;
use crate::dockerfile::InstructionKind;
use crate::ledger::{BaseRecord, BuildRecord, millis};
use crate::output::Printer;
use crate::pipeline::blocking::blocking;
use crate::pipeline::inputs::InputError;
use crate::pipeline::own_files::withhold;
use crate::registry::ImageRef;
use crate::settings::{BuildSettings, Settings};
use crate::store::{Entry, RunFlags};
use job::Job;
use keyed::Keyed;
use lookup::Lookup;
use made::Made;
use record::{Finished, Way};
use served::Served;

pub(super) use crate::pipeline::explain::{Explanation, Identity, Past};
pub(super) use crate::pipeline::inputs::Inputs;
pub(super) use crate::pipeline::keys::{BuildKeys, NoKeys, compute as compute_keys, options};
pub(super) use deadline::Deadline;
pub(super) use foreseen::{Foreseen, ForeseenHit, foresee};
pub(super) use keyed_names::KeyedNames;
pub(super) use record::record_failed_base;
pub(super) use solving::{Progress, show};
pub(super) use visited::{VisitedBuild, is_of_visit};

/// The build argument that a base image is handed on by.
pub(super) const BASE_IMAGE: &str = "BASE_IMAGE";

/// What an image is built for.
#[derive(Debug, Clone, Default)]
pub(super) struct Purpose {
    /// The base image, if larder built it before.
    pub(super) base: Option<BaseRecord>,
    /// How the image is run, as its entry records it.
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
    let mut inputs = read_inputs(build, settings).await?;
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
    let lookup = connection.base_lookup(build, inputs);
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
pub(super) async fn read_inputs(build: &BuildSettings, settings: &Settings) -> Result<Inputs, CommandError> {
    // Standard input may take its time.
    let source = build.source.clone();
    let mut inputs = blocking(move || Inputs::read(&source)).await.map_err(|error| input_error(&error))?;
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
    let mut lookup = Lookup::default();
    let job = match job.bound(async { Ok(job.renamed().await) }).await {
        Ok(renamed) => renamed.unwrap_or(job),
        Err(error) => return (job, Finished { keyed: Some(keyed), lookup, way: Way::None, end: Err(error) }),
    };
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
            // --timeout bounds what comes before an image is there.
            let in_time = Job { deadline: Deadline::after(None), ..job.clone() };
            let end = Box::pin(served.serve(&in_time, &keyed, keys, &lookup)).await;
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
