//! The stage that runs the build: the request to BuildKit, its result, and the error if it fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use super::fetch_errors;
use super::job::Job;
use super::keyed::Keyed;
use super::layer_import::import_fault;
use super::lookup::Lookup;
use super::mounts::Restored;
use super::prefix::{Continuation, UnusablePrefix};
use super::skipped_mounts::MountingSteps;
use super::solve::{self, SolveFailure};
use super::steps::{self, StepContext};
use crate::buildkit::session::FileTarget;
use crate::buildkit::solve::ExporterResponse;
use crate::buildkit::trace::{StepKind, StepRecord, Trace, VertexTrace};
use crate::buildkit::{Ability, SolveError};
use crate::dockerfile::Dockerfile;
use crate::engine::ImageStore;
use crate::ledger::{Phase, SolveRecord, StepCountsRecord, StepEntry, TierRecord};
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::exports::{self, ExportAbilities, Exports};
use crate::pipeline::failed_build::{FailedBuild, FailureContext};
use crate::pipeline::import_watch::ImportWatch;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::withheld_files::is_own_directory;
use crate::pipeline::{inputs, request};
use crate::plan::{BuildOutput, OutputKind};
use crate::registry::ImageRef;
use crate::tiers::{LayerCaches, PrefixTier};

#[derive(Default)]
pub(super) struct Solved {
    pub(super) steps: StepCountsRecord,
    pub(super) times: Option<SolveRecord>,
    pub(super) step_list: Vec<StepEntry>,
    /// The record of the layers that the builder or a registry already had.
    pub(super) tier: Option<TierRecord>,
    pub(super) mounting_steps: MountingSteps,
    pub(super) layers: LayerCaches,
    response: ExporterResponse,
    pub(super) should_push: bool,
    /// The number of bytes of the prefix that were fetched.
    pub(super) prefix_bytes: u64,
}

