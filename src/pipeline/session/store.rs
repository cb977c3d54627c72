//! Opens the store of the settings, and maintains it after saves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::amounts::{count, size};
use crate::error_chain::chain;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::reporter::Reporter;
use crate::plan::{JobSettings, StoreSettings};
use crate::store::backend::{Backend, DirectoryBackend, FaultReason, FusedBackend};
use crate::store::{
    FaultRecord, LAYOUT, SendReport, SharedBuilds, Store, StoreError, StoreLocation, StoreOptions,
};

/// The open store and its remote. A remote that fails is not used for the rest of the process.
pub(super) struct OpenStore {
    pub(super) store: Store,
    remote: Option<Arc<FusedBackend>>,
    /// The last builds of images in the remote. Their faults do not matter to anything else.
    pub(super) shared_builds: Option<SharedBuilds>,
}

impl OpenStore {
    pub(super) fn open(settings: &JobSettings) -> Result<Self> {
        let local = Arc::new(DirectoryBackend::new(&settings.cache_dir.join(LAYOUT)));
        let remote = settings.store.remote.as_ref().map(|(url, how)| url.join(LAYOUT).open(how)).transpose();
        let remote = remote.map_err(|error| PipelineError::Remote(Arc::new(error)))?;
        let lanes = &settings.store.terms.lanes;
        let shared_builds =
            remote.as_ref().map(|remote| SharedBuilds::new(Arc::clone(remote), lanes.clone()));
        let remote = remote.map(|remote| Arc::new(FusedBackend::new(remote)));
        let backend = remote.clone().map(|remote| remote as Arc<dyn Backend>);
        let read_only = settings.reason_nothing_is_saved().is_some();
        let store = Store::new(local, backend, StoreOptions { read_only, ..settings.store.terms.clone() });
        Ok(Self { store, remote, shared_builds })
    }

    pub(super) fn remote_fault(&self) -> Option<(String, String)> {
        let remote = self.remote.as_ref()?;
        Some((remote.place(), remote.first_fault()?))
    }
}

/// Returns `true` if a fault should be reported. Each fault is reported once per run, even if it concerns many objects.
/// That a remote is no longer used after a fault is not reported.
pub(crate) fn should_report(fault: &StoreError) -> bool {
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let what = match fault {
        StoreError::Backend(error) => format!("{}: {}", error.place, chain(error.source.as_ref())),
        fault => chain(fault),
    };
    let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    fault.reason() != FaultReason::GivenUp && reported.insert(what)
}

pub(crate) fn send_unsent(store: &Store, reporter: &dyn Reporter) -> Vec<StoreError> {
    let SendReport { carried, faults } = store.send_unsent();
    if let (1.., Some(place)) = (carried.entries, store.place(StoreLocation::Remote)) {
        let (entries, bytes) = (count(carried.entries, "entry", "entries"), size(carried.bytes));
        reporter.note(&format!("sent {entries} that {place} lacked since an earlier run: {bytes}\n"));
    }
    faults
}

pub(crate) fn evict_beyond_limits(
    store: &Store,
    settings: &StoreSettings,
    reporter: &dyn Reporter,
) -> Vec<StoreError> {
    let (swept, faults) = store.enforce_limits(settings.limits, settings.remote_limits, Timestamp::now());
    let entries: usize = swept.iter().map(|swept| swept.evicted.len()).sum();
    if entries > 0 {
        let bytes = size(swept.iter().map(|swept| swept.freed_bytes).sum::<u64>());
        reporter.note(&format!(
            "evicted {} used least recently, {bytes}, to stay within the limits\n",
            count(entries, "entry that was", "entries that were")
        ));
    }
    faults
}

pub(crate) fn report_faults<'f>(
    faults: impl IntoIterator<Item = &'f StoreError>,
    reporter: &dyn Reporter,
) -> Vec<FaultRecord> {
    let report = |fault: &StoreError| {
        let record = FaultRecord::from(fault);
        if should_report(fault) {
            reporter.warn(&record.message);
        }
        record
    };
    faults.into_iter().map(report).collect()
}

/// Warns of the faults that should be reported.
pub(crate) fn warn_of_faults(faults: &[StoreError], reporter: &dyn Reporter) {
    drop(report_faults(faults, reporter));
}
