//! Finds entries: the job's own lane is searched before the others, and the local store before the remote.
//!
//! For images and prefixes, the newest entry in any of these lanes and places is used, because a rebuild replaces
//! earlier images.

use std::collections::HashSet;

use super::manifest::{Entry, EntryName};
use super::repository::StoreRepository;
use super::{Address, EntryKind, Lane, Store, StoreError};
use crate::digest::Digest;

#[derive(Debug, Default)]
pub(crate) struct FoundEntry {
    pub(crate) entry: Option<Entry>,
    /// `true` if the entry was made for exactly the key that was searched for.
    pub(crate) is_exact: bool,
    pub(crate) faults: Vec<StoreError>,
}

impl Store {
    /// Finds the entry of `key`. With `fallback`, uses the newest entry of the family if `key` has no entry.
    pub(crate) fn find(&self, kind: EntryKind, family: &str, key: Digest, fallback: bool) -> FoundEntry {
        let repositories = self.repositories().collect();
        let (tried, faults) = (HashSet::new(), Vec::new());
        let mut search = EntrySearch { store: self, kind, family, repositories, tried, faults };
        let (mut entry, mut exact) = (None, false);
        for key in [Some(key), None] {
            if entry.is_none() && (key.is_some() || fallback) {
                let lanes: Vec<&Lane> = self.lanes.reads().iter().collect();
                entry = match kind {
                    EntryKind::Image | EntryKind::Prefix => search.newest(&lanes, key),
                    EntryKind::Mount | EntryKind::Dir => {
                        lanes.iter().find_map(|lane| search.newest(&[lane], key))
                    }
                };
                exact = entry.is_some() && key.is_some();
            }
        }
        FoundEntry { entry, is_exact: exact, faults: search.faults }
    }

    /// Returns the latest `most` entries of a family in the local store. Skips entries that cannot be read or are not
    /// trusted.
    pub(crate) fn recent(&self, kind: EntryKind, family: &str, most: usize) -> Vec<Entry> {
        let places = self.lanes.reads().iter().map(|lane| Address::directory_of(lane, kind, family));
        let names = places.flat_map(|place| self.local.names(&place).unwrap_or_default());
        let mut names: Vec<EntryName> = names.collect();
        names.sort_by(|a, b| b.cmp_age(a));
        let entries = names.iter().filter_map(|name| self.local.entry(name, &self.trust).ok().flatten());
        entries.take(most).collect()
    }

    /// Returns the newest entry of a family for which `is_wanted` is `true`, local or remote, from the first lane that
    /// has one. Reads at most `most` entries of each lane and skips those that cannot be read.
    pub(crate) fn newest_of(
        &self,
        kind: EntryKind,
        family: &str,
        most: usize,
        is_wanted: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        self.lanes.reads().iter().find_map(|lane| {
            let place = Address::directory_of(lane, kind, family);
            let places = self.repositories().map(|repository| (repository, repository.names(&place)));
            let mut names: Vec<(EntryName, &StoreRepository)> = places
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

    /// Checks that an entry that was not found by its key may be used. Fails if it cannot be read, or if signatures are
    /// required, or new entries are signed, and no trusted key has signed it.
    pub(crate) fn check_trust(&self, entry: &Entry) -> Result<(), StoreError> {
        let mut result = Ok(());
        for repository in self.repositories() {
            match repository.entry(&entry.name(), &self.trust) {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => {}
                Err(fault) => result = Err(fault),
            }
        }
        result
    }

    pub(crate) fn reads_lane(&self, lane: &Lane) -> bool {
        self.lanes.reads().contains(lane)
    }
}

/// The state of one search. A repository or entry that fails is tried and reported only once.
struct EntrySearch<'a> {
    store: &'a Store,
    kind: EntryKind,
    family: &'a str,
    /// The repositories that have not failed so far.
    repositories: Vec<&'a StoreRepository>,
    /// The entries that have been tried, as place and path.
    tried: HashSet<String>,
    faults: Vec<StoreError>,
}

impl<'a> EntrySearch<'a> {
    /// Returns the newest usable entry of the family in these lanes, restricted to `key` if it is given.
    fn newest(&mut self, lanes: &[&Lane], key: Option<Digest>) -> Option<Entry> {
        let mut names: Vec<(EntryName, &StoreRepository)> = Vec::new();
        for repository in self.repositories.clone() {
            let places = lanes.iter().map(|lane| Address::directory_of(lane, self.kind, self.family));
            match places.map(|place| repository.names(&place)).collect::<Result<Vec<_>, _>>() {
                Ok(found) => names.extend(found.into_iter().flatten().map(|name| (name, repository))),
                Err(fault) => {
                    self.repositories.retain(|other| !std::ptr::eq(*other, repository));
                    self.faults.push(fault);
                }
            }
            names.retain(|(name, _)| key.is_none_or(|key| name.is_for_key(&key)));
            // An exact match in an earlier repository is as good as a newer one in a later repository.
            if key.is_some()
                && !matches!(self.kind, EntryKind::Image | EntryKind::Prefix)
                && let Some(entry) = self.first_usable(std::mem::take(&mut names))
            {
                return Some(entry);
            }
        }
        self.first_usable(names)
    }

    fn first_usable(&mut self, mut names: Vec<(EntryName, &'a StoreRepository)>) -> Option<Entry> {
        // The sort is stable, so a local copy of an entry stays before the remote one.
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
