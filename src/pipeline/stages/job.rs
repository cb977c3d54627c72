//! Defines a build together with the resources that its stages use. A job must not change while it runs: the results of
//! a stage are in the stage's outcome.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::lookup::Lookup;
use super::phases::PhaseClock;
use super::{BuildPurpose, Deadline};
use crate::buildkit::{Client, ConnectError};
use crate::engine::Engine;
use crate::error_chain::chain;
use crate::ledger::{self, BuildRecord, TierOutcome, TierRecord};
use crate::notes::{Notes, NotesError};
use crate::pipeline::changes;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::explain::ImageIdentity;
use crate::pipeline::inputs::Inputs;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::registries::Registries;
use crate::pipeline::reporter::{BuildEvent, Reporter};
use crate::pipeline::session::store::should_report;
use crate::pipeline::session::{EngineConnection, Session};
use crate::plan::{BuildSettings, JobSettings, OutputKind};
use crate::store::StoreError;

/// The number of earlier builds from which durations and decisions are derived.
pub(super) const MAX_EARLIER_BUILDS: usize = 100;

#[derive(Clone)]
pub(super) struct Job<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) settings: &'a JobSettings,
    pub(super) build: &'a BuildSettings,
    pub(super) purpose: &'a BuildPurpose,
    pub(super) inputs: &'a Inputs,
    pub(super) connection: &'a EngineConnection,
    pub(super) notes: Notes,
    pub(super) reporter: &'a dyn Reporter,
    /// The time limit for producing the image. It does not apply to later stages.
    pub(super) deadline: Deadline,
    pub(super) phases: &'a PhaseClock,
    pub(super) faults: Arc<FaultReporter<'a>>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        build: &'a BuildSettings,
        purpose: &'a BuildPurpose,
        session: &'a Session<'a>,
        inputs: &'a Inputs,
        connection: &'a EngineConnection,
        reporter: &'a dyn Reporter,
        (deadline, phases): (Deadline, &'a PhaseClock),
    ) -> Self {
        let faults = FaultReporter {
            is_strict: build.strict,
            reporter,
            reported: Mutex::default(),
            are_notes_unusable: AtomicBool::new(false),
        };
        Self {
            session,
            settings: session.settings,
            build,
            purpose,
            inputs,
            connection,
            notes: session.settings.notes(),
            reporter,
            deadline,
            phases,
            faults: Arc::new(faults),
        }
    }

    pub(super) fn client(&self) -> Result<&'a Client, Arc<ConnectError>> {
        self.connection.client()
    }

    /// Returns `true` if the builder has any layers, or `None` if it cannot be queried.
    pub(super) async fn builder_has_layers(&self) -> Option<bool> {
        self.client().ok()?.has_layers().await.ok()
    }

    pub(super) fn engine(&self) -> Option<&'a Engine> {
        self.connection.engine.as_ref()
    }

    pub(super) fn registries(&self) -> &'a Registries {
        &self.connection.registries
    }

    pub(super) fn identity(&self) -> ImageIdentity<'_> {
        ImageIdentity {
            names: &self.build.tags,
            lane: self.settings.lanes.lanes.own(),
            seal: &self.settings.seal,
        }
    }

    pub(super) fn wants_push(&self) -> bool {
        self.build.outputs.iter().any(|output| output.kind == OutputKind::Image { push: true })
    }

    pub(super) fn will_be_in_registry(&self) -> bool {
        self.wants_push() && self.build.tiers.registry && !self.settings.store.terms.read_only
    }

    /// Returns `true` if messages of the engine can contain values of build arguments.
    pub(super) fn has_build_args(&self) -> bool {
        !self.build.source.build_args.is_empty()
    }

    pub(super) async fn note_inputs(&self, keys: &BuildKeys, lookup: &Lookup) -> Result<()> {
        if lookup.replaces_images(self) {
            let noted = self.notes.note_rebuild(keys.keys.image, keys.keys.dependency, self.phases.started);
            noted.or_else(|fault| self.faults.report_notes(&fault))?;
        }
        let inputs = keys.published(&self.settings.seal).await;
        let noted = self.identity().record(&self.notes, &keys.keys, &inputs, Timestamp::now());
        noted.or_else(|fault| self.faults.report_notes(&fault))
    }

    /// Warns if the inputs have changed since the keys were computed, and returns `true` then.
    pub(super) async fn have_inputs_changed(&self, keys: &BuildKeys, action: &str) -> bool {
        let changed = keys.changed_inputs().await;
        if !changed.is_empty() {
            let names = changes::first_names(&changed);
            self.reporter.warn(&format!(
                "files of the context changed while the image was {action} ({names}): it is not recorded under its key"
            ));
        }
        !changed.is_empty()
    }

    /// Returns `true` if the builder has built the image and, as far as is known, still has its layers.
    pub(super) async fn builder_has_layers_of(&self, id: &str) -> bool {
        let has_built = match (self.known_builder().await, id.parse()) {
            (Ok(builder), Ok(id)) => builder.entry.has_built(id),
            _ => false,
        };
        has_built && self.builder_has_layers().await.unwrap_or(false)
    }

    /// Returns the last builds in the ledger that are wanted, the latest one last.
    pub(super) fn earlier_builds(&self, is_wanted: impl FnMut(&BuildRecord) -> bool) -> Vec<BuildRecord> {
        // A fault of the ledger is reported when the build is written to it.
        let read = ledger::read(&self.notes.ledger_path(), MAX_EARLIER_BUILDS, is_wanted);
        read.map(|ledger| ledger.builds).unwrap_or_default()
    }

    /// Returns the last builds of this machine.
    pub(super) fn own_earlier_builds(&self) -> Vec<BuildRecord> {
        self.earlier_builds(|build| !build.from_other_agent)
    }

    pub(super) fn note_result(&self, path: &Path) -> Result<()> {
        self.notes.note_result(path).or_else(|fault| self.faults.report(&fault))
    }

    pub(super) async fn run_until_interrupt<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        self.session.interrupts().run_until_interrupt(work).await
    }

    /// Runs `work` until the deadline or the first interrupt.
    pub(super) async fn run_within_limits<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.deadline.run(self.run_until_interrupt(work)).await??
    }

    /// Reports the answer of a tier, and returns the answer.
    pub(super) fn report_answer(&self, answer: TierRecord) -> TierRecord {
        self.reporter.report(&BuildEvent::Tier(&answer));
        answer
    }

    pub(super) fn report_skipped(&self, tier: &str, reason: &str) -> TierRecord {
        self.report_answer(TierRecord::new(tier, TierOutcome::Skipped, reason))
    }
}

