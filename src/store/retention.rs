//! Decides which entries to evict: a pure function of the entries, the limits and the time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::digest::Digest;

/// The limits of a store; `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "each is a maximum")]
pub(crate) struct StoreLimits {
    /// Bytes of the objects of all chunks; a shared chunk counts once.
    pub(crate) max_bytes: Option<u64>,
    /// The number of entries. Prefixes are counted separately, so that they do not evict images.
    pub(crate) max_entries: Option<usize>,
    /// Time since the last use of an entry.
    pub(crate) max_age: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EvictionCause {
    Asked,
    Superseded,
    Unused,
    TooMany,
    TooLarge,
}

#[derive(Debug, Clone)]
pub(super) struct EvictionCandidate {
    pub(super) last_used: Timestamp,
    /// `true` if a newer entry has the same address.
    pub(super) is_superseded: bool,
    pub(super) is_prefix: bool,
    pub(super) chunks: HashSet<Digest>,
}

/// Returns the indices of the candidates to evict, least recently used first.
pub(super) fn plan(
    candidates: &[EvictionCandidate],
    stored: &HashMap<Digest, u64>,
    limits: StoreLimits,
    now: Timestamp,
) -> Vec<(usize, EvictionCause)> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|place| (!candidates[*place].is_superseded, candidates[*place].last_used, *place));
    let mut users = chunk_users(candidates.iter().map(|candidate| &candidate.chunks));
    let size = |digest: &Digest| stored.get(digest).copied().unwrap_or_default();
    let mut bytes: u64 = users.keys().map(|digest| size(digest)).sum();
    let prefixes = candidates.iter().filter(|candidate| candidate.is_prefix).count();
    let mut entries = [candidates.len() - prefixes, prefixes];
    let mut going = Vec::new();
    for place in order {
        let candidate = &candidates[place];
        let entries = &mut entries[usize::from(candidate.is_prefix)];
        let age = Duration::try_from(now.duration_since(candidate.last_used)).unwrap_or_default();
        let cause = if candidate.is_superseded {
            EvictionCause::Superseded
        } else if limits.max_age.is_some_and(|limit| age > limit) {
            EvictionCause::Unused
        } else if limits.max_entries.is_some_and(|limit| *entries > limit) {
            EvictionCause::TooMany
        } else if limits.max_bytes.is_some_and(|limit| bytes > limit) {
            EvictionCause::TooLarge
        } else {
            continue;
        };
        going.push((place, cause));
        *entries -= 1;
        for digest in &candidate.chunks {
            let left = users.get_mut(digest).expect("each chunk of each candidate was counted");
            *left -= 1;
            if *left == 0 {
                bytes -= size(digest);
            }
        }
    }
    going
}

/// Returns how many of the entries with these chunks need each chunk.
pub(super) fn chunk_users<'a>(
    entries: impl Iterator<Item = &'a HashSet<Digest>>,
) -> HashMap<&'a Digest, usize> {
    let mut users = HashMap::new();
    for digest in entries.flatten() {
        *users.entry(digest).or_default() += 1;
    }
    users
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn chunk(number: u8) -> Digest {
        Digest::of(&[number])
    }

    fn candidate(last_used: i64, chunks: &[u8]) -> EvictionCandidate {
        let chunks = chunks.iter().map(|number| chunk(*number)).collect();
        EvictionCandidate { last_used: at(last_used), is_superseded: false, is_prefix: false, chunks }
    }

    /// Every chunk has ten bytes.
    fn stored() -> HashMap<Digest, u64> {
        (0..=255).map(|number| (chunk(number), 10)).collect()
    }

    fn bytes(most: u64) -> StoreLimits {
        StoreLimits { max_bytes: Some(most), ..StoreLimits::default() }
    }

    #[test]
    fn the_least_recently_used_entries_are_evicted_until_the_limits_are_met() {
        let candidates = [candidate(3, &[1]), candidate(1, &[2]), candidate(2, &[3])];
        let plan = |limits| plan(&candidates, &stored(), limits, at(100));
        assert_eq!(plan(StoreLimits::default()), []);
        assert_eq!(plan(bytes(30)), []);
        assert_eq!(plan(bytes(29)), [(1, EvictionCause::TooLarge)]);
        assert_eq!(plan(bytes(10)), [(1, EvictionCause::TooLarge), (2, EvictionCause::TooLarge)]);
        let two = StoreLimits { max_entries: Some(2), ..StoreLimits::default() };
        assert_eq!(plan(two), [(1, EvictionCause::TooMany)]);
        let young = StoreLimits { max_age: Some(Duration::from_secs(97)), ..StoreLimits::default() };
        assert_eq!(plan(young), [(1, EvictionCause::Unused), (2, EvictionCause::Unused)]);
    }

    #[test]
    fn a_shared_chunk_counts_once_and_is_freed_with_its_last_entry() {
        let candidates = [candidate(1, &[1, 2, 2]), candidate(2, &[2, 3]), candidate(3, &[3])];
        let plan = |limits| plan(&candidates, &stored(), limits, at(100));
        assert_eq!(plan(bytes(30)), []);
        assert_eq!(plan(bytes(20)), [(0, EvictionCause::TooLarge)]);
        assert_eq!(plan(bytes(10)), [(0, EvictionCause::TooLarge), (1, EvictionCause::TooLarge)]);
    }

    #[test]
    fn prefixes_do_not_evict_images_and_have_the_same_limit() {
        let mut candidates = [candidate(1, &[1]), candidate(2, &[1]), candidate(3, &[1]), candidate(4, &[1])];
        for prefix in &mut candidates[1..] {
            prefix.is_prefix = true;
        }
        let two = StoreLimits { max_entries: Some(2), ..StoreLimits::default() };
        assert_eq!(plan(&candidates, &stored(), two, at(100)), [(1, EvictionCause::TooMany)]);
    }

    #[test]
    fn superseded_entries_are_evicted_first() {
        let mut candidates = [candidate(1, &[1]), candidate(9, &[2])];
        candidates[1].is_superseded = true;
        let going = plan(&candidates, &stored(), bytes(10), at(100));
        assert_eq!(going, [(1, EvictionCause::Superseded)]);
    }

    proptest! {
        #[test]
        fn the_kept_entries_meet_every_limit_and_no_more_than_needed_are_evicted(
            entries in prop::collection::vec((0..50_i64, prop::collection::vec(0..12_u8, 0..5)), 0..12),
            max_bytes in prop::option::of(0..200_u64),
            max_entries in prop::option::of(0..12_usize),
        ) {
            let candidates: Vec<EvictionCandidate> =
                entries.iter().map(|(time, chunks)| candidate(*time, chunks)).collect();
            let limits = StoreLimits { max_bytes, max_entries, max_age: None };
            let going = plan(&candidates, &stored(), limits, at(100));
            let total = |gone: &[(usize, EvictionCause)]| {
                let gone: Vec<usize> = gone.iter().map(|(place, _)| *place).collect();
                let kept = candidates.iter().enumerate().filter(|(place, _)| !gone.contains(place));
                let chunks: std::collections::HashSet<Digest> =
                    kept.clone().flat_map(|(_, candidate)| candidate.chunks.clone()).collect();
                (chunks.len() as u64 * 10, kept.count())
            };
            let fits = |(bytes, count): (u64, usize)| {
                max_bytes.is_none_or(|limit| bytes <= limit) && max_entries.is_none_or(|limit| count <= limit)
            };
            prop_assert!(fits(total(&going)));
            if let Some((_, fewer)) = going.split_last() {
                prop_assert!(!fits(total(fewer)), "one eviction fewer would exceed a limit");
            }
        }
    }
}
