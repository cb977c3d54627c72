//! The stage that computes the keys of a build, if they can be computed before it runs.

use super::job::Job;
use crate::context::ContextError;
use crate::dockerfile::ResolveError;
use crate::error_chain::chain;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::keys::{BuildKeys, KeysError, compute_keys};
use crate::pipeline::reporter::BuildEvent;

/// The keys, or the reason why they cannot be computed. The build itself may still succeed then.
pub(super) struct Keyed(Result<Box<BuildKeys>, KeysError>);

impl Keyed {
    pub(super) async fn compute(job: &Job<'_>) -> Result<Self> {
        let computing = async {
            let lookup = job.connection.base_lookup(job.build, job.inputs);
            let platform = job.connection.platform().await;
            Ok(compute_keys(job.build, job.inputs, &lookup, platform, &job.notes, &job.settings.seal).await)
        };
        let keyed = Self(job.run_within_limits(Box::pin(computing)).await?.map(Box::new));
        let keys = keyed.keys().map(|keys| &keys.keys);
        job.reporter.report(&BuildEvent::Keys {
            image: keys.map(|keys| keys.image),
            dependency: keys.map(|keys| keys.dependency),
            reason: keyed.unknown_reason(),
        });
        Ok(keyed)
    }

    /// Warns of inputs that the keys do not cover. Fails with a fault of the cache under `--strict`.
    pub(super) fn report(&self, job: &Job<'_>) -> Result<()> {
        let keys = match &self.0 {
            Ok(keys) => keys,
            // The build itself reports this error.
            Err(KeysError::Context(ContextError::NotUtf8 { .. })) => return Ok(()),
            Err(error @ KeysError::Context(_)) if job.build.strict => {
                return Err(PipelineError::cache(error));
            }
            Err(_) => return Ok(()),
        };
        if !keys.unpinned.is_empty() {
            job.reporter.warn(&format!(
                "the digest of the base image {} is unknown: a newer version would not be detected",
                keys.unpinned.join(", ")
            ));
        }
        for fault in &keys.faults {
            job.faults.report(fault)?;
        }
        if !keys.withheld.is_empty() {
            job.reporter.note(&format!(
                "left out of the build context because larder wrote it: {}\n",
                keys.withheld.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            ));
        }
        Ok(())
    }

    pub(super) fn keys(&self) -> Option<&BuildKeys> {
        self.0.as_deref().ok()
    }

    pub(super) fn unknown_reason(&self) -> Option<String> {
        self.0.as_ref().err().map(|error| chain(error))
    }

    /// Returns the error in the inputs that may explain a failed build.
    pub(super) fn input_error(&self) -> Option<String> {
        match self.0.as_ref().err()? {
            KeysError::Context(ContextError::NotUtf8 { .. }) => None,
            KeysError::Resolve(error @ ResolveError::UnknownTarget { .. }) => Some(chain(error)),
            KeysError::Syntax(error) => Some(chain(error)),
            KeysError::Context(error) => Some(chain(error)),
            _ => None,
        }
    }
}
