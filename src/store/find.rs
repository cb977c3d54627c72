//! Finding an entry: this job's lane before the trunk's, what is here before what is far.

use super::manifest::{Entry, EntryName};
use super::repository::Repository;
use super::{Address, EntryKind, Lane, Store, StoreError};
use crate::digest::Digest;

/// What a look into the store gave.
#[derive(Debug, Default)]
pub struct Found {
    /// The entry, if there is one that can be used.
    pub entry: Option<Entry>,
    /// It was made for the very key.
    pub exact: bool,
    /// What was in the way: each is a reason why an entry was passed over.
    pub faults: Vec<StoreError>,
}

impl Store {
    /// Looks for the entry of `key`; with `fallback` also for the newest one of the family.
    pub fn find(&self, kind: EntryKind, family: &str, key: Digest, fallback: bool) -> Found {
        let mut found = Found::default();
        for lane in self.lanes() {
            if let Some(entry) = self.newest(lane, kind, family, Some(key), &mut found.faults) {
                return Found { entry: Some(entry), exact: true, ..found };
            }
        }
        if fallback {
            for lane in self.lanes() {
                if let Some(entry) = self.newest(lane, kind, family, None, &mut found.faults) {
                    return Found { entry: Some(entry), ..found };
                }
            }
        }
        found
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.lane).chain((self.trunk != self.lane).then_some(&self.trunk))
    }

    /// The newest entry of a family that can be used, of `key` if that is given.
    fn newest(
        &self,
        lane: &Lane,
        kind: EntryKind,
        family: &str,
        key: Option<Digest>,
        faults: &mut Vec<StoreError>,
    ) -> Option<Entry> {
        let place = Address::place_of(lane, kind, family);
        let mut names: Vec<(EntryName, &Repository)> = Vec::new();
        for repository in self.repositories() {
            match repository.names(&place) {
                Ok(found) => names.extend(found.into_iter().map(|name| (name, repository))),
                Err(fault) => faults.push(fault),
            }
            names.retain(|(name, _)| key.is_none_or(|key| name.is_for(&key)));
            // An exact one here is as good as a newer one elsewhere.
            if key.is_some() {
                if let Some(entry) = self.first_usable(&mut names, faults) {
                    return Some(entry);
                }
                names.clear();
            }
        }
        self.first_usable(&mut names, faults)
    }

    /// The newest of `names` that can be used.
    fn first_usable(
        &self,
        names: &mut [(EntryName, &Repository)],
        faults: &mut Vec<StoreError>,
    ) -> Option<Entry> {
        // Of the same entry here and there, the one here comes first: sorting keeps their order.
        names.sort_by(|(a, _), (b, _)| b.cmp_age(a));
        for (name, repository) in names {
            match repository.entry(name, &self.trust) {
                Ok(Some(entry)) => return Some(entry),
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        None
    }
}
