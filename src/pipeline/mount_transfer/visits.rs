//! Accesses the mounts of a build in groups, with progress and interrupts. A visit is a solve in which the courier runs
//! in the builder with the mounts attached.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::MountTransfer;
use crate::buildkit::trace::Trace;
use crate::error_chain::chain;
use crate::mounts::{Conversation, TargetMount, VisitError, VisitSolve, VisitTerms, visit};
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::reporter::TransferProgress;
use crate::pipeline::stages::{STATUS_BUFFER, is_visit_step, show};
use crate::pipeline::transfers::TICK;
use crate::store::{FaultRecord, Meter};

/// The work in one mount, which is given by its index.
type MountWork<T> = dyn Fn(usize, Conversation, &Meter) -> T + Send + Sync;

enum VisitDisplay {
    Bytes(Box<dyn TransferProgress>),
    /// The steps of the build that the visit is part of.
    Steps(JoinHandle<Trace>),
}

impl MountTransfer<'_> {
    /// Does `work` in each mount. If the builder cannot be visited, reports this and returns `None` for the mount.
    pub(super) async fn visit<T: Send + 'static>(
        &mut self,
        what: &str,
        mounts: &[TargetMount],
        work: impl Fn(usize, Conversation, &Meter) -> T + Send + Sync + 'static,
    ) -> Result<Vec<Option<T>>> {
        let work: Arc<MountWork<T>> = Arc::new(work);
        let mut done: Vec<Option<T>> = mounts.iter().map(|_| None).collect();
        let (own, of_build): (Vec<usize>, Vec<usize>) =
            (0..mounts.len()).partition(|place| mounts[*place].id.origin.is_none());
        // The build steps for the second group may use mounts of the first group.
        for places in [own, of_build].into_iter().filter(|places| !places.is_empty()) {
            let values = self.visit_group(what, mounts, &places, Arc::clone(&work)).await?;
            for (place, value) in places.into_iter().zip(values) {
                done[place] = Some(value);
            }
        }
        Ok(done)
    }

    /// Visits the mounts at `places`. Either all of them have an origin, or none.
    async fn visit_group<T: Send + 'static>(
        &mut self,
        what: &str,
        mounts: &[TargetMount],
        places: &[usize],
        work: Arc<MountWork<T>>,
    ) -> Result<Vec<T>> {
        let visited: Vec<TargetMount> = places.iter().map(|place| mounts[*place].clone()).collect();
        let meters: Arc<Vec<Meter>> = Arc::new(places.iter().map(|_| Meter::default()).collect());
        let terms = VisitTerms {
            deadline: self.build.visit_limit(),
            cancel: CancellationToken::new(),
            name: format!("[larder] {what}"),
        };
        let mut shown = VisitDisplay::Bytes(self.reporter.transfer(what));
        let mut within = VisitSolve::Separate;
        // Keep these files until the visit is over, because the build reads them.
        let mut _files = None;
        let is_of_build = visited.iter().any(|mount| mount.id.origin.is_some());
        if is_of_build {
            let (status, updates) = mpsc::channel(STATUS_BUFFER);
            match self.build.request(&visited, status) {
                Ok((build, files)) => (within, _files) = (build, Some(files)),
                Err(error) => {
                    self.report_problem(format!("{what} failed: {error}; going on without them"));
                    return Ok(Vec::new());
                }
            }
            shown = VisitDisplay::Steps(tokio::spawn(show(self.reporter.steps(false), updates, |_| ())));
        }
        if self.session.interrupts().is_pending() {
            return Err(PipelineError::Interrupted);
        }
        let (mut interrupts, mut ticks) = (self.session.interrupts(), tokio::time::interval(TICK));
        let (working, numbers) = (Arc::clone(&meters), places.to_owned());
        let visiting = visit(
            self.connection.client()?,
            &visited,
            within,
            move |number, conversation| work(numbers[number], conversation, &working[number]),
            &terms,
        );
        tokio::pin!(visiting);
        // `true` after a second interrupt, which returns without waiting.
        let mut is_left = false;
        let done = loop {
            tokio::select! {
                done = &mut visiting => break done,
                () = interrupts.next() => {
                    if terms.cancel.is_cancelled() {
                        is_left = true;
                        break Err(VisitError::Interrupted);
                    }
                    meters.iter().for_each(Meter::stop);
                    terms.cancel.cancel();
                }
                _ = ticks.tick() => if let VisitDisplay::Bytes(progress) = &mut shown {
                    let sum = |(done, total): (u64, u64), meter: &Meter| {
                        let (more_done, more) = meter.amounts();
                        (done + more_done, total + more)
                    };
                    progress.show(meters.iter().fold((0, 0), sum));
                }
            }
        };
        match shown {
            VisitDisplay::Bytes(progress) => progress.finish(),
            VisitDisplay::Steps(showing) if is_left => showing.abort(),
            VisitDisplay::Steps(showing) => {
                // The task ends with the visit. Even if it panicked, the visit's result is valid.
                self.prepared = showing.await.unwrap_or_default();
                let steps = self.prepared.steps().into_iter();
                self.preparing =
                    steps.filter(|step| !is_visit_step(&step.name)).map(|step| step.duration).sum();
            }
        }
        match done {
            Ok(done) => Ok(done),
            Err(VisitError::Interrupted) => Err(PipelineError::Interrupted),
            Err(error @ VisitError::Solve { .. }) if is_of_build => {
                // The message of the user's own step may contain the value of a build argument: show it, but do not
                // record it.
                let message = format!("{what} failed: cannot build the initial content of some of them");
                if self.is_before_build {
                    self.reporter.warn(&format!("{message}; going on without those"));
                } else {
                    self.reporter.warn(&format!("{message}: {}; going on without those", chain(&error)));
                    self.report.faults.push(FaultRecord { reason: "other".to_owned(), message });
                }
                Ok(Vec::new())
            }
            Err(error) => {
                self.report_problem(format!("{what} failed: {}; going on without them", chain(&error)));
                Ok(Vec::new())
            }
        }
    }
}