pub(super) struct FaultReporter<'a> {
    is_strict: bool,
    reporter: &'a dyn Reporter,
    reported: Mutex<BTreeSet<String>>,
    are_notes_unusable: AtomicBool,
}

impl FaultReporter<'_> {
    /// Warns of a fault of a cache. Under `--strict`, returns it as an error instead.
    pub(super) fn report(&self, fault: &(dyn Error + 'static)) -> Result<()> {
        if self.is_strict {
            return Err(PipelineError::cache(fault));
        }
        let is_known = std::iter::successors(Some(fault), |error| (**error).source())
            .find_map(|error| error.downcast_ref::<StoreError>())
            .is_some_and(|fault| !should_report(fault));
        if !is_known {
            let fault = chain(fault);
            if self.is_first(&fault) {
                self.reporter.warn(&format!("{fault}; going on without it"));
            }
        }
        Ok(())
    }

    /// Reports a fault of the notes. If the notes cannot be read or written, the cache directory is not used for
    /// anything else.
    pub(super) fn report_notes(&self, fault: &NotesError) -> Result<()> {
        if !matches!(fault, NotesError::Damaged { .. }) {
            self.are_notes_unusable.store(true, Ordering::Relaxed);
        }
        self.report(fault)
    }

    pub(super) fn is_cache_unusable(&self) -> bool {
        self.are_notes_unusable.load(Ordering::Relaxed)
    }

    pub(super) fn warn(&self, warning: &str) {
        if self.is_first(warning) {
            self.reporter.warn(warning);
        }
    }

    fn is_first(&self, text: &str) -> bool {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned())
    }
}
