//! Entries that the remote lacks, because of an outage or because they were saved without it.
//!
//! A save with a remote first records the entry in `unsent`, and removes the record when the remote has the entry.

use super::backend::BackendError;
use super::census::Place;
use super::manifest::{Entry, EntryName};
use super::push::Push;
use super::repository::{LARGEST_MANIFEST, Repository};
use super::signature::Trust;
use super::{Carried, Store, StoreError};

const DIRECTORY: &str = "unsent";

#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) carried: Carried,
    /// Why other entries could not be sent.
    pub(crate) faults: Vec<StoreError>,
}

impl Store {
    /// Records that the remote may lack an entry.
    pub(super) fn note_unsent(&self, entry: &Entry) -> Result<(), BackendError> {
        self.local.backend.write(&note(&entry.digits()), entry.path.as_bytes())
    }

    /// Removes the record of an entry.
    pub(super) fn note_sent(&self, entry: &Entry) -> Result<(), BackendError> {
        self.local.backend.remove(&note(&entry.digits()))
    }

    /// Sends entries of this job's lane that earlier saves could not send to the remote.
    pub(crate) fn send_unsent(&self) -> Sent {
        let mut sent = Sent::default();
        let Some(remote) = self.remote.as_ref().filter(|_| !self.read_only) else { return sent };
        let notes = match self.local.backend.list(DIRECTORY) {
            Ok(notes) => notes,
            Err(fault) => return Sent { faults: vec![fault.into()], ..sent },
        };
        for note in notes {
            match self.send_noted(&note.path, remote) {
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

    fn send_noted(&self, note: &str, remote: &Repository) -> Result<Carried, StoreError> {
        let path = self.local.backend.read(note, LARGEST_MANIFEST)?.unwrap_or_default();
        let name = String::from_utf8(path).ok().and_then(|path| path.parse::<EntryName>().ok());
        let entry = name.map(|name| self.local.entry(&name, &Trust::default())).transpose()?.flatten();
        let carried = match entry {
            Some(entry) if entry.manifest.address.lane != *self.lanes.own() => return Ok(Carried::default()),
            Some(entry) => self.send(&entry, remote)?,
            // The entry was evicted meanwhile.
            None => Carried::default(),
        };
        self.local.backend.remove(note)?;
        Ok(carried)
    }

    /// Sends every local entry that the remote lacks, of any lane, and calls `progress` with each. Fails if the store
    /// is read-only, or if the local entries cannot be listed.
    pub(crate) fn send_all(&self, progress: &dyn Fn(&Entry)) -> Result<Sent, StoreError> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        let Some(remote) = self.repository(Place::Remote) else { return Ok(Sent::default()) };
        let (entries, faults) = self.local.entries()?;
        let mut sent = Sent { faults, ..Sent::default() };
        for entry in entries {
            match self.send(&entry, remote) {
                Ok(carried) => {
                    sent.carried += carried;
                    self.note_sent(&entry)?;
                    progress(&entry);
                }
                Err(fault) => sent.faults.push(fault),
            }
        }
        Ok(sent)
    }

    /// Sends an entry unless the remote has it or a newer version of it.
    fn send(&self, entry: &Entry, remote: &Repository) -> Result<Carried, StoreError> {
        let (address, name) = (&entry.manifest.address, entry.name());
        let newest = remote.versions(address)?.into_iter().next();
        if newest.is_some_and(|newest| newest.cmp_age(&name).is_ge()) {
            return Ok(Carried::default());
        }
        let Some(text) = self.local.backend.read(&entry.path, LARGEST_MANIFEST)? else {
            return Ok(Carried::default());
        };
        let push = Push::new(&self.local, remote)?;
        for chunk in &entry.manifest.chunks {
            push.send(chunk.digest);
        }
        push.finish(entry, &text)
    }
}

fn note(digits: &str) -> String {
    format!("{DIRECTORY}/{digits}")
}
