//! The stages of a build: inputs → keys → tiers → BuildKit → ledger.
//!
//! Each stage takes the outcomes of earlier stages and returns its own. [`flow`] runs them in order.

mod archived_prefixes;
mod archiving;
mod auto_mounts;
mod cut_image;
mod deadline;
mod exported_layers;
mod foreseen;
mod graft;
mod graft_push;
mod job;
mod keyed;
mod keyed_names;
mod layers;
mod lookup;
mod made;
mod mounts;
mod place;
mod prefix;
mod prefix_index;
mod pruned_prefixes;
mod published_prefixes;
mod push;
mod record;
mod registry;
mod repeated;
mod result_file;
mod served;
mod skipped_mounts;
mod solved;
mod solving;
mod steps;
mod unfetched;
mod visited;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use self::graft::Attempt;
use self::job::Job;
use self::keyed::Keyed;
use self::lookup::Lookup;
use self::made::Made;
use self::record::{Finished, Way};
use self::served::Served;
use super::blocking::blocking;
use super::error::PipelineError;
use super::inputs::Inputs;
use super::own_files::withhold;
use super::reporter::Reporter;
use super::session::{EngineConnection, Session};
use crate::dockerfile::InstructionKind;
use crate::error_chain::chain;
use crate::ledger::{BaseRecord, BuildRecord, millis};
use crate::plan::{BuildSettings, JobSettings, Output, OutputKind};
use crate::registry::ImageRef;
use crate::store::{Entry, RunFlags};

pub(crate) use deadline::Deadline;
pub(crate) use foreseen::{Foreseen, ForeseenHit, foresee};
pub(crate) use keyed_names::KeyedNames;
pub(crate) use record::record_failed_base;
pub(super) use solving::{WAITING, show};
pub(crate) use visited::{VisitedBuild, is_of_visit};

/// The build argument that passes a base image to a Dockerfile.
pub(crate) const BASE_IMAGE: &str = "BASE_IMAGE";

/// The purpose of a build, besides its settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Purpose {
    pub(crate) base: Option<BaseRecord>,
    /// The flags that the image is run with, for its entry in the store.
    pub(crate) run: Option<RunFlags>,
    /// The number of engines that run the image, if there are several. They load it by its entry.
    pub(crate) nodes: Option<NonZeroU32>,
    /// The names that contain a key. They are given after the build.
    pub(crate) keyed: Option<Arc<KeyedNames>>,
}

pub(crate) struct Built {
    pub(crate) record: BuildRecord,
    /// The entry of the image, if it was archived or looked up.
    pub(crate) entry: Option<Entry>,
    pub(crate) names: Vec<ImageRef>,
}