impl Solved {
    /// Runs the build. Returns the fault of the prefix if the build could not continue from it.
    pub(super) async fn solve(
        &mut self,
        job: &Job<'_>,
        keyed: &Keyed,
        lookup: &Lookup,
        restored: &Restored,
        continued: Option<&Continuation>,
    ) -> Result<Option<UnusablePrefix>> {
        let product = job.client()?.product();
        let has_attestations = product.supports(Ability::Attestations);
        let store = job.connection.image_store().await?;
        let abilities = ExportAbilities { product, store };
        let exported = job.export_settings();
        let plan = || {
            exports::plan_exports(exported, &abilities, &|| job.reporter.stdout())
                .map_err(|error| PipelineError::Export(Arc::new(error)))
        };
        let exports = plan()?;
        if job.engine().is_none() && exports.exporters.is_empty() && job.build.has_default_output {
            job.reporter.warn(
                "buildkitd stores no images: the result stays in its build cache (use --push or --output to store it)",
            );
        }
        let Exports { pushes_afterwards, has_engine_image, .. } = exports;
        let ignored = lookup.runs_every_step(job);
        let mut conditions = request::RequestConditions {
            undetected_digest: keyed.keys().and_then(|keys| keys.undetected_digest),
            runs_every_step: ignored.is_some(),
            uses_engine_images: job.engine().is_some(),
            has_attestations: has_attestations && (job.engine().is_none() || store == ImageStore::Containerd),
            cache_imports: self.layers.imports(),
            dockerfile: continued.map(|continued| continued.directory.path().to_owned()),
        };
        let to_stdout = matches!(exports.target, Some(FileTarget::File(_)))
            && job.build.outputs.iter().any(|output| output.kind.is_stdout());
        let own_directory = |output: &BuildOutput| match &output.kind {
            OutputKind::Local(directory) => {
                Some(directory.clone()).filter(|own| is_own_directory(own, &job.notes))
            }
            _ => None,
        };
        let own_directories: Vec<PathBuf> = job.build.outputs.iter().filter_map(own_directory).collect();
        let builds = || job.own_earlier_builds();
        let names: Vec<String> = job.build.tags.iter().map(ImageRef::familiar).collect();
        let base = continued.map(Continuation::base);
        let watch = ImportWatch::new(&conditions.cache_imports, base, builds, &names);
        let solving = job.phases.enter(Phase::Solve);
        let (mut result, mut trace) = job.solve(exports, &conditions, to_stdout, watch).await;
        let mut period = solving.end();
        if let Some(fault) = continued.and_then(|continued| continued.fault(&result)) {
            return Ok(Some(fault));
        }
        if let Some(fault) = import_fault(&conditions.cache_imports, &result) {
            job.faults.report(&fault)?;
            conditions.cache_imports.clear();
            self.layers.discard();
            let solving = job.phases.enter(Phase::Solve);
            (result, trace) = job.solve(plan()?, &conditions, to_stdout, None).await;
            period = solving.end();
        }
        if let Err(SolveFailure::Solve(SolveError::Build(failure))) = &result
            && fetch_errors::is_removal_error(&failure.message)
        {
            job.reporter.note(
                "the engine removed a different image while it unpacked this one; unpacking it again\n",
            );
            // Every step is cached now. The first trace shows which steps ran.
            conditions.runs_every_step = false;
            let _repeating = job.phases.enter(Phase::Solve);
            (result, _) = job.solve(plan()?, &conditions, to_stdout, None).await;
        }
        let mut times = steps::solve_record(&trace, base, period.millis);
        let is_prefix = |step: &StepRecord| {
            step.kind() == StepKind::From && base.is_some_and(|base| step.name.ends_with(base))
        };
        self.prefix_bytes =
            trace.steps().iter().filter(|step| is_prefix(step)).map(StepRecord::fetched_bytes).sum();
        trace.adopt_runs(&restored.prepared);
        // Without larder, the steps of the preparation would have run in this solve.
        let all_steps = steps::solve_record(&trace, base, 0).steps_millis;
        times.millis += all_steps.saturating_sub(times.steps_millis);
        times.steps_millis = all_steps;
        self.times = Some(times);
        let text = continued.map(|continued| &continued.text).or_else(|| job.inputs.built_text());
        let dockerfile = text.and_then(|text| text.parsed().ok()).map(AsRef::as_ref);
        self.record_steps(job, &trace, lookup, (dockerfile, period.start_millis)).await?;
        if let (Some(continued), Some(keys)) = (continued, keyed.keys()) {
            self.add_prefix_steps(keys, continued, lookup);
        }
        self.mounting_steps = MountingSteps::of(&trace);
        self.response =
            result.map_err(|error| job.explain(error, &trace, keyed.input_error(), dockerfile))?;
        if has_engine_image && self.image_id().is_none() {
            return Err(PipelineError::NoImage);
        }
        own_directories.iter().try_for_each(|directory| job.note_result(directory))?;
        self.should_push = pushes_afterwards;
        Ok(None)
    }

    async fn record_steps(
        &mut self,
        job: &Job<'_>,
        trace: &Trace,
        lookup: &Lookup,
        (dockerfile, start_millis): (Option<&Dockerfile>, u64),
    ) -> Result<()> {
        let secret = job.notes.secret().map(Some);
        let secret = secret.or_else(|error| job.faults.report(&error).map(|()| None))?;
        let counts = trace.counted_steps();
        self.steps = StepCountsRecord { total: counts.total, cached: counts.cached, imported: 0 };
        let repositories = job.identity().repositories();
        let context = StepContext {
            secret,
            images: &repositories,
            has_build_args: job.has_build_args(),
            dockerfile,
            start_millis,
        };
        self.step_list = context.entries(trace);
        let noted = job.mark_imported(&self.layers, &mut self.step_list).await;
        // Images that are built at the same time may share a step.
        let imported = self.step_list.iter().filter(|step| step.imported).count();
        self.steps.imported = imported.min(self.steps.cached);
        noted?;
        let ignored = lookup.runs_every_step(job);
        let loss = lookup.losing.layers.as_ref().filter(|_| ignored.is_none());
        let tier = steps::layers_record(trace, self.steps, ignored, &self.layers, loss);
        self.tier = Some(job.report_answer(tier));
        Ok(())
    }

