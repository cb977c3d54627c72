//! The last builds of an image in one object, for other agents: JSON lines, compressed with zstd.
//!
//! Whoever can write to the store or the registry can write such an object, so its content is not trusted: it is
//! limited, lines that are no builds are dropped, and its texts are stripped of control characters.

use std::collections::HashSet;
use std::io::{self, Read};

use serde_json::Value;

use super::BuildRecord;
use crate::screen_text::screen_text;

/// The maximum number of builds in an object.
pub(crate) const MAX_SHARED: usize = 50;
/// The maximum size of the content in bytes.
const MAX_SIZE: u64 = 8 << 20;
/// The maximum size of an object in bytes.
pub(crate) const MAX_PACKED_SIZE: u64 = 1 << 20;
const COMPRESSION_LEVEL: i32 = 9;

/// Packs the last builds.
pub(crate) fn pack(builds: &[BuildRecord]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for build in &builds[builds.len().saturating_sub(MAX_SHARED)..] {
        serde_json::to_writer(&mut lines, build)?;
        lines.push(b'\n');
    }
    zstd::bulk::compress(&lines, COMPRESSION_LEVEL)
}

/// Returns the builds in an object, oldest first. Fails if it is not compressed with zstd, or too large.
pub(crate) fn unpack(packed: &[u8]) -> io::Result<Vec<BuildRecord>> {
    let mut lines = Vec::new();
    zstd::stream::read::Decoder::new(packed)?.take(MAX_SIZE + 1).read_to_end(&mut lines)?;
    if lines.len() as u64 > MAX_SIZE {
        return Err(io::Error::other("the shared builds are too large"));
    }
    let parsed = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut value: Value = serde_json::from_slice(line).ok()?;
        clean(&mut value);
        serde_json::from_value(value).ok()
    });
    let mut builds: Vec<BuildRecord> = parsed.take(MAX_SHARED).collect();
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

/// Returns what no two builds have in common.
pub(super) fn identity(build: &BuildRecord) -> (jiff::Timestamp, u64, Vec<String>) {
    (build.started, build.millis, build.names.clone())
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => *text = screen_text(text),
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn build(second: i64) -> BuildRecord {
        BuildRecord { started: Timestamp::from_second(second).unwrap(), ..BuildRecord::for_tests("a") }
    }

    fn seconds(builds: &[BuildRecord]) -> Vec<i64> {
        builds.iter().map(|build| build.started.as_second()).collect()
    }

    #[test]
    fn the_last_builds_are_packed() {
        let builds: Vec<BuildRecord> = (0..60).map(build).collect();
        assert_eq!(unpack(&pack(&builds).unwrap()).unwrap(), builds[10..]);
        assert_eq!(unpack(&pack(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn hostile_content_is_dropped_or_stripped() {
        let mut evil = build(1);
        evil.names = vec!["app\u{1b}[2J\n:1".to_owned()];
        let mut lines = serde_json::to_vec(&evil).unwrap();
        lines.extend(b"\n{\"schema\": 7}\nno JSON\n\xff\n");
        let packed = zstd::bulk::compress(&lines, 1).unwrap();
        let builds = unpack(&packed).unwrap();
        assert_eq!(builds.iter().map(|build| build.names.join("")).collect::<Vec<_>>(), ["app :1"]);
        assert!(unpack(b"not compressed").is_err());
        let bomb = zstd::bulk::compress(&vec![b' '; 20 << 20], 1).unwrap();
        assert!(bomb.len() < 100_000 && unpack(&bomb).is_err());
    }

    #[test]
    fn only_builds_that_are_not_known_are_new() {
        let new = unknown_builds(&[build(1), build(2)], vec![build(4), build(2), build(3), build(4)]);
        assert_eq!(seconds(&new), [3, 4]);
    }
}
