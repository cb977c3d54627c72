//! Keeps the store within its limits after each save, without listing everything each time.
//!
//! `usage.json` records the result of the last sweep, and what later entries had added that newer versions replaced. That
//! and the bytes added by later entries are an upper bound of the current usage, unless two savers replace entries at the
//! same moment. The next sweep runs when this bound exceeds the limit, or after a day.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::manifest::EntryName;
use super::repository::StoreRepository;
use super::retention::StoreLimits;
use super::signature::Trust;
use super::sweep::{EvictionSelection, SweepReport, sweep};
use super::{EntryKind, Store, StoreError};

const PATH: &str = "usage.json";
const MAX_SWEEP_INTERVAL: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, Serialize, Deserialize)]
struct UsageRecord {
    bytes: u64,
    at: Timestamp,
}

impl Store {
    /// Removes what exceeds `limits` locally and `remote_limits` in the remote, if the limits may be exceeded. Returns
    /// what was removed, and the faults.
    pub(crate) fn enforce_limits(
        &self,
        limits: StoreLimits,
        remote_limits: StoreLimits,
        now: Timestamp,
    ) -> (Vec<SweepReport>, Vec<StoreError>) {
        let (mut swept, mut faults) = (Vec::new(), Vec::new());
        if self.read_only {
            return (swept, faults);
        }
        for (repository, limits) in self.repositories().zip([limits, remote_limits]) {
            match enforce_limits(repository, limits, now) {
                Ok(done) => swept.extend(done),
                Err(fault) => faults.push(fault),
            }
        }
        (swept, faults)
    }
}

fn enforce_limits(
    repository: &StoreRepository,
    limits: StoreLimits,
    now: Timestamp,
) -> Result<Option<SweepReport>, StoreError> {
    if !may_exceed_limits(repository, limits, now)? {
        return Ok(None);
    }
    let swept = sweep(repository, EvictionSelection::OverLimitsWithMargin(limits), false, now)?;
    let usage = UsageRecord { bytes: swept.kept_bytes, at: now };
    write(repository, &usage)?;
    Ok(Some(swept))
}

/// Records that the chunks of these entries, which are about to be removed, stay until the next sweep.
pub(super) fn record_replaced(
    repository: &StoreRepository,
    replaced: &[EntryName],
) -> Result<(), StoreError> {
    let Some(mut usage) = read(repository)? else { return Ok(()) };
    let mut bytes: u64 = 0;
    for name in replaced.iter().filter(|name| name.is_saved_since(usage.at)) {
        if let Ok(Some(entry)) = repository.entry(name, &Trust::default()) {
            bytes = entry.manifest.added_bytes.saturating_add(bytes);
        }
    }
    if bytes > 0 {
        usage.bytes = usage.bytes.saturating_add(bytes);
        write(repository, &usage)?;
    }
    Ok(())
}

fn read(repository: &StoreRepository) -> Result<Option<UsageRecord>, StoreError> {
    let text = repository.backend.read(PATH, 4096)?;
    Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
}

fn write(repository: &StoreRepository, usage: &UsageRecord) -> Result<(), StoreError> {
    let text = serde_json::to_vec(usage).expect("a number and a time");
    Ok(repository.backend.write(PATH, &text)?)
}

fn may_exceed_limits(
    repository: &StoreRepository,
    limits: StoreLimits,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(usage) = read(repository)?.filter(|usage| (now - MAX_SWEEP_INTERVAL..=now).contains(&usage.at))
    else {
        return Ok(true);
    };
    let names = repository.names("entries")?;
    let prefixes = names.iter().filter(|name| name.is_of_kind(EntryKind::Prefix)).count();
    if limits.max_entries.is_some_and(|limit| prefixes.max(names.len() - prefixes) > limit) {
        return Ok(true);
    }
    let Some(limit) = limits.max_bytes else { return Ok(false) };
    let mut bytes = usage.bytes;
    for name in names.iter().filter(|name| name.is_saved_since(usage.at)) {
        match repository.entry(name, &Trust::default()) {
            Ok(Some(entry)) => bytes = bytes.saturating_add(entry.manifest.added_bytes),
            Ok(None) => {}
            Err(_) => return Ok(true),
        }
    }
    Ok(bytes > limit)
}
