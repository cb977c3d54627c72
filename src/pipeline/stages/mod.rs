//! The stages of a build: inputs → keys → tiers → BuildKit → ledger.
//!
//! Each stage takes the outcomes of earlier stages and returns its own. [`run_stages`] runs them in order.

mod archiving;
mod auto_mounts;
mod cache_hit;
mod cut_image;
mod deadline;
mod failure_location;
mod fetch_errors;
mod graft;
mod graft_push;
mod image_build;
mod job;
mod keyed;
mod keyed_names;
mod layer_export;
mod layer_import;
mod lookup;
mod losing_tiers;
mod mounts;
mod phases;
mod prediction;
mod prefix;
mod prefix_archiving;
mod prefix_index;
mod prefix_pruning;
mod prefix_publishing;
mod push;
mod record;
mod registry;
mod repeated_solve;
mod result_file;
mod shared_builds;
mod skipped_mounts;
mod solve;
mod solved;
mod steps;
mod stored_changes;
mod visit_request;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::timeout;

use self::auto_mounts::add_auto_mounts;
use self::cache_hit::CacheHit;
use self::graft::GraftOutcome;
use self::image_build::ImageBuild;
use self::job::Job;
use self::keyed::Keyed;
use self::lookup::Lookup;
use self::phases::PhaseClock;
use self::record::{FinishedBuild, ImageOrigin};
use self::shared_builds::FoundBuilds;
use self::stored_changes::StoredChanges;
use super::blocking::blocking;
use super::error::{PipelineError, Result};
use super::inputs::Inputs;
use super::reporter::Reporter;
use super::session::{EngineConnection, Session};
use super::withheld_files::withhold_larder_files;
use crate::dockerfile::InstructionKind;
use crate::error_chain::chain;
use crate::ledger::{BaseRecord, BuildRecord, Phase};
use crate::plan::{BuildOutput, BuildSettings, JobSettings, OutputKind};
use crate::registry::ImageRef;
use crate::store::{Entry, RunFlags};

pub(crate) use deadline::Deadline;
pub(crate) use keyed_names::KeyedNames;
pub(crate) use prediction::{CachePrediction, PredictedHit, predict};
pub(crate) use record::record_failed_base;
pub(super) use solve::{STATUS_BUFFER, show};
pub(crate) use visit_request::{VisitRequest, is_visit_step};

/// How long a finished build waits for what other agents have stored about earlier builds.
const IMPORT_GRACE: Duration = Duration::from_millis(200);
/// The build argument that passes a base image to a Dockerfile.
pub(crate) const BASE_IMAGE_ARG: &str = "BASE_IMAGE";

#[derive(Debug, Clone, Default)]
pub(crate) struct BuildPurpose {
    pub(crate) base: Option<BaseRecord>,
    /// The flags that the image is run with, for its entry in the store.
    pub(crate) run: Option<RunFlags>,
    /// The number of engines that run the image, if there are several. They load it by its entry.
    pub(crate) nodes: Option<NonZeroU32>,
    /// The names that contain a key. They are given after the build.
    pub(crate) keyed: Option<Arc<KeyedNames>>,
}

pub(crate) struct BuildResult {
    pub(crate) record: BuildRecord,
    /// The entry of the image, if it was archived or looked up.
    pub(crate) entry: Option<Entry>,
    pub(crate) names: Vec<ImageRef>,
}

