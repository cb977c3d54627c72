//! What a remote store is opened with beside its address.

use std::fmt;
use std::time::Duration;

use super::actions_cache::ActionsJob;
use super::call::Allowance;

/// The largest limit that gives a reader more time.
const LARGEST_LIMIT: u64 = 64 << 20;
/// For how many slow pages of a listing there is time; of those that come quickly, for many more.
const PAGES: u32 = 10;

/// How to talk to a remote store.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Who asks: a user (WebDAV), an access key's id (S3) or an account (Azure). What the address says goes first; without
    /// either the service's own way to find credentials is used.
    pub user: Option<String>,
    /// The password, secret access key or account key that goes with it.
    pub password: Option<String>,
    /// The job of GitHub Actions that this is, for the cache that only such a job can use.
    pub actions: ActionsJob,
    /// How long an operation may take with all its attempts: reading or writing an object of up to [`Self::UNIT`] bytes,
    /// or one page of a listing. Larger objects may take it once for each such unit.
    pub deadline: Duration,
    /// How long a connection may take to be there, name look-up and TLS included.
    pub connect_deadline: Duration,
    /// How many operations at once are worth while.
    pub parallelism: usize,
}

impl RemoteSettings {
    /// The size that [`Self::deadline`] is meant for: 4 MiB.
    const UNIT: u64 = 4 << 20;

    /// What writing an object of this size may take.
    pub(super) fn allowance(&self, size: u64) -> Allowance {
        let units = u32::try_from(size.div_ceil(Self::UNIT)).unwrap_or(u32::MAX).max(1);
        let whole = self.deadline.saturating_mul(units);
        // Half of the time, so that one connection that stalls is not the end.
        Allowance { whole, silence: whole / 2, limit: u64::MAX }
    }

    /// What reading an object may take that has up to `limit` bytes.
    pub(super) fn allowance_to_read(&self, limit: u64) -> Allowance {
        let whole = self.allowance(limit.min(LARGEST_LIMIT)).whole;
        Allowance { whole, silence: self.deadline / 2, limit }
    }

    /// What a listing may take.
    pub(super) fn allowance_to_list(&self) -> Allowance {
        Allowance { whole: self.deadline.saturating_mul(PAGES), ..self.allowance(0) }
    }
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            actions: ActionsJob::default(),
            deadline: Duration::from_mins(1),
            connect_deadline: Duration::from_secs(10),
            parallelism: 16,
        }
    }
}

impl fmt::Debug for RemoteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSettings")
            .field("deadline", &self.deadline)
            .field("connect_deadline", &self.connect_deadline)
            .field("parallelism", &self.parallelism)
            .finish_non_exhaustive()
    }
}
