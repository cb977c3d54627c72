//! Predicts which cache would have the image of a build. Queries the caches like a build, but must not transfer, name
//! or record anything.

use jiff::Timestamp;
use serde::Serialize;

use super::job::Job;
use super::phases::PhaseClock;
use super::registry::LOGIN_DEADLINE;
use super::{BuildPurpose, Deadline};
use crate::error_chain::chain;
use crate::pipeline::error::Result;
use crate::pipeline::inputs::Inputs;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::reporter::Reporter;
use crate::pipeline::session::{EngineConnection, Session};
use crate::plan::BuildSettings;
use crate::registry::{ImageRef, with_timeout};
use crate::tiers::{BoxedError, EngineTier, HitConditions, ImageTier, RegistryTier};

/// Docker Hub. It is not queried for names without a registry.
const DOCKER_HUB: &str = "docker.io";

#[derive(Debug, Default)]
pub(crate) struct CachePrediction {
    pub(crate) hit: Option<PredictedHit>,
    /// The image of the key in a registry that the build does not use.
    pub(crate) elsewhere: Option<PredictedHit>,
    /// The newest image under one of the names in a registry, and its build time.
    pub(crate) last: Option<(ImageRef, Timestamp)>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct PredictedHit {
    pub(crate) tier: &'static str,
    pub(crate) built: Option<Timestamp>,
}

pub(crate) async fn predict(
    build: &BuildSettings,
    session: &Session<'_>,
    inputs: &Inputs,
    connection: &EngineConnection,
    keys: &BuildKeys,
    reporter: &dyn Reporter,
) -> Result<CachePrediction> {
    let (purpose, deadline) = (BuildPurpose::default(), Deadline::after(build.timeout));
    let phases = PhaseClock::start();
    let job = Job::new(build, &purpose, session, inputs, connection, reporter, (deadline, &phases));
    Box::pin(job.predict_hit(keys)).await
}

impl Job<'_> {
    async fn predict_hit(&self, keys: &BuildKeys) -> Result<CachePrediction> {
        let is_off = self.image_tiers_disabled_reason().is_some();
        let mut prediction = CachePrediction::default();
        if let Some(engine) = self.engine().filter(|_| self.build.tiers.engine && !is_off) {
            let accepted = HitConditions { since: self.earliest_accepted(), ..HitConditions::default() };
            prediction.hit =
                self.predict_in(&mut EngineTier::new(&self.notes, engine), keys, &accepted).await.0;
        }
        if prediction.hit.is_none() && self.build.tiers.registry {
            self.predict_in_registries(keys, is_off, &mut prediction).await?;
        }
        if prediction.hit.is_none()
            && self.build.tiers.archive
            && !is_off
            && let Some(mut tier) = self.archive_tier().await?
        {
            prediction.hit = self.predict_in(&mut tier, keys, &self.accepted(keys)).await.0;
        }
        Ok(prediction)
    }

    /// Queries the registries of the names, even those that the build does not use.
    async fn predict_in_registries(
        &self,
        keys: &BuildKeys,
        is_off: bool,
        prediction: &mut CachePrediction,
    ) -> Result<()> {
        let is_queried = |tag: &&ImageRef| self.wants_push() || tag.host() != DOCKER_HUB;
        let names: Vec<ImageRef> = self.build.tags.iter().filter(is_queried).cloned().collect();
        let host = names.iter().chain(&self.build.tiers.cache_repo).map(ImageRef::host).next();
        let Some(host) = host.map(str::to_owned) else { return Ok(()) };
        let targets = with_timeout(&host, LOGIN_DEADLINE, Box::pin(self.targets_of(names.iter()))).await;
        let targets = match targets {
            Ok(targets) => targets,
            Err(error) => {
                self.warn_of(&[error.into()]);
                return Ok(());
            }
        };
        let mut tier = RegistryTier::new(self.registry_terms(keys).await?, targets);
        let (hit, is_sound) = self.predict_in(&mut tier, keys, &self.accepted(keys)).await;
        if is_off || self.registries_disabled_reason().is_some() {
            prediction.elsewhere = hit;
        } else {
            prediction.hit = hit;
        }
        if let (true, Some(platform)) = (is_sound, keys.platforms.first()) {
            match tier.last_built(platform).await {
                Ok(last) => prediction.last = last,
                Err(error) => self.warn_of(&[error.into()]),
            }
        }
        Ok(())
    }

    /// Looks for the image in one tier. The second value is `true` if there was no fault.
    async fn predict_in<T: ImageTier>(
        &self,
        tier: &mut T,
        keys: &BuildKeys,
        accepted: &HitConditions,
    ) -> (Option<PredictedHit>, bool) {
        let answer = tier.look(&self.wanted(keys, accepted)).await;
        self.warn_of(&answer.faults);
        let hit =
            answer.found.map(|hit| PredictedHit { tier: hit.tier, built: hit.age.map(|age| age.built) });
        (hit, answer.faults.is_empty())
    }

    fn warn_of(&self, faults: &[BoxedError]) {
        for fault in faults {
            self.reporter.warn(&format!("{}; going on without it", chain(fault.as_ref())));
        }
    }
}
