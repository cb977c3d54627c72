//! Why builds were not image hits, and why tiers failed: counted by cause.

use crate::ledger::BuildRecord;
use crate::ledger::{BuildOutcome, TierRecord};

/// The number of causes that are listed.
const MAX_LISTED: usize = 10;

/// A cause and the number of builds that it affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) name: String,
    pub(super) builds: usize,
    /// An example: the text of the last build that it affected.
    pub(super) last: String,
}

/// The most frequent causes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Causes {
    pub(super) listed: Vec<Cause>,
    /// The number of causes that are not listed.
    pub(super) others: usize,
}

/// Counts what had changed in builds that were not hits, by file or other input, and why builds had no key.
pub(super) fn of_misses(builds: &[BuildRecord]) -> Causes {
    let missed = builds.iter().filter(|build| build.outcome != BuildOutcome::ImageHit);
    count(missed.map(|build| {
        let changes = build.changes.iter().map(|change| (subject(change), change.clone()));
        let no_key = build.no_key.iter().map(|reason| (format!("no key: {reason}"), reason.clone()));
        changes.chain(no_key).collect()
    }))
}

/// Counts the reasons for which tiers failed.
pub(super) fn of_failed_tiers(builds: &[BuildRecord]) -> Causes {
    let failed = |tier: &&TierRecord| tier.failed;
    count(builds.iter().map(|build| {
        let tiers = build.tiers.iter().filter(failed);
        tiers.map(|tier| (format!("{}: {}", tier.tier, tier.reason), tier.reason.clone())).collect()
    }))
}

/// Counts in how many builds each name occurs. Each build has pairs of a name and a text.
fn count(builds: impl Iterator<Item = Vec<(String, String)>>) -> Causes {
    let mut causes: Vec<Cause> = Vec::new();
    for mut named in builds {
        named.sort();
        named.dedup_by(|one, other| one.0 == other.0);
        for (name, last) in named {
            match causes.iter_mut().find(|cause| cause.name == name) {
                Some(cause) => (cause.builds, cause.last) = (cause.builds + 1, last),
                None => causes.push(Cause { name, builds: 1, last }),
            }
        }
    }
    causes.sort_by(|one, other| (other.builds, &one.name).cmp(&(one.builds, &other.name)));
    let others = causes.len().saturating_sub(MAX_LISTED);
    causes.truncate(MAX_LISTED);
    Causes { listed: causes, others }
}

/// Returns what a change in words is about: `requirements.txt` for `requirements.txt: pandas 2.1.4 → 2.2.0`. The lines of
/// a Dockerfile move, so that they are counted together.
fn subject(change: &str) -> String {
    if change.starts_with("Dockerfile line ") {
        return "Dockerfile".to_owned();
    }
    let subject = change.split_once(": ").map_or(change, |(subject, _)| subject);
    let ends = [" changed", " added", " removed", " moved from "];
    let end = ends.iter().filter_map(|end| subject.find(end)).min();
    let subject = match (end, subject.split_once(" → ")) {
        (Some(end), _) => &subject[..end],
        // The word before the arrow is the old value.
        (None, Some((before, _))) => before.rsplit_once(' ').map_or(before, |(subject, _)| subject),
        (None, None) => subject.strip_suffix(" moved").unwrap_or(subject),
    };
    if subject.is_empty() { change.to_owned() } else { subject.to_owned() }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::ledger::TierOutcome;

    fn build(changes: &[&str]) -> BuildRecord {
        BuildRecord {
            outcome: BuildOutcome::Built,
            changes: changes.iter().map(|change| (*change).to_owned()).collect(),
            ..BuildRecord::started(Timestamp::UNIX_EPOCH)
        }
    }

    #[test]
    fn a_change_is_counted_under_its_file_or_input() {
        for (change, expected) in [
            ("requirements.txt: pandas 2.1.4 → 2.2.0", "requirements.txt"),
            ("src/app.py changed", "src/app.py"),
            ("a b.py added", "a b.py"),
            ("x moved from y", "x"),
            ("Dockerfile line 7 changed: RUN a → RUN b", "Dockerfile"),
            ("base image python:3.12-slim 1234 → 5678", "base image python:3.12-slim"),
            ("base image python:3.12-slim moved", "base image python:3.12-slim"),
            ("build argument VERSION 1 → 2", "build argument VERSION"),
            (" changed", " changed"),
        ] {
            assert_eq!(subject(change), expected);
        }
    }

    #[test]
    fn the_most_frequent_causes_come_first_with_their_last_text() {
        let mut hit = build(&["b changed"]);
        hit.outcome = BuildOutcome::ImageHit;
        let mut unknown = build(&[]);
        unknown.no_key = Some("the context is a remote repository".to_owned());
        let builds = [build(&["a: 1 → 2", "b changed", "b removed"]), build(&["a: 2 → 3"]), hit, unknown];
        let causes = of_misses(&builds);
        let counted: Vec<_> = causes
            .listed
            .iter()
            .map(|cause| (cause.name.as_str(), cause.builds, cause.last.as_str()))
            .collect();
        assert_eq!(
            counted,
            [
                ("a", 2, "a: 2 → 3"),
                ("b", 1, "b changed"),
                ("no key: the context is a remote repository", 1, "the context is a remote repository"),
            ]
        );
    }

    #[test]
    fn only_failed_tiers_are_counted_and_the_rest_of_many_is_a_number() {
        let tier = |failed, at: usize| TierRecord {
            failed,
            ..TierRecord::new("registry", TierOutcome::Miss, format!("fault {at:02}"))
        };
        let mut all = build(&[]);
        all.tiers = (0..13).map(|at| tier(at != 5, at)).collect();
        let causes = of_failed_tiers(&[all]);
        assert_eq!((causes.listed.len(), causes.others), (10, 2));
        assert!(causes.listed.iter().all(|cause| cause.last != "fault 05"));
    }
}
