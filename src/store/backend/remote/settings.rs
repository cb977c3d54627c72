//! The settings of a remote store other than its address.

use std::fmt;
use std::time::Duration;

use super::actions_cache::ActionsJob;
use super::call::OperationLimits;

/// The object size in bytes above which a read gets no more time.
const MAX_TIMED_SIZE: u64 = 64 << 20;
/// The number of slow pages that a listing has time for.
const MAX_SLOW_PAGES: u32 = 10;

/// The settings of a remote store.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// A user (WebDAV), the id of an access key (S3) or an account (Azure). A user in the address takes precedence. If
    /// neither is given, credentials are found as the tools of the provider do.
    pub user: Option<String>,
    /// The password, secret access key or account key of `user`.
    pub password: Option<String>,
    /// The GitHub Actions job, for the cache that only such a job can use.
    pub actions: ActionsJob,
    /// The time limit of an operation with all its attempts: reading or writing an object of up to 4 MiB, or one page
    /// of a listing. Larger objects have this time for each 4 MiB.
    pub deadline: Duration,
    /// The time limit for establishing a connection, including name resolution and TLS.
    pub connect_deadline: Duration,
    /// The number of concurrent operations.
    pub parallelism: usize,
}

impl RemoteSettings {
    /// The size in bytes for which [`Self::deadline`] is intended.
    const UNIT: u64 = 4 << 20;

    /// Returns the allowance for writing an object of `size` bytes.
    pub(super) fn allowance(&self, size: u64) -> OperationLimits {
        let units = u32::try_from(size.div_ceil(Self::UNIT)).unwrap_or(u32::MAX).max(1);
        let whole = self.deadline.saturating_mul(units);
        // Half of the time, so that a second connection can be tried if the first one stalls.
        OperationLimits { total: whole, response: whole / 2, limit: u64::MAX }
    }

    /// Returns the allowance for reading an object of up to `limit` bytes.
    pub(super) fn allowance_to_read(&self, limit: u64) -> OperationLimits {
        let whole = self.allowance(limit.min(MAX_TIMED_SIZE)).total;
        OperationLimits { total: whole, response: self.deadline / 2, limit }
    }

    pub(super) fn allowance_to_list(&self) -> OperationLimits {
        OperationLimits { total: self.deadline.saturating_mul(MAX_SLOW_PAGES), ..self.allowance(0) }
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
