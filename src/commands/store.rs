//! The store that the settings name.

use std::sync::{Arc, Once};

use humansize::{DECIMAL, format_size};
use jiff::Timestamp;

use super::error::{CommandError, chain};
use crate::key::Input;
use crate::output::Printer;
use crate::settings::Settings;
use crate::store::backend::remote::OpenRemoteFault;
use crate::store::backend::{Backend, Directory, Fused, Reason};
use crate::store::{KeyInput, LAYOUT, Limits, Store, StoreError, Terms};

/// Opens the store; nothing is read yet.
pub(super) fn open(settings: &Settings) -> Result<Store, CommandError> {
    let local = Arc::new(Directory::new(&settings.cache_dir.join(LAYOUT)));
    let remote = settings.store.remote.as_ref().map(|(url, how)| url.below(LAYOUT).open(how)).transpose();
    let remote = remote.map_err(|error| {
        let told = CommandError::config(&error);
        let told = match error.reason {
            OpenRemoteFault::NotGiven(variable) => told.hint(how_provided(variable)),
            _ => told,
        };
        told.hint("correct --remote or LARDER_REMOTE, or leave it out to use this machine's cache alone")
    })?;
    let remote = remote.map(|remote| Arc::new(Fused::new(remote)) as Arc<dyn Backend>);
    let read_only = settings.saves_nothing().is_some();
    Ok(Store::new(local, remote, Terms { read_only, ..settings.store.terms.clone() }))
}

/// Warns, once, where it is not known whose build this is.
pub(super) fn warn_of_unknown_branch(settings: &Settings, printer: Printer) {
    static WARNED: Once = Once::new();
    if let Some(warning) = settings.lanes.warning() {
        WARNED.call_once(|| printer.warn(&warning));
    }
}

/// What a key was made of, as an entry keeps it.
pub(super) fn key_inputs(inputs: &[Input]) -> Vec<KeyInput> {
    let kept = |input: &Input| KeyInput {
        kind: input.kind.name().to_owned(),
        name: input.name.clone(),
        digest: input.digest,
    };
    inputs.iter().map(kept).collect()
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

/// Whether a fault is to be told, beside being counted: that a remote was given up is told once.
pub(super) fn is_news(fault: &StoreError) -> bool {
    fault.reason() != Reason::GivenUp
}

/// Evicts what a save has brought beyond the limits; tells what went, and answers the faults.
pub(super) fn keep_within(store: &Store, limits: Limits, printer: Printer) -> Vec<StoreError> {
    let (swept, faults) = store.keep_within(limits, Timestamp::now());
    let entries: usize = swept.iter().map(|swept| swept.evicted.len()).sum();
    if entries > 0 {
        let bytes = format_size(swept.iter().map(|swept| swept.freed_bytes).sum::<u64>(), DECIMAL);
        printer.note(&format!(
            "evicted {entries} entries that were used least recently, {bytes}, to stay within the limits\n"
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