/// Builds an image, unless a cache has it. The record is written even if this fails, unless the build could not start.
pub(crate) async fn build_image(
    build: &BuildSettings,
    purpose: &BuildPurpose,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<BuildResult> {
    let (phases, deadline) = (PhaseClock::start(), Deadline::after(build.timeout));
    let mut inputs = read_inputs(build, session.settings).await?;
    if purpose.base.is_some() && !declares_base_image(&inputs) {
        return Err(PipelineError::NoBaseImageArg);
    }
    // This must come after reading the inputs, so that a file that the Dockerfile reads is not removed: that is an
    // error above.
    let dockerfile = inputs.dockerfile_path();
    for (flag, path) in [("iidfile", &build.iid_file), ("metadata-file", &build.metadata_file)] {
        path.as_ref().map_or(Ok(()), |path| result_file::prepare(flag, path, dockerfile.as_deref()))?;
    }
    let connecting = Box::pin(connect_if_needed(&mut inputs, build, session, reporter));
    let connection = deadline.run(connecting).await??;
    phases.end_preparation();
    let job = Job::new(build, purpose, session, &inputs, &connection, reporter, (deadline, &phases));
    let (job, mut finished) = Box::pin(run_stages(job)).await;
    let record = finished.record(&job);
    let written = record::write(&record, &job, &finished.end);
    let may_share = !finished.lookup.has_registry_failed;
    if may_share && !finished.end.as_ref().is_err_and(PipelineError::is_before_build) {
        Box::pin(job.share_builds(&record, finished.found_builds)).await;
    }
    let (entry, names) = (finished.take_entry(), finished.names(&job));
    finished.end.and(written)?;
    Ok(BuildResult { record, entry, names })
}

/// Returns the connection to the engine, after adding the mounts of `--auto-mounts`. They depend on the base images.
pub(crate) async fn connect(
    inputs: &mut Inputs,
    build: &BuildSettings,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<Arc<EngineConnection>> {
    let connection = session.connection(Some(reporter)).await?;
    add_auto_mounts(inputs, build, &connection, reporter).await?;
    Ok(connection)
}

/// Returns the connection like [`connect`], but allows a missing engine if the image is only pushed.
async fn connect_if_needed(
    inputs: &mut Inputs,
    build: &BuildSettings,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<Arc<EngineConnection>> {
    let is_pushed = |output: &BuildOutput| output.kind == OutputKind::Image { push: true };
    let may_need_none = build.outputs.iter().all(is_pushed) && !build.load && build.tiers.registry;
    let connection = match session.connection(Some(reporter)).await {
        Err(PipelineError::Connect(error)) if may_need_none && error.is_unreachable() => {
            reporter.note(&format!("{}; looking for the image in its registry\n", chain(&*error)));
            Arc::new(EngineConnection::without_engine(error, session.settings))
        }
        connection => connection?,
    };
    add_auto_mounts(inputs, build, &connection, reporter).await?;
    Ok(connection)
}

/// Returns `true` if the Dockerfile declares an argument for a base image, or if larder cannot read it.
fn declares_base_image(inputs: &Inputs) -> bool {
    // The build itself reports syntax errors.
    let Some(Ok(dockerfile)) = inputs.user_text().map(|(_, text)| text.parsed()) else { return true };
    dockerfile.global_args.iter().any(|instruction| match &instruction.kind {
        InstructionKind::Arg(declared) => declared.iter().any(|(name, _)| name == BASE_IMAGE_ARG),
        _ => false,
    })
}

/// Reads the inputs of a build, without the files that larder writes. Fails if the Dockerfile explicitly uses one of
/// these files.
pub(crate) async fn read_inputs(build: &BuildSettings, settings: &JobSettings) -> Result<Inputs> {
    // Reading standard input may block.
    let source = build.source.clone();
    let inputs = blocking(move || Inputs::read(&source)).await;
    let mut inputs = inputs.map_err(|error| PipelineError::Inputs(Arc::new(error)))?;
    withhold_larder_files(&mut inputs, build, (&settings.cache_dir, &settings.notes()))
        .map_err(|error| PipelineError::WithheldFile(Arc::new(error)))?;
    Ok(inputs)
}

/// Runs the stages of a build. Also returns the job, whose names may have changed.
async fn run_stages(job: Job<'_>) -> (Job<'_>, FinishedBuild) {
    let (mut keyed, mut lookup, mut found_builds) = (None, Lookup::default(), FoundBuilds::default());
    let starting = async {
        if let Some(fault) = &job.settings.cache_fault {
            job.faults.report(&**fault)?;
        }
        let computing = job.phases.enter(Phase::Keys);
        keyed = Some(Keyed::compute(&job).await?);
        drop(computing);
        job.run_within_limits(async { Ok(job.with_unkeyed_name().await) }).await
    };
    let (job, started) = match Box::pin(starting).await {
        Ok(renamed) => (renamed.unwrap_or(job), Ok(())),
        Err(error) => (job, Err(error)),
    };
    let ended = match (&keyed, started) {
        (Some(keyed), Ok(())) => {
            // What other agents recorded helps to judge the tiers and the build, but is not worth waiting for.
            let making = Box::pin(find_or_make(&job, keyed, &mut lookup));
            match select(making, Box::pin(job.import_builds())).await {
                Either::Left((ended, importing)) => {
                    found_builds = timeout(IMPORT_GRACE, importing).await.unwrap_or_default();
                    ended
                }
                Either::Right((found, making)) => {
                    found_builds = found;
                    making.await
                }
            }
        }
        (_, started) => started.map(|()| (ImageOrigin::None, Ok(()))),
    };
    let (origin, end) = ended.unwrap_or_else(|error| (ImageOrigin::None, Err(error)));
    (job, FinishedBuild { keyed, lookup, origin, found_builds, end })
}

/// Finds the image in a tier, or makes it on a prefix or with a build. Fails if that could not start.
async fn find_or_make(
    job: &Job<'_>,
    keyed: &Keyed,
    lookup: &mut Lookup,
) -> Result<(ImageOrigin, Result<()>)> {
    keyed.report(job)?;
    job.run_within_limits(Box::pin(job.create_repositories())).await?;
    let looking = job.phases.enter(Phase::Lookup);
    Box::pin(lookup.run(job, keyed)).await?;
    drop(looking);
    if let Some(hit) = lookup.hit.take() {
        let mut hit = Box::new(CacheHit::new(hit));
        // `--timeout` only limits the time until there is an image.
        let in_time = Job { deadline: Deadline::after(None), ..job.clone() };
        let end = Box::pin(hit.finish(&in_time, keyed, lookup)).await;
        return Ok((ImageOrigin::CacheHit(hit), end));
    }
    lookup.prepare_build(job, keyed).await;
    let comparing = StoredChanges::start(job, keyed, lookup);
    let made = Box::pin(make(job, keyed, lookup)).await;
    if let Some(comparing) = comparing {
        lookup.changes = comparing.finish().await;
    }
    made
}

/// Makes the image on a prefix or with a build. Fails if that could not start.
async fn make(job: &Job<'_>, keyed: &Keyed, lookup: &mut Lookup) -> Result<(ImageOrigin, Result<()>)> {
    let grafting = job.phases.enter(Phase::Graft);
    let grafted = Box::pin(job.graft(keyed, lookup)).await?;
    drop(grafting);
    match grafted {
        GraftOutcome::Made(grafted) => return Ok((ImageOrigin::Grafted(grafted), Ok(()))),
        GraftOutcome::Declined { tier, is_registry_error } => {
            lookup.tiers.push(tier);
            lookup.has_registry_failed |= is_registry_error;
        }
        GraftOutcome::NotApplicable => {}
    }
    // No earlier stage has needed an engine.
    job.client()?;
    let mut build = Box::<ImageBuild>::default();
    let end = Box::pin(build.run(job, keyed, lookup)).await;
    Ok((ImageOrigin::Built(build), end))
}

#[cfg(test)]
mod tests;
