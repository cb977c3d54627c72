//! The last builds of an image in one object, for other agents: JSON lines, compressed with zstd.
//!
//! Only what statistics need is shared: no errors, no reasons, no addresses. Whoever can write to the store or the
//! registry can write such an object, so its content is not trusted: builds of another image or lane, and builds that
//! cannot be true, are dropped, and texts are stripped of control characters.

use std::collections::HashSet;
use std::io::{self, Read};

use jiff::Timestamp;
use serde_json::Value;

use super::{BuildRecord, LanesRecord, TierRecord};
use crate::screen_text::screen_text;

/// The maximum number of builds in an object.
const MAX_SHARED: usize = 50;
/// The maximum size of a build in bytes.
const MAX_LINE: usize = 64 << 10;
/// The maximum size of an object in bytes.
pub(crate) const MAX_PACKED_SIZE: u64 = 1 << 20;
const COMPRESSION_LEVEL: i32 = 9;
/// The longest time and the largest amount that a build can have, so that sums cannot overflow.
const MAX_NUMBER: u64 = 1 << 50;
const MAX_LISTED: usize = 1000;
/// How far the clock of another agent may be ahead, in seconds.
const MAX_AHEAD: i64 = 600;

/// What all builds in an object must have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedScope<'a> {
    pub(crate) repositories: &'a [String],
    /// The names of the lane; several if the default branch is not known.
    pub(crate) lanes: &'a [String],
}

impl SharedScope<'_> {
    fn contains(self, build: &BuildRecord) -> bool {
        let is_of_lane = |lanes: &LanesRecord| self.lanes.contains(&lanes.own);
        build.repositories == self.repositories && build.lanes.as_ref().is_some_and(is_of_lane)
    }
}

/// Packs the last builds of `scope`, without those that are too large.
pub(crate) fn pack(builds: &[BuildRecord], scope: SharedScope<'_>) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for build in builds.iter().filter(|build| scope.contains(build)) {
        let line = serde_json::to_vec(&reduced(build))?;
        if line.len() <= MAX_LINE {
            lines.push(line);
        }
    }
    let start = lines.len().saturating_sub(MAX_SHARED);
    zstd::bulk::compress(&lines[start..].join(&b'\n'), COMPRESSION_LEVEL)
}

/// Returns the part of a build that is shared.
fn reduced(build: &BuildRecord) -> BuildRecord {
    let mut reduced = build.clone();
    for tier in &mut reduced.tiers {
        *tier = TierRecord { reason: String::new(), ..tier.clone() };
    }
    if let Some(lanes) = &mut reduced.lanes {
        (lanes.own_from, lanes.trunk_from) = (String::new(), String::new());
    }
    if let Some(job) = &mut reduced.job {
        job.url = None;
    }
    reduced.from_other_agent = false;
    reduced.changes.clear();
    reduced.more.clear();
    (reduced.image_id, reduced.no_key, reduced.error) = (None, None, None);
    (reduced.base, reduced.kept, reduced.kept_layers, reduced.remote) = (None, None, None, None);
    reduced.stored_bytes = None;
    reduced
}

/// Returns the builds of `scope` in an object, oldest first. Fails if it is not compressed with zstd, or too large.
pub(crate) fn unpack(packed: &[u8], scope: SharedScope<'_>, now: Timestamp) -> io::Result<Vec<BuildRecord>> {
    let max_size = MAX_SHARED * (MAX_LINE + 1);
    let mut lines = Vec::new();
    zstd::stream::read::Decoder::new(packed)?.take(max_size as u64 + 1).read_to_end(&mut lines)?;
    if lines.len() > max_size {
        return Err(io::Error::other("the shared builds are too large"));
    }
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| line.len() <= MAX_LINE);
    let parsed = lines.take(MAX_SHARED).filter_map(|line| {
        let mut value: Value = serde_json::from_slice(line).ok()?;
        if !clean(&mut value) {
            return None;
        }
        let build: BuildRecord = serde_json::from_value(value).ok()?;
        Some(BuildRecord { from_other_agent: true, ..reduced(&build) })
    });
    let is_possible = |build: &BuildRecord| {
        let lists = [build.step_list.len(), build.tiers.len(), build.mounts.len(), build.phases.len()];
        scope.contains(build)
            && build.steps.cached <= build.steps.total
            && lists.into_iter().all(|length| length <= MAX_LISTED)
            && build.started.as_second() <= now.as_second() + MAX_AHEAD
    };
    let mut builds: Vec<BuildRecord> = parsed.filter(is_possible).collect();
    builds.sort_by_key(|build| build.started);
    Ok(builds)
}

/// Returns the builds of `found` that are not among `known`, each once, oldest first.
pub(crate) fn unknown_builds(known: &[BuildRecord], found: Vec<BuildRecord>) -> Vec<BuildRecord> {
    let mut seen: HashSet<_> = known.iter().map(identity).collect();
    let mut new: Vec<BuildRecord> = found.into_iter().filter(|build| seen.insert(identity(build))).collect();
    new.sort_by_key(|build| build.started);
    new
}

