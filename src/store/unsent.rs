//! Entries that the remote lacks, because of an outage or because they were saved without it.
//!
//! A save with a remote first records the entry in `unsent`, and removes the record when the remote has the entry.

use super::backend::BackendError;
use super::census::StoreLocation;
use super::manifest::{Entry, EntryName};
use super::push::UploadQueue;
use super::repository::{MAX_MANIFEST_SIZE, StoreRepository};
use super::signature::Trust;
use super::{Store, StoreError, TransferAmounts};

const UNSENT_DIRECTORY: &str = "unsent";

#[derive(Debug, Default)]
pub(crate) struct SendReport {
    pub(crate) carried: TransferAmounts,
    pub(crate) faults: Vec<StoreError>,
}

impl Store {
    pub(super) fn record_unsent(&self, entry: &Entry) -> Result<(), BackendError> {
        self.local.backend.write(&record_path(&entry.digits()), entry.path.as_bytes())
    }

    pub(super) fn remove_unsent_record(&self, entry: &Entry) -> Result<(), BackendError> {
        self.local.backend.remove(&record_path(&entry.digits()))
    }

    /// Sends entries of this job's lane that earlier saves could not send to the remote.
    pub(crate) fn send_unsent(&self) -> SendReport {
        let mut sent = SendReport::default();
        let Some(remote) = self.remote.as_ref().filter(|_| !self.read_only) else { return sent };
        let notes = match self.local.backend.list(UNSENT_DIRECTORY) {
            Ok(notes) => notes,
            Err(fault) => return SendReport { faults: vec![fault.into()], ..sent },
        };
        for note in notes {
            match self.send_recorded(&note.path, remote) {
                Ok(carried) => sent.carried += carried,
                Err(fault) => {
                    let is_of_remote =
                        matches!(&fault, StoreError::Backend(error) if error.place == remote.place());
                    sent.faults.push(fault);
                    if is_of_remote {
                        break;
                    }
                }
            }
        }
        sent
    }

    fn send_recorded(&self, note: &str, remote: &StoreRepository) -> Result<TransferAmounts, StoreError> {
        let path = self.local.backend.read(note, MAX_MANIFEST_SIZE)?.unwrap_or_default();
        let name = String::from_utf8(path).ok().and_then(|path| EntryName::parse(&path));
        let entry = name.map(|name| self.local.entry(&name, &Trust::default())).transpose()?.flatten();
        let carried = match entry {
            Some(entry) if entry.manifest.address.lane != *self.lanes.own() => {
                return Ok(TransferAmounts::default());
            }
            Some(entry) => self.send(&entry, remote)?,
            // The entry was evicted meanwhile.
            None => TransferAmounts::default(),
        };
        self.local.backend.remove(note)?;
        Ok(carried)
    }

    /// Sends every local entry that the remote lacks, of any lane, and calls `progress` with each. Fails if the store
    /// is read-only, or if the local entries cannot be listed.
    pub(crate) fn send_all(&self, progress: &dyn Fn(&Entry)) -> Result<SendReport, StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        let Some(remote) = self.repository(StoreLocation::Remote) else { return Ok(SendReport::default()) };
        let (entries, faults) = self.local.entries()?;
        let mut sent = SendReport { faults, ..SendReport::default() };
        for entry in entries {
            match self.send(&entry, remote) {
                Ok(carried) => {
                    sent.carried += carried;
                    self.remove_unsent_record(&entry)?;
                    progress(&entry);
                }
                Err(fault) => sent.faults.push(fault),
            }
        }
        Ok(sent)
    }

    /// Sends an entry unless the remote has it or a newer version of it.
    fn send(&self, entry: &Entry, remote: &StoreRepository) -> Result<TransferAmounts, StoreError> {
        let (address, name) = (&entry.manifest.address, entry.name());
        let newest = remote.versions(address)?.into_iter().next();
        if newest.is_some_and(|newest| newest.cmp_age(&name).is_ge()) {
            return Ok(TransferAmounts::default());
        }
        let Some(text) = self.local.backend.read(&entry.path, MAX_MANIFEST_SIZE)? else {
            return Ok(TransferAmounts::default());
        };
        let push = UploadQueue::new(&self.local, remote)?;
        for chunk in &entry.manifest.chunks {
            push.send(chunk.digest);
        }
        push.finish(entry, &text)
    }
}

fn record_path(digits: &str) -> String {
    format!("{UNSENT_DIRECTORY}/{digits}")
}
