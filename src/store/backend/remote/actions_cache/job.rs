//! The GitHub Actions job that uses the cache, from the variables that GitHub sets.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::store::backend::remote::OpenRemoteFault;

const PUBLIC_API: &str = "https://api.github.com";

/// The variables that GitHub sets for a job.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ActionsJob {
    /// `ACTIONS_RESULTS_URL`: the address of the cache service.
    pub results_url: Option<String>,
    /// `ACTIONS_RUNTIME_TOKEN`: allows reading and writing entries.
    pub runtime_token: Option<String>,
    /// `GITHUB_TOKEN`: allows listing and removing entries.
    pub token: Option<String>,
    /// `GITHUB_API_URL`: the address of the REST API, by default that of github.com.
    pub api_url: Option<String>,
    /// `GITHUB_REPOSITORY`: owner and name.
    pub repository: Option<String>,
    /// `GITHUB_REF`: the full name of the ref, such as `refs/heads/main`.
    pub reference: Option<String>,
    /// `GITHUB_BASE_REF`: the target branch of a pull request.
    pub base: Option<String>,
    /// `GITHUB_EVENT_PATH`: the file of the event that started the job, as JSON.
    pub event: Option<PathBuf>,
}

impl fmt::Debug for ActionsJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionsJob")
            .field("repository", &self.repository)
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

/// A job for which all required variables are set.
pub(in crate::store::backend::remote) struct CacheJob {
    pub(in crate::store::backend::remote) results_url: String,
    pub(in crate::store::backend::remote) runtime_token: String,
    pub(super) token: String,
    api_url: String,
    repository: String,
    pub(super) reference: String,
    base: Option<String>,
    event: Option<PathBuf>,
}

impl fmt::Debug for CacheJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheJob").field("reference", &self.reference).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct JobEvent {
    repository: EventRepository,
}

#[derive(Deserialize)]
pub(super) struct EventRepository {
    pub(super) default_branch: String,
}

impl CacheJob {
    pub(in crate::store::backend::remote) fn new(given: &ActionsJob) -> Result<Self, OpenRemoteFault> {
        let need = |value: &Option<String>, variable| {
            value.clone().ok_or(OpenRemoteFault::MissingVariable(variable))
        };
        let api_url = given.api_url.as_deref().unwrap_or(PUBLIC_API).trim_end_matches('/').to_owned();
        Ok(Self {
            repository: need(&given.repository, "GITHUB_REPOSITORY")?,
            reference: need(&given.reference, "GITHUB_REF")?,
            results_url: need(&given.results_url, "ACTIONS_RESULTS_URL")?,
            runtime_token: need(&given.runtime_token, "ACTIONS_RUNTIME_TOKEN")?,
            token: need(&given.token, "GITHUB_TOKEN")?,
            api_url,
            base: given.base.clone(),
            event: given.event.clone(),
        })
    }

    pub(super) fn repository_url(&self) -> String {
        format!("{}/repos/{}", self.api_url, self.repository)
    }

    /// Returns the refs whose entries the job reads, in order of precedence.
    pub(super) fn readable_refs(&self, default_branch: &str) -> Vec<String> {
        let branches = self.base.as_deref().into_iter().chain([default_branch]);
        let mut refs = vec![self.reference.clone()];
        for reference in branches.map(|branch| format!("refs/heads/{branch}")) {
            if !refs.contains(&reference) {
                refs.push(reference);
            }
        }
        refs
    }

    pub(super) fn default_branch_of_event(&self) -> Option<String> {
        let event = std::fs::read(self.event.as_ref()?).ok()?;
        serde_json::from_slice::<JobEvent>(&event).ok().map(|event| event.repository.default_branch)
    }
}
