//! Settings shared by all builds of a job: engines, logins, the cache directory, the store and its lanes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::key::Seal;
use crate::ledger::CiJobRecord;
use crate::notes::{Notes, NotesError};
use crate::registry::Login;
use crate::registry::ecr::EcrLogin;
use crate::store::backend::remote::{RemoteSettings, RemoteUrl};
use crate::store::{Lanes, StoreLimits, StoreOptions};

#[derive(Debug, Clone)]
pub(crate) struct JobSettings {
    /// The engine to use; the first one if there are several.
    pub(crate) endpoint: Endpoint,
    /// All engines; never empty.
    pub(crate) endpoints: Vec<Endpoint>,
    /// How long to wait for an engine that cannot be reached.
    pub(crate) engine_wait: Option<Duration>,
    /// Directories with the layout of Docker's `certs.d`.
    pub(crate) certificates: Vec<PathBuf>,
    pub(crate) login: Login,
    pub(crate) ecr: EcrLogin,
    pub(crate) cache_dir: PathBuf,
    /// The reason why the cache directory cannot be written. If set, the directory is only read, or `cache_dir` is a
    /// temporary directory.
    pub(crate) cache_fault: Option<Arc<NotesError>>,
    /// The lanes of this job, the same as in the store's terms.
    pub(crate) lanes: JobLanes,
    /// The CI job, for the ledger.
    pub(crate) ci: Option<CiJobRecord>,
    /// `true` if the last builds of an image are exchanged with other agents.
    pub(crate) shares_builds: bool,
    pub(crate) store: StoreSettings,
    /// The secret for values of build arguments in keys.
    pub(crate) seal: Seal,
}

impl JobSettings {
    pub(crate) fn notes(&self) -> Notes {
        if self.cache_fault.is_some() {
            Notes::read_only(&self.cache_dir)
        } else {
            Notes::new(&self.cache_dir)
        }
    }

    /// Returns the reason why later commands cannot read the entries that this one saves, if there is one.
    pub(crate) fn reason_nothing_is_saved(&self) -> Option<&'static str> {
        if self.store.terms.read_only {
            Some("the cache is read-only")
        } else if self.cache_fault.is_some() && self.store.remote.is_none() {
            Some("the cache directory is not writable")
        } else {
            None
        }
    }

    #[must_use]
    pub(crate) fn for_engine(&self, endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), endpoints: vec![endpoint.clone()], ..self.clone() }
    }
}

/// The lanes of a job and their sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobLanes {
    pub(crate) lanes: Lanes,
    /// The flag, variable or reference that sets the job's own lane.
    pub(crate) own_from: &'static str,
    /// The flag, variable or reference that sets the trunk.
    pub(crate) trunk_from: &'static str,
    /// `true` for a CI job whose branch is unknown.
    pub(crate) is_branch_unknown: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct StoreSettings {
    pub(crate) remote: Option<(RemoteUrl, RemoteSettings)>,
    pub(crate) terms: StoreOptions,
    pub(crate) limits: StoreLimits,
    pub(crate) remote_limits: StoreLimits,
}