/// Returns what identifies a build.
pub(super) fn identity(build: &BuildRecord) -> (Timestamp, Vec<String>) {
    (build.started, build.names.clone())
}

/// Removes control characters from all texts. Returns `false` if a number is impossible.
fn clean(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            *text = screen_text(text);
            true
        }
        Value::Array(values) => values.iter_mut().all(clean),
        Value::Object(fields) => fields.values_mut().all(clean),
        Value::Number(number) => number.as_u64().is_some_and(|number| number <= MAX_NUMBER),
        Value::Null | Value::Bool(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{CiJobRecord, TierOutcome};

    fn build(second: i64) -> BuildRecord {
        BuildRecord {
            started: Timestamp::from_second(second).unwrap(),
            repositories: vec!["r/app".to_owned()],
            lanes: Some(LanesRecord {
                own: "main".to_owned(),
                own_from: String::new(),
                trunk: vec!["main".to_owned()],
                trunk_from: String::new(),
            }),
            ..BuildRecord::for_tests("a")
        }
    }

    fn seconds(builds: &[BuildRecord]) -> Vec<i64> {
        builds.iter().map(|build| build.started.as_second()).collect()
    }

    fn exchanged(builds: &[BuildRecord]) -> Vec<BuildRecord> {
        let (repositories, lanes) = (["r/app".to_owned()], ["main".to_owned()]);
        let scope = SharedScope { repositories: &repositories, lanes: &lanes };
        unpack(&pack(builds, scope).unwrap(), scope, Timestamp::from_second(1_000).unwrap()).unwrap()
    }

    #[test]
    fn the_last_builds_of_an_image_and_lane_are_exchanged() {
        let builds: Vec<BuildRecord> = (0..60).map(build).collect();
        let found = exchanged(&builds);
        assert_eq!(seconds(&found), (10..60).collect::<Vec<_>>());
        assert!(found.iter().all(|build| build.from_other_agent));
        let mut others = [build(1), build(2), build(3)];
        others[0].repositories = vec!["r/other".to_owned()];
        others[1].lanes.as_mut().unwrap().own = "pr-7".to_owned();
        assert_eq!(seconds(&exchanged(&others)), [3]);
        assert_eq!(exchanged(&[]), []);
    }

    #[test]
    fn what_statistics_do_not_need_is_not_shared() {
        let secret = "confidential".to_owned();
        let mut build = build(1);
        build.error = Some(secret.clone());
        build.changes = vec![secret.clone()];
        build.image_id = Some(secret.clone());
        build.more.insert("more".to_owned(), secret.clone().into());
        build.tiers = vec![TierRecord::new("engine", TierOutcome::Miss, secret.clone())];
        build.job = Some(CiJobRecord { url: Some(secret.clone()), ..CiJobRecord::default() });
        let found = exchanged(&[build]);
        assert_eq!(found[0].tiers[0].tier, "engine");
        assert!(!serde_json::to_string(&found).unwrap().contains(&secret));
    }

    #[test]
    fn hostile_content_is_dropped_or_stripped() {
        let line = |change: &dyn Fn(&mut BuildRecord)| {
            let mut build = build(1);
            change(&mut build);
            serde_json::to_vec(&build).unwrap()
        };
        let content = [
            line(&|build| build.names = vec!["app\u{1b}[2J\n:1".to_owned()]),
            line(&|build| build.millis = u64::MAX),
            line(&|build| build.steps.cached = 1),
            line(&|build| build.started = Timestamp::from_second(9_000).unwrap()),
            line(&|build| build.names = vec!["x".repeat(MAX_LINE)]),
            b"{\"schema\": 7}".to_vec(),
            b"no JSON".to_vec(),
            b"\xff".to_vec(),
        ];
        let (repositories, lanes) = (["r/app".to_owned()], ["main".to_owned()]);
        let scope = SharedScope { repositories: &repositories, lanes: &lanes };
        let now = Timestamp::from_second(1_000).unwrap();
        let packed = zstd::bulk::compress(&content.join(&b'\n'), 1).unwrap();
        let builds = unpack(&packed, scope, now).unwrap();
        assert_eq!(builds.iter().map(|build| build.names.join("")).collect::<Vec<_>>(), ["app :1"]);
        assert!(unpack(b"not compressed", scope, now).is_err());
        let bomb = zstd::bulk::compress(&vec![b' '; 20 << 20], 1).unwrap();
        assert!(bomb.len() < 100_000 && unpack(&bomb, scope, now).is_err());
    }

    #[test]
    fn only_builds_that_are_not_known_are_new() {
        let new = unknown_builds(&[build(1), build(2)], vec![build(4), build(2), build(3), build(4)]);
        assert_eq!(seconds(&new), [3, 4]);
    }
}
