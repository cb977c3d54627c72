//! Finding an entry: this job's lane before the others that it reads, what is here before what is far.
//!
//! Of whole images the newest counts, in whichever of the lanes and wherever it is: a rebuild replaces what was there.

use std::collections::HashSet;

use super::manifest::{Entry, EntryName};
use super::repository::Repository;
use super::{Address, EntryKind, Lane, Store, StoreError};
use crate::digest::Digest;

/// What a look into the store gave.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The entry, if there is one that can be used.
    pub(crate) entry: Option<Entry>,
    /// It was made for the very key.
    pub(crate) exact: bool,
    /// What was in the way: each is a reason why an entry was passed over.
    pub(crate) faults: Vec<StoreError>,
}

impl Store {
    /// Looks for the entry of `key`; with `fallback` also for the newest one of the family.
    pub(crate) fn find(&self, kind: EntryKind, family: &str, key: Digest, fallback: bool) -> Found {
        let repositories = self.repositories().collect();
        let (tried, faults) = (HashSet::new(), Vec::new());
        let mut search = Search { store: self, kind, family, repositories, tried, faults };
        let (mut entry, mut exact) = (None, false);
        for key in [Some(key), None] {
            if entry.is_none() && (key.is_some() || fallback) {
                let lanes: Vec<&Lane> = self.lanes.reads().iter().collect();
                entry = match kind {
                    EntryKind::Image => search.newest(&lanes, key),
                    EntryKind::Mount | EntryKind::Dir => {
                        lanes.iter().find_map(|lane| search.newest(&[lane], key))
                    }
                };
                exact = entry.is_some() && key.is_some();
            }
        }
        Found { entry, exact, faults: search.faults }
    }

    /// The entries of a family that were saved here last, at most so many. Passed over is what cannot be read, and, where
    /// what is saved is signed, what no trusted key has signed.
    pub(crate) fn recent(&self, kind: EntryKind, family: &str, most: usize) -> Vec<Entry> {
        let trust = self.trust.as_strict_as_signed();
        let places = self.lanes.reads().iter().map(|lane| Address::place_of(lane, kind, family));
        let names = places.flat_map(|place| self.local.names(&place).unwrap_or_default());
        let mut names: Vec<EntryName> = names.collect();
        names.sort_by(|a, b| b.cmp_age(a));
        let entries = names.iter().filter_map(|name| self.local.entry(name, &trust).ok().flatten());
        entries.take(most).collect()
    }

    /// The newest entry of a family, here or in the remote, that is wanted: of this job's lane, else of the others that it
    /// reads. Of each lane at most `most` are read, and what cannot be read is passed over.
    pub(crate) fn newest_of(
        &self,
        kind: EntryKind,
        family: &str,
        most: usize,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        self.lanes.reads().iter().find_map(|lane| {
            let place = Address::place_of(lane, kind, family);
            let places = self.repositories().map(|repository| (repository, repository.names(&place)));
            let mut names: Vec<(EntryName, &Repository)> = places
                .flat_map(|(repository, names)| {
                    names.unwrap_or_default().into_iter().map(move |name| (name, repository))
                })
                .collect();
            names.sort_by(|(a, _), (b, _)| b.cmp_age(a));
            names.dedup_by(|(a, _), (b, _)| a.path() == b.path());
            let entries = names.into_iter().take(most);
            let mut entries =
                entries.filter_map(|(name, repository)| repository.entry(&name, &self.trust).ok().flatten());
            entries.find(&is_wanted)
        })
    }

    /// Whether an entry that was not looked for by its key may be used: a trusted key has signed it, where that is wanted.
    ///
    /// # Errors
    ///
    /// Fails when none has, and when it cannot be read.
    pub(crate) fn vouch_for(&self, entry: &Entry) -> Result<(), StoreError> {
        let mut told = Ok(());
        for repository in self.repositories() {
            match repository.entry(&entry.name(), &self.trust) {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(fault) => told = Err(fault),
            }
        }
        told
    }

    /// Whether this job looks for entries in that lane.
    pub(crate) fn reads(&self, lane: &Lane) -> bool {
        self.lanes.reads().contains(lane)
    }
}

/// One look into the store: what fails is asked once and told once.
struct Search<'a> {
    store: &'a Store,
    kind: EntryKind,
    family: &'a str,
    /// Those that have answered so far.
    repositories: Vec<&'a Repository>,
    /// Entries that could not be used.
    tried: HashSet<String>,
    faults: Vec<StoreError>,
}

impl<'a> Search<'a> {
    /// The newest entry of the family in these lanes that can be used, of `key` if that is given.
    fn newest(&mut self, lanes: &[&Lane], key: Option<Digest>) -> Option<Entry> {
        let mut names: Vec<(EntryName, &Repository)> = Vec::new();
        for repository in self.repositories.clone() {
            let places = lanes.iter().map(|lane| Address::place_of(lane, self.kind, self.family));
            match places.map(|place| repository.names(&place)).collect::<Result<Vec<_>, _>>() {
                Ok(found) => names.extend(found.into_iter().flatten().map(|name| (name, repository))),
                Err(fault) => {
                    self.repositories.retain(|other| !std::ptr::eq(*other, repository));
                    self.faults.push(fault);
                }
            }
            names.retain(|(name, _)| key.is_none_or(|key| name.is_for(&key)));
            // An exact one here is as good as a newer one elsewhere.
            if key.is_some()
                && self.kind != EntryKind::Image
                && let Some(entry) = self.first_usable(std::mem::take(&mut names))
            {
                return Some(entry);
            }
        }
        self.first_usable(names)
    }

    /// The newest of `names` that can be used.
    fn first_usable(&mut self, mut names: Vec<(EntryName, &'a Repository)>) -> Option<Entry> {
        // Of the same entry here and there, the one here comes first: sorting keeps their order.
        names.sort_by(|(a, _), (b, _)| b.cmp_age(a));
        for (name, repository) in names {
            if !self.tried.insert(format!("{} {}", repository.place(), name.path())) {
                continue;
            }
            match repository.entry(&name, &self.store.trust) {
                Ok(Some(entry)) => return Some(entry),
                Ok(None) => {}
                Err(fault) => self.faults.push(fault),
            }
        }
        None
    }
}