    /// Counts the steps of a prefix as cached, because the trace does not contain them.
    fn add_prefix_steps(&mut self, keys: &BuildKeys, continued: &Continuation, lookup: &Lookup) {
        let of_prefix = keys.steps.saturating_sub(self.steps.total);
        self.steps.total += of_prefix;
        self.steps.cached += of_prefix;
        if continued.is_imported {
            self.steps.imported += of_prefix;
        }
        // If the builder has continued from the prefix before, its own cache has these steps.
        let tier_of = |step| match lookup.builder {
            _ if !continued.is_imported => None,
            Some(builder) => builder.tier_of_step(step, PrefixTier::NAME),
            None => Some(PrefixTier::NAME),
        };
        let is_in_prefix = |stage, line| stage != continued.key.cut.stage || line <= continued.key.line;
        let spared = steps::unneeded_steps(&keys.resolution, |stage, line| {
            is_in_prefix(stage, line).then(|| tier_of((stage, line)))
        });
        let is_new = |step: &StepEntry| {
            let known = self.step_list.iter();
            !known.clone().any(|known| (&known.stage, &known.source) == (&step.stage, &step.source))
        };
        let spared: Vec<StepEntry> = spared.into_iter().filter(is_new).collect();
        self.step_list.splice(..0, spared);
    }

    pub(super) fn image_id(&self) -> Option<&str> {
        self.response.get("containerimage.digest").map(String::as_str)
    }

    /// Returns the response of the exporters, without the part that contains values of build arguments.
    pub(super) fn exporter_answers(&self) -> BTreeMap<String, Value> {
        let answers = self.response.iter().filter(|(name, _)| name.as_str() != "containerimage.buildinfo");
        answers.map(|(name, value)| (name.clone(), value.clone().into())).collect()
    }
}

impl Job<'_> {
    async fn solve(
        &self,
        exports: Exports,
        conditions: &request::RequestConditions,
        to_stdout: bool,
        watch: Option<ImportWatch>,
    ) -> (Result<ExporterResponse, SolveFailure>, Trace) {
        let login = self.registries().login().clone();
        let (request, attachments) = request::request(self.build, self.inputs, exports, login, conditions);
        let interrupts = self.session.interrupts();
        let limits = solve::SolveLimits { deadline: self.deadline, watch, interrupts };
        let display = self.reporter.steps(to_stdout);
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return (Err(SolveFailure::Solve(error.into())), Trace::default()),
        };
        solve::solve(client, request, attachments, limits, display, self.reporter).await
    }

    /// Converts a failed solve to an error for the user, after reporting the failed step.
    fn explain(
        &self,
        ended: SolveFailure,
        trace: &Trace,
        finding: Option<String>,
        built: Option<&Dockerfile>,
    ) -> PipelineError {
        let error = match ended {
            SolveFailure::TimedOut(limit) => return PipelineError::TimedOut(limit),
            SolveFailure::Import(error) => return PipelineError::cache(&error),
            SolveFailure::Solve(error) => error,
        };
        let SolveError::Build(failure) = &error else { return error.into() };
        let failed = solve::failed_vertex(failure, trace);
        solve::report_failure(failure, failed, (self.inputs, built), self.reporter);
        let output: Vec<&str> =
            failed.iter().flat_map(|vertex| vertex.last_lines()).map(|line| line.text.as_str()).collect();
        let context = FailureContext {
            vertex: failed.map(VertexTrace::name),
            output: output.join("\n"),
            context: match &self.inputs.context {
                inputs::BuildContext::Directory(directory) => Some(directory),
                _ => None,
            },
            stages: self.inputs.stage_names(),
            input_error: finding,
        };
        PipelineError::Build(FailedBuild::explained(failure, &context))
    }
}
