//! Decides from the ledger whether archiving images is worth its time on this machine.

use super::ArchiveTier;
use super::ImageTier;
use crate::ledger::{BuildOutcome, BuildRecord};

/// The number of images that are archived in a row without a hit before archiving pauses.
const MAX_UNUSED_ARCHIVES: usize = 8;
/// While archiving is paused, one of this many images is archived anyway, to detect when archiving becomes useful
/// again.
const RETRY_INTERVAL: usize = 5;

/// Returns `true` if the next image is worth archiving. `builds` are the previous builds, the latest one last.
///
/// Archiving gains nothing where the engine keeps its images between jobs, or where a branch never builds the same
/// inputs twice.
pub(super) fn is_worth_archiving(builds: &[BuildRecord]) -> bool {
    let is_use = |build: &&BuildRecord| build.hit_tier.as_deref() == Some(ArchiveTier::NAME);
    let mut built = builds.iter().rev().take_while(|build| !is_use(build));
    let mut built = built.by_ref().filter(|build| build.outcome == BuildOutcome::Built);
    let since_archived = built.by_ref().take_while(|build| build.kept.is_none()).count();
    // `take_while` has consumed the archived build that ended it.
    let archived = 1 + built.filter(|build| build.kept.is_some()).count();
    archived < MAX_UNUSED_ARCHIVES || since_archived + 1 >= RETRY_INTERVAL
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::ArchivedImageRecord;

    /// Creates builds from letters: `k` is built and archived, `b` is built and not archived, `h` is a hit in the
    /// archive, `e` is a hit in the engine.
    fn builds(letters: &str) -> Vec<BuildRecord> {
        let build = |letter| {
            let mut build = BuildRecord::started(Timestamp::UNIX_EPOCH);
            build.outcome =
                if matches!(letter, 'h' | 'e') { BuildOutcome::ImageHit } else { BuildOutcome::Built };
            build.hit_tier = match letter {
                'h' => Some("archive".to_owned()),
                'e' => Some("engine".to_owned()),
                _ => None,
            };
            build.kept = (letter == 'k').then(|| ArchivedImageRecord {
                entry: String::new(),
                bytes: 1,
                added_bytes: 1,
                millis: 1,
            });
            build
        };
        letters.chars().map(build).collect()
    }

    #[test]
    fn archiving_without_hits_pauses_and_is_retried_periodically() {
        for (letters, expected) in [
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
            assert_eq!(is_worth_archiving(&builds(letters)), expected, "{letters}");
        }
    }
}
