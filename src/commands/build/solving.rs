//! The build itself: what BuildKit is asked, what it did, and what is told when it fails.

use std::path::PathBuf;

use super::exports::{self, Abilities, Exports};
use super::import_watch::ImportWatch;
use super::own_files::is_own_directory;
use super::run::{self, Ended};
use super::{BuildKeys, Job, inputs, layers, request, steps};
use crate::buildkit::session::FileTarget;
use crate::buildkit::solve::ExporterResponse;
use crate::buildkit::trace::{Trace, VertexTrace};
use crate::buildkit::{Ability, SolveError};
use crate::commands::error::{Circumstances, CommandError};
use crate::engine::ImageStore;
use crate::ledger::{self, Outcome};
use crate::settings::OutputKind;

impl Job<'_> {
    /// Runs the build; answers whether to push.
    pub(super) async fn build_it(&mut self, keys: Option<&BuildKeys>) -> Result<bool, CommandError> {
        let attestable = self.client.product().can(Ability::Attestations);
        let store = self.connection.image_store().await?;
        let abilities = Abilities { product: self.client.product(), store };
        let exported = self.exported();
        let plan = || {
            exports::plan(exported, &abilities)
                .map_err(|error| CommandError::config(&error).hint(error.hint()))
        };
        let exports = plan()?;
        if self.engine.is_none() && exports.exporters.is_empty() && self.build.default_output {
            self.printer.warn(
                "buildkitd keeps no images: the result stays in its build cache (--push or --output keep it)",
            );
        }
        let Exports { push_after, engine_image, .. } = exports;
        let mut conditions = request::Conditions {
            ambiguous: keys.and_then(|keys| keys.ambiguous),
            every_step: self.runs_every_step().is_some(),
            engine_images: self.engine.is_some(),
            attestations: attestable && (self.engine.is_none() || store == ImageStore::Containerd),
            cache_imports: self.layers.imports(),
        };
        let to_stdout = matches!(exports.target, Some(FileTarget::File(_)))
            && self.build.outputs.iter().any(|output| output.kind.is_stdout());
        let progress = run::Progress::new(self.build.progress, self.settings, to_stdout, self.printer);
        let made: Vec<PathBuf> = (self.build.outputs.iter())
            .filter_map(|output| match &output.kind {
                OutputKind::Local(directory) => Some(directory),
                _ => None,
            })
            .filter(|directory| is_own_directory(directory, &self.notes))
            .cloned()
            .collect();
        let builds = || ledger::last_builds(&self.notes.ledger_path()).unwrap_or_default();
        let watch = ImportWatch::new(&conditions.cache_imports, builds, &self.record.names);
        let (mut result, mut trace) = self.solve(exports, &conditions, &progress, watch).await;
        if let Some(fault) = layers::import_fault(&conditions.cache_imports, &result) {
            self.cache_fault(&fault)?;
            conditions.cache_imports.clear();
            self.layers.give_up();
            (result, trace) = self.solve(plan()?, &conditions, &progress, None).await;
        }
        trace.credit(&self.prepared);
        self.note_steps(&trace).await?;
        self.note_mounting_steps(&trace);
        match result {
            Ok(response) => {
                if engine_image && !response.contains_key("containerimage.digest") {
                    return Err(CommandError::build("the engine built, but named no image"));
                }
                self.note_response(&response);
                for directory in made {
                    self.note_result(&directory)?;
                }
                Ok(push_after)
            }
            Err(error) => Err(self.explain(error, &trace)),
        }
    }

    async fn solve(
        &self,
        exports: Exports,
        conditions: &request::Conditions,
        progress: &run::Progress,
        watch: Option<ImportWatch>,
    ) -> (Result<ExporterResponse, Ended>, Trace) {
        let login = self.registries.login().clone();
        let (request, attachments) = request::request(self.build, self.inputs, exports, login, conditions);
        let interrupts = self.session.interrupts();
        let limits = run::Limits { deadline: self.deadline, watch, interrupts };
        run::solve(self.client, request, attachments, progress, limits, self.printer).await
    }

    /// Notes what was built.
    fn note_response(&mut self, response: &ExporterResponse) {
        self.record.outcome = Outcome::Built;
        // What some engines report of the build itself holds the values of its arguments.
        let told = response.iter().filter(|(name, _)| name.as_str() != "containerimage.buildinfo");
        self.record.more = told.map(|(name, value)| (name.clone(), value.clone().into())).collect();
        self.record.image_id = response.get("containerimage.digest").cloned();
    }

    async fn note_steps(&mut self, trace: &Trace) -> Result<(), CommandError> {
        let secret = match self.notes.secret() {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.cache_fault(&error)?;
                None
            }
        };
        self.record.steps = steps::counts(trace);
        self.record.step_list =
            steps::entries(trace, secret, &self.identity().repositories(), self.shows_values());
        self.note_imported_steps().await?;
        let ignored = self.runs_every_step();
        self.answered(steps::layers(trace, self.record.steps, ignored, &self.layers));
        Ok(())
    }

    /// Turns a failed solve into what the user is told, after showing the step that failed.
    fn explain(&self, ended: Ended, trace: &Trace) -> CommandError {
        let error = match ended {
            Ended::TimedOut(limit) => return run::took_longer(limit),
            Ended::Import(error) => return CommandError::cache(&error),
            Ended::Solve(error) => error,
        };
        let SolveError::Build(failure) = &error else { return error.into() };
        let failed = run::failed_vertex(failure, trace);
        if let Some(report) = run::failure_report(failure, failed, self.inputs) {
            self.printer.message(&format!("{}\n", report.trim_end()));
        }
        let output: Vec<&str> =
            failed.iter().flat_map(|vertex| vertex.last_lines()).map(|line| line.text.as_str()).collect();
        let circumstances = Circumstances {
            vertex: failed.map(VertexTrace::name),
            output: output.join("\n"),
            context: match &self.inputs.context {
                inputs::Context::Directory(directory) => Some(directory),
                _ => None,
            },
            finding: self.finding.clone(),
        };
        CommandError::failed_build(failure, &circumstances)
    }
}