/// Builds an image, unless a cache has it.
///
/// # Errors
///
/// Fails if the build or a push fails, if the user interrupts, and if a cache fails under `--strict`. The record is
/// written in each of these cases, unless the build could not start.
pub(crate) async fn build_image(
    build: &BuildSettings,
    purpose: &Purpose,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<Built, PipelineError> {
    let (clock, deadline) = (Instant::now(), Deadline::after(build.timeout));
    let mut inputs = read_inputs(build, session.settings).await?;
    if purpose.base.is_some() && !takes_base(&inputs) {
        return Err(PipelineError::TakesNoBase);
    }
    // This must come after reading the inputs, so that a file that the Dockerfile reads is not removed: that is an
    // error above.
    let dockerfile = inputs.dockerfile_path();
    for (flag, path) in [("iidfile", &build.iid_file), ("metadata-file", &build.metadata_file)] {
        path.as_ref().map_or(Ok(()), |path| result_file::clear(flag, path, dockerfile.as_deref()))?;
    }
    let connecting = Box::pin(connected_if_needed(&mut inputs, build, session, reporter));
    let connection = deadline.bound(connecting).await??;
    let job = Job::new(build, purpose, session, &inputs, &connection, reporter, deadline);
    let (job, mut finished) = Box::pin(flow(job)).await;
    let record = finished.record(&job, millis(clock.elapsed()));
    let written = record::write(&record, &job, &finished.end);
    let (entry, names) = (finished.take_entry(), finished.names(&job));
    finished.end.and(written)?;
    Ok(Built { record, entry, names })
}

/// Returns the connection to the engine, after adding the mounts of `--auto-mounts`. They depend on the base images.
pub(crate) async fn connected(
    inputs: &mut Inputs,
    build: &BuildSettings,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<Arc<EngineConnection>, PipelineError> {
    let connection = session.connection(Some(reporter)).await?;
    add_mounts(inputs, build, &connection, reporter).await?;
    Ok(connection)
}

/// Returns the connection like [`connected`], but allows a missing engine if the image is only pushed.
async fn connected_if_needed(
    inputs: &mut Inputs,
    build: &BuildSettings,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<Arc<EngineConnection>, PipelineError> {
    let is_pushed = |output: &Output| output.kind == OutputKind::Image { push: true };
    let may_need_none = build.outputs.iter().all(is_pushed) && !build.load && build.tiers.registry;
    let connection = match session.connection(Some(reporter)).await {
        Err(PipelineError::Connect(error)) if may_need_none && error.is_of_reach() => {
            reporter.note(&format!("{}; looking for the image in its registry\n", chain(&*error)));
            Arc::new(EngineConnection::without_engine(error, session.settings))
        }
        connection => connection?,
    };
    add_mounts(inputs, build, &connection, reporter).await?;
    Ok(connection)
}

async fn add_mounts(
    inputs: &mut Inputs,
    build: &BuildSettings,
    connection: &EngineConnection,
    reporter: &dyn Reporter,
) -> Result<(), PipelineError> {
    let lookup = connection.base_lookup(build, inputs);
    auto_mounts::add(inputs, build, &lookup, connection.platform().await, reporter).await
}

/// Returns `true` if the Dockerfile declares an argument for a base image before its first `FROM`, or if larder cannot
/// read the Dockerfile.
fn takes_base(inputs: &Inputs) -> bool {
    // The build itself reports syntax errors.
    let Some(Ok(dockerfile)) = inputs.written().map(|(_, text)| text.parsed()) else { return true };
    dockerfile.global_args.iter().any(|instruction| match &instruction.kind {
        InstructionKind::Arg(declared) => declared.iter().any(|(name, _)| name == BASE_IMAGE),
        _ => false,
    })
}

/// Reads the inputs of a build, without the files that larder writes. Fails if the Dockerfile explicitly uses one of
/// these files.
pub(crate) async fn read_inputs(
    build: &BuildSettings,
    settings: &JobSettings,
) -> Result<Inputs, PipelineError> {
    // Reading standard input may block.
    let source = build.source.clone();
    let inputs = blocking(move || Inputs::read(&source)).await;
    let mut inputs = inputs.map_err(|error| PipelineError::Inputs(Arc::new(error)))?;
    withhold(&mut inputs, build, (&settings.cache_dir, &settings.notes()))
        .map_err(|error| PipelineError::TakesOwn(Arc::new(error)))?;
    Ok(inputs)
}

/// Runs the stages of a build. Also returns the job, whose names may have changed.
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
            // `--timeout` only limits the time until there is an image.
            let in_time = Job { deadline: Deadline::after(None), ..job.clone() };
            let end = Box::pin(served.serve(&in_time, &keyed, keys, &lookup)).await;
            (Way::Served(served), end)
        }
        (Ok(()), ..) => match Box::pin(made(&job, &keyed, &mut lookup)).await {
            Ok((way, end)) => (way, end),
            Err(error) => (Way::None, Err(error)),
        },
    };
    (job, Finished { keyed: Some(keyed), lookup, way, end })
}

/// Makes the image that no tier has, on a prefix or with a build. Fails if neither could start.
async fn made(
    job: &Job<'_>,
    keyed: &Keyed,
    lookup: &mut Lookup,
) -> Result<(Way, Result<(), PipelineError>), PipelineError> {
    match Box::pin(job.graft(keyed, lookup)).await? {
        Attempt::Made(grafted) => return Ok((Way::Grafted(grafted), Ok(()))),
        Attempt::Left { tier, is_of_registry } => {
            lookup.tiers.push(tier);
            lookup.has_registry_failed |= is_of_registry;
        }
        Attempt::Unfit => {}
    }
    // No earlier stage has needed an engine.
    job.client()?;
    let mut made = Box::<Made>::default();
    let end = Box::pin(made.make(job, keyed, lookup)).await;
    Ok((Way::Made(made), end))
}

#[cfg(test)]
mod tests;
