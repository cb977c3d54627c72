//! Whether a tier is worth its time here, by what the ledger tells.

use super::ArchiveTier;
use super::ImageTier;
use crate::ledger::{BuildRecord, Outcome};

/// Images that may be kept in a row without one of them being of use.
const PATIENCE: usize = 8;
/// After that every so-manyth is kept all the same: times change.
const RETRY: usize = 5;

/// Returns `true` if the next image is worth archiving after these builds, the latest one last.
///
/// An engine that keeps what it has built, or a branch that never builds the
/// same twice, makes archiving whole images a cost without a gain.
pub(super) fn is_worth_archiving(builds: &[BuildRecord]) -> bool {
    let is_use = |build: &&BuildRecord| build.hit_tier.as_deref() == Some(ArchiveTier::NAME);
    let mut built = builds.iter().rev().take_while(|build| !is_use(build));
    let mut built = built.by_ref().filter(|build| build.outcome == Outcome::Built);
    let since_kept = built.by_ref().take_while(|build| build.kept.is_none()).count();
    // The one that ended the count is one of them.
    let kept = 1 + built.filter(|build| build.kept.is_some()).count();
    kept < PATIENCE || since_kept + 1 >= RETRY
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::KeptRecord;

    /// Builds as letters: `k`ept, `b`uilt and not kept, a `h`it of what was kept, an `e`ngine's hit.
    fn builds(told: &str) -> Vec<BuildRecord> {
        let build = |letter| {
            let mut build = BuildRecord::started(Timestamp::UNIX_EPOCH);
            build.outcome = if matches!(letter, 'h' | 'e') { Outcome::ImageHit } else { Outcome::Built };
            build.hit_tier = match letter {
                'h' => Some("archive".to_owned()),
                'e' => Some("engine".to_owned()),
                _ => None,
            };
            build.kept = (letter == 'k').then(|| KeptRecord {
                entry: String::new(),
                bytes: 1,
                added_bytes: 1,
                millis: 1,
            });
            build
        };
        told.chars().map(build).collect()
    }

    #[test]
    fn what_is_never_of_use_is_kept_now_and_then() {
        for (told, expected) in [
            ("", true),
            ("kkkkkkk", true),
            ("kkkkkkkk", false),
            ("kekekekekekekek", false),
            ("kkkkkkkkbbb", false),
            ("kkkkkkkkbbbb", true),
            ("kkkkkkkkbbbbk", false),
            ("kkkkkkkkh", true),
            ("kkkkhkkkk", true),
            ("bbbbbbbbbb", true),
        ] {
            assert_eq!(is_worth_archiving(&builds(told)), expected, "{told}");
        }
    }
}
