//! The store that the settings name.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Once, PoisonError};

use jiff::Timestamp;

use super::error::{CommandError, chain};
use crate::output::{Printer, count, size};
use crate::settings::{Settings, StoreSettings};
use crate::store::backend::remote::OpenRemoteFault;
use crate::store::backend::{Backend, Directory, Fused, Reason};
use crate::store::{LAYOUT, Place, Sent, Store, StoreError, Terms};

/// The remote of this process: one that fails is left alone by all of it.
static REMOTE: Mutex<Option<Arc<Fused>>> = Mutex::new(None);

/// Opens the store; nothing is read yet.
pub(super) fn open(settings: &Settings) -> Result<Store, CommandError> {
    let local = Arc::new(Directory::new(&settings.cache_dir.join(LAYOUT)));
    let mut opened = REMOTE.lock().unwrap_or_else(PoisonError::into_inner);
    if opened.is_none() {
        *opened = open_remote(settings)?;
    }
    let remote = opened.clone().map(|remote| remote as Arc<dyn Backend>);
    let read_only = settings.saves_nothing().is_some();
    Ok(Store::new(local, remote, Terms { read_only, ..settings.store.terms.clone() }))
}

/// What went wrong first with the remote, and where that is.
pub(super) fn remote_fault() -> Option<(String, String)> {
    let opened = REMOTE.lock().unwrap_or_else(PoisonError::into_inner);
    opened.as_ref().and_then(|remote| Some((remote.place(), remote.first_fault()?)))
}

fn open_remote(settings: &Settings) -> Result<Option<Arc<Fused>>, CommandError> {
    let remote = settings.store.remote.as_ref().map(|(url, how)| url.below(LAYOUT).open(how)).transpose();
    let remote = remote.map_err(|error| {
        let told = CommandError::config(&error);
        let told = match error.reason {
            OpenRemoteFault::NotGiven(variable) => told.hint(how_provided(variable)),
            _ => told,
        };
        told.hint("correct --remote or LARDER_REMOTE, or leave it out to use this machine's cache alone")
    })?;
    Ok(remote.map(|remote| Arc::new(Fused::new(remote))))
}

/// Warns, once, where it is not known whose build this is.
pub(super) fn warn_of_unknown_branch(settings: &Settings, printer: Printer) {
    static WARNED: Once = Once::new();
    if let Some(warning) = settings.lanes.warning() {
        WARNED.call_once(|| printer.warn(&warning));
    }
}

/// How a workflow of GitHub's gives a step this variable.
fn how_provided(variable: &str) -> String {
    match variable {
        "GITHUB_TOKEN" => "give the job `permissions: actions: write`, and the step \
             `env: GITHUB_TOKEN: ${{ github.token }}`"
            .to_owned(),
        actions if actions.starts_with("ACTIONS_") => format!(
            "GitHub gives it to actions, not to `run:` steps; a step before that `uses: actions/github-script` hands it \
             on with `script: core.exportVariable('{actions}', process.env.{actions} ?? '')`"
        ),
        _ => "GitHub sets it in every step of a workflow; this cache is for those alone".to_owned(),
    }
}

/// Returns `true` if a fault is to be reported, beside being counted: once in a run, however many objects it concerns, and
/// not that a remote was given up.
pub(super) fn is_news(fault: &StoreError) -> bool {
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let what = match fault {
        StoreError::Backend(error) => format!("{}: {}", error.place, chain(error.source.as_ref())),
        fault => chain(fault),
    };
    let mut reported = REPORTED.lock().unwrap_or_else(PoisonError::into_inner);
    fault.reason() != Reason::GivenUp && reported.insert(what)
}

/// Sends what earlier saves could not bring to the remote, and reports that; returns the faults.
pub(super) fn send_unsent(store: &Store, printer: Printer) -> Vec<StoreError> {
    let Sent { carried, faults } = store.send_unsent();
    if let (1.., Some(place)) = (carried.entries, store.place(Place::Remote)) {
        let (entries, bytes) = (count(carried.entries, "entry", "entries"), size(carried.bytes));
        printer.note(&format!("sent {entries} that {place} lacked since an earlier run: {bytes}\n"));
    }
    faults
}

/// Evicts what a save has brought beyond the limits; tells what went, and answers the faults.
pub(super) fn keep_within(store: &Store, settings: &StoreSettings, printer: Printer) -> Vec<StoreError> {
    let (swept, faults) = store.keep_within(settings.limits, settings.remote_limits, Timestamp::now());
    let entries: usize = swept.iter().map(|swept| swept.evicted.len()).sum();
    if entries > 0 {
        let bytes = size(swept.iter().map(|swept| swept.freed_bytes).sum::<u64>());
        printer.note(&format!(
            "evicted {} used least recently, {bytes}, to stay within the limits\n",
            count(entries, "entry that was", "entries that were")
        ));
    }
    faults
}

/// Warns of what went wrong in the store beside what was done.
pub(super) fn warn_of(faults: &[StoreError], printer: Printer) {
    for fault in faults.iter().filter(|fault| is_news(fault)) {
        printer.warn(&chain(fault));
    }
}
