//! Creates builds that end with a visit of cache mounts. A visit is a stage that larder adds to the Dockerfile, in
//! which the courier accesses the mounts.

use std::io;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::Deadline;
use crate::buildkit::Client;
use crate::buildkit::session::new_id;
use crate::buildkit::status::StatusUpdate;
use crate::digest::Digest;
use crate::mounts::{TargetMount, VisitBuild, VisitSolve, with_visit};
use crate::pipeline::inputs::{Inputs, NOT_LOCAL};
use crate::pipeline::request::{RequestConditions, request_of_stage};
use crate::plan::{BuildSettings, JobSettings};
use crate::registry::Login;

pub(super) const VISIT_STAGE_PREFIX: &str = "larder-visit-";

/// Returns `true` if the name of a step shows that it is in a stage that larder added.
pub(crate) fn is_visit_step(name: &str) -> bool {
    name.strip_prefix('[').is_some_and(|name| name.contains(VISIT_STAGE_PREFIX))
}

pub(crate) struct VisitRequest<'a> {
    pub(crate) settings: &'a BuildSettings,
    inputs: &'a Inputs,
    login: Login,
    conditions: RequestConditions,
    deadline: Deadline,
}

impl<'a> VisitRequest<'a> {
    /// Creates the build for visits until `deadline`. `undetected_digest` is as in [`RequestConditions`].
    pub(crate) fn new(
        build: &'a BuildSettings,
        inputs: &'a Inputs,
        client: &Client,
        settings: &JobSettings,
        (undetected_digest, deadline): (Option<Digest>, Deadline),
    ) -> Self {
        Self {
            settings: build,
            inputs,
            login: settings.login.clone(),
            deadline,
            conditions: RequestConditions {
                undetected_digest,
                runs_every_step: build.every_step_flag().is_some(),
                uses_engine_images: client.product().is_docker(),
                ..RequestConditions::default()
            },
        }
    }

    /// Returns the time limit of a visit: the limit for mounts, or the remaining time if that is shorter.
    pub(crate) fn visit_limit(&self) -> Duration {
        let limit = self.settings.mounts.timeout;
        self.deadline.remaining().map_or(limit, |remaining| limit.min(remaining))
    }

    /// The build needs the temporary directory of its Dockerfile until it ends.
    pub(crate) fn request(
        &self,
        mounts: &[TargetMount],
        status: mpsc::Sender<StatusUpdate>,
    ) -> io::Result<(VisitSolve, TempDir)> {
        let stage = format!("{VISIT_STAGE_PREFIX}{}", new_id()?);
        let text = self.inputs.built_text().ok_or_else(|| io::Error::other(NOT_LOCAL))?;
        let directory = self.inputs.write_dockerfile(&with_visit(text.as_str(), &stage, mounts))?;
        let (request, attachments) = request_of_stage(
            self.settings,
            self.inputs,
            (&stage, directory.path()),
            self.login.clone(),
            &self.conditions,
        );
        let timeout = self.deadline.remaining();
        Ok((VisitSolve::Build(Box::new(VisitBuild { request, attachments, status, timeout })), directory))
    }
}
