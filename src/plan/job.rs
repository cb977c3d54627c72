//! What all builds of a job share: engines, logins, the cache's directory, the store and its lanes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::key::Seal;
use crate::notes::{Notes, NotesError};
use crate::registry::Login;
use crate::registry::ecr::EcrLogin;
use crate::store::backend::remote::{RemoteSettings, RemoteUrl};
use crate::store::{Lanes, Limits, Terms};

/// The settings that every command needs, resolved.
#[derive(Debug, Clone)]
pub(crate) struct JobSettings {
    /// The engine to use; of several, the first.
    pub(crate) endpoint: Endpoint,
    /// All engines; never empty.
    pub(crate) endpoints: Vec<Endpoint>,
    /// How long larder waits for an engine that cannot be reached.
    pub(crate) engine_wait: Option<Duration>,
    /// Directories like Docker's `certs.d`.
    pub(crate) certificates: Vec<PathBuf>,
    /// Logins for registries.
    pub(crate) login: Login,
    /// Logins for ECR.
    pub(crate) ecr: EcrLogin,
    /// The cache's directory.
    pub(crate) cache_dir: PathBuf,
    /// Why the cache's directory cannot be written, if it cannot. Then it is only read, or `cache_dir` is temporary.
    pub(crate) cache_fault: Option<Arc<NotesError>>,
    /// The lanes of this job; the store's terms have the same.
    pub(crate) lanes: JobLanes,
    /// How the store is used.
    pub(crate) store: StoreSettings,
    /// How values of build arguments are sealed.
    pub(crate) seal: Seal,
}

impl JobSettings {
    /// Returns the notes in the cache's directory.
    pub(crate) fn notes(&self) -> Notes {
        if self.cache_fault.is_some() {
            Notes::read_only(&self.cache_dir)
        } else {
            Notes::new(&self.cache_dir)
        }
    }

    /// Returns the reason if a later command could not read what this one saves.
    pub(crate) fn saves_nothing(&self) -> Option<&'static str> {
        if self.store.terms.read_only {
            Some("the cache is read-only here")
        } else if self.cache_fault.is_some() && self.store.remote.is_none() {
            Some("the cache's directory cannot be written")
        } else {
            None
        }
    }

    /// Returns the same settings for another engine.
    #[must_use]
    pub(crate) fn on(&self, endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), endpoints: vec![endpoint.clone()], ..self.clone() }
    }
}

/// The lanes of a job, and where each was learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobLanes {
    /// The lanes.
    pub(crate) lanes: Lanes,
    /// The flag, variable or reference that names the job's own lane.
    pub(crate) own_from: &'static str,
    /// The flag, variable or reference that names the trunk.
    pub(crate) trunk_from: &'static str,
    /// `true` if this is a CI job, and nothing says what it builds.
    pub(crate) is_unknown: bool,
}

/// How the store is used.
#[derive(Debug, Clone)]
pub(crate) struct StoreSettings {
    /// The store that machines share, if there is one, and how to talk to it.
    pub(crate) remote: Option<(RemoteUrl, RemoteSettings)>,
    /// Lanes, signatures, and whether anything may be written.
    pub(crate) terms: Terms,
    /// The limits of the local store.
    pub(crate) limits: Limits,
    /// The limits of the remote.
    pub(crate) remote_limits: Limits,
}
