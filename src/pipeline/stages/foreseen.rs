//! Predicts which cache would have the image of a build. Queries the caches like a build, but must not transfer, name
//! or record anything.

use jiff::Timestamp;
use serde::Serialize;

use super::job::Job;
use super::registry::LOGIN_DEADLINE;
use super::{Deadline, Purpose};
use crate::error_chain::chain;
use crate::pipeline::error::PipelineError;
use crate::pipeline::inputs::Inputs;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::reporter::Reporter;
use crate::pipeline::session::{EngineConnection, Session};
use crate::plan::BuildSettings;
use crate::registry::{ImageRef, within};
use crate::tiers::{Accepted, EngineTier, Fault, ImageTier, RegistryTier};

/// Docker Hub. It is not queried for names without a registry.
const DOCKER_HUB: &str = "docker.io";

#[derive(Debug, Default)]
pub(crate) struct Foreseen {
    pub(crate) hit: Option<ForeseenHit>,
    /// The image of the key in a registry that the build does not use.
    pub(crate) elsewhere: Option<ForeseenHit>,
    /// The newest image under one of the names in a registry, and its build time.
    pub(crate) last: Option<(ImageRef, Timestamp)>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ForeseenHit {
    pub(crate) tier: &'static str,
    pub(crate) built: Option<Timestamp>,
}

pub(crate) async fn foresee(
    build: &BuildSettings,
    session: &Session<'_>,
    inputs: &Inputs,
    connection: &EngineConnection,
    keys: &BuildKeys,
    reporter: &dyn Reporter,
) -> Result<Foreseen, PipelineError> {
    let (purpose, deadline) = (Purpose::default(), Deadline::after(build.timeout));
    let job = Job::new(build, &purpose, session, inputs, connection, reporter, deadline);
    Box::pin(job.foresee(keys)).await
}

impl Job<'_> {
    async fn foresee(&self, keys: &BuildKeys) -> Result<Foreseen, PipelineError> {
        let is_off = self.image_tiers_disabled().is_some();
        let mut foreseen = Foreseen::default();
        if let Some(engine) = self.engine().filter(|_| self.build.tiers.engine && !is_off) {
            let accepted = Accepted { since: self.youngest(), ..Accepted::default() };
            foreseen.hit =
                self.foresee_in(&mut EngineTier::new(&self.notes, engine), keys, &accepted).await.0;
        }
        if foreseen.hit.is_none() && self.build.tiers.registry {
            self.foresee_in_registries(keys, is_off, &mut foreseen).await?;
        }
        if foreseen.hit.is_none()
            && self.build.tiers.archive
            && !is_off
            && let Some(mut tier) = self.archive_tier().await?
        {
            foreseen.hit = self.foresee_in(&mut tier, keys, &self.accepted(keys)).await.0;
        }
        Ok(foreseen)
    }

    /// Queries the registries of the names, even those that the build does not use.
    async fn foresee_in_registries(
        &self,
        keys: &BuildKeys,
        is_off: bool,
        foreseen: &mut Foreseen,
    ) -> Result<(), PipelineError> {
        let is_queried = |tag: &&ImageRef| self.wants_push() || tag.host() != DOCKER_HUB;
        let names: Vec<ImageRef> = self.build.tags.iter().filter(is_queried).cloned().collect();
        let host = names.iter().chain(&self.build.tiers.cache_repo).map(ImageRef::host).next();
        let Some(host) = host.map(str::to_owned) else { return Ok(()) };
        let targets = within(&host, LOGIN_DEADLINE, Box::pin(self.targets_of(names.iter()))).await;
        let targets = match targets {
            Ok(targets) => targets,
            Err(error) => {
                self.warn_of(&[error.into()]);
                return Ok(());
            }
        };
        let mut tier = RegistryTier::new(self.registry_terms(keys).await?, targets);
        let (hit, is_sound) = self.foresee_in(&mut tier, keys, &self.accepted(keys)).await;
        if is_off || self.registries_disabled().is_some() {
            foreseen.elsewhere = hit;
        } else {
            foreseen.hit = hit;
        }
        if let (true, Some(platform)) = (is_sound, keys.platforms.first()) {
            match tier.last_built(platform).await {
                Ok(last) => foreseen.last = last,
                Err(error) => self.warn_of(&[error.into()]),
            }
        }
        Ok(())
    }

    /// Looks for the image in one tier. The second value is `true` if there was no fault.
    async fn foresee_in<T: ImageTier>(
        &self,
        tier: &mut T,
        keys: &BuildKeys,
        accepted: &Accepted,
    ) -> (Option<ForeseenHit>, bool) {
        let answer = tier.look(&self.wanted(keys, accepted)).await;
        self.warn_of(&answer.faults);
        let hit = answer.found.map(|hit| ForeseenHit { tier: hit.tier, built: hit.age.map(|age| age.built) });
        (hit, answer.faults.is_empty())
    }

    fn warn_of(&self, faults: &[Fault]) {
        for fault in faults {
            self.reporter.warn(&format!("{}; going on without it", chain(fault.as_ref())));
        }
    }
}
