//! Whether anybody has used a mount since larder was there: as the builder counts it, without a visit.
//!
//! A builder counts how often each of its records was used. While the records
//! of a mount are just what they were after the last visit, so is its content.

use std::fmt::Write as _;

use crate::buildkit::CacheMountRecord;
use crate::digest::Digest;

/// What was known of a mount after a visit: its records, and the entry that it then held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing(Vec<u8>);

impl Standing {
    /// What a builder with these `records` says of the mount `wire`, which holds `entry`; `None` where it has none, or
    /// where somebody is using it.
    pub fn of(wire: &str, records: &[CacheMountRecord], entry: &Digest) -> Option<Self> {
        let mut own: Vec<&CacheMountRecord> =
            records.iter().filter(|record| is_of(wire, &record.description)).collect();
        if own.is_empty() {
            // Docker 20.10 does not tell the ids; there, no mount at all may have been used.
            own.extend(records);
        }
        if own.is_empty() || own.iter().any(|record| record.in_use) {
            return None;
        }
        own.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut text = format!("larder-standing-v1\n{entry}\n");
        for CacheMountRecord { id, uses, last_used, .. } in own {
            let _ = writeln!(text, "{id} {uses} {} {}", last_used.0, last_used.1);
        }
        Some(Self(text.into_bytes()))
    }

    /// As it is noted.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether a record is a mount's, by BuildKit's words for it: `cached mount TARGET from STEP with id "ID"`, without the id
/// where that is the target.
///
/// After moby/buildkit, `solver/llbsolver/mounts/mount.go`.
fn is_of(wire: &str, description: &str) -> bool {
    let quoted = format!("{wire:?}");
    match description.rsplit_once(" with id ") {
        Some((_, id)) => id == quoted,
        None => description
            .strip_prefix("cached mount ")
            .is_some_and(|rest| rest.strip_prefix(wire).is_some_and(|rest| rest.starts_with(" from "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, uses: i64, wire: &str) -> CacheMountRecord {
        CacheMountRecord {
            id: id.to_owned(),
            in_use: false,
            last_used: (5, 6),
            uses,
            description: format!("cached mount /mounts/0 from exec /courier /larder.sock with id {wire:?}"),
        }
    }

    #[test]
    fn a_mount_stands_as_it_was_until_anything_of_it_was_used() {
        let entry = Digest::of(b"entry");
        let of = |records: &[CacheMountRecord]| Standing::of("//root/.cache/pip", records, &entry);
        let (one, two, other) = (
            record("a", 1, "//root/.cache/pip"),
            record("b", 1, "//root/.cache/pip"),
            record("c", 1, "/pip"),
        );
        let before = of(&[one.clone(), other.clone()]).unwrap();
        assert_eq!(of(&[CacheMountRecord { uses: 9, ..other.clone() }, one.clone()]), Some(before.clone()));
        assert_ne!(of(&[CacheMountRecord { uses: 2, ..one.clone() }]), Some(before.clone()));
        assert_ne!(of(&[CacheMountRecord { last_used: (7, 0), ..one.clone() }]), Some(before.clone()));
        assert_ne!(of(&[one.clone(), two]), Some(before.clone()), "a builder may have several of one name");
        assert_ne!(
            Standing::of("//root/.cache/pip", std::slice::from_ref(&one), &Digest::of(b"x")),
            Some(before)
        );
        assert_eq!(of(&[CacheMountRecord { in_use: true, ..one }]), None);
        assert_eq!(of(&[]), None);
        let untold = |uses| CacheMountRecord {
            uses,
            description: "cached mount /c from exec x".to_owned(),
            ..other.clone()
        };
        assert_eq!(of(&[untold(1)]), of(&[untold(1)]));
        assert_ne!(of(&[untold(1)]), of(&[untold(2)]));
        let plain = CacheMountRecord {
            description: "cached mount /cache from exec /bin/sh -c true".to_owned(),
            ..record("d", 1, "")
        };
        assert!(is_of("/cache", &plain.description) && !is_of("/cach", &plain.description));
    }
}
