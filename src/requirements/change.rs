//! Compares two listings of one dependency file.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::listing::DependencyLine;

/// A difference between two listings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DependencyChange {
    /// The package or option, as written.
    pub(crate) name: String,
    /// `None` for an addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<String>,
    /// `None` for a removal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
    /// `true` if `before` and `after` are whole lines, which include the name, and not versions.
    #[serde(skip)]
    pub(crate) shows_lines: bool,
}

/// Formats a change as `pandas 2.1.4 → 2.2.0`, `flask>=2 → flask>=3`, `added httpx 0.27` or `removed six 1.16`.
impl fmt::Display for DependencyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.shows_lines { String::new() } else { format!("{} ", self.name) };
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{name}{before} → {after}"),
            (None, Some(after)) => write!(f, "added {name}{after}"),
            (Some(before), None) => write!(f, "removed {name}{before}"),
            (None, None) => f.write_str(&self.name),
        }
    }
}

/// Returns the differences between two listings.
///
/// Lines are paired by name, regardless of their order. If a listing is truncated, only names that both listings
/// contain are compared, because a missing line may be in the part that was not listed.
pub fn dependency_changes(before: &[DependencyLine], after: &[DependencyLine]) -> Vec<DependencyChange> {
    let cut = before.iter().chain(after).any(DependencyLine::is_truncation_mark);
    let mut by_name: BTreeMap<&str, [Vec<&DependencyLine>; 2]> = BTreeMap::new();
    for (side, lines) in [before, after].into_iter().enumerate() {
        for line in lines.iter().filter(|line| !line.is_truncation_mark()) {
            by_name.entry(&line.name).or_default()[side].push(line);
        }
    }
    let mut changes = Vec::new();
    for [mut before, mut after] in by_name.into_values() {
        before.retain(|line| {
            let same = after.iter().position(|other| other == line);
            same.map(|same| after.remove(same)).is_none()
        });
        let mut after = after.into_iter();
        for line in before {
            let other = after.next();
            if other.is_some() || !cut {
                changes.extend(change(Some(line), other));
            }
        }
        if !cut {
            changes.extend(after.filter_map(|line| change(None, Some(line))));
        }
    }
    changes
}

fn change(before: Option<&DependencyLine>, after: Option<&DependencyLine>) -> Option<DependencyChange> {
    let name = after.or(before)?.shown.clone();
    let sides = || before.into_iter().chain(after);
    let lines = !sides().all(|line| line.version.is_some());
    let value = |line: &DependencyLine| match &line.version {
        Some(version) if !lines => version.clone(),
        // The other side is a whole line, so the version is shown as a whole line too.
        Some(version) => format!("{}=={version}", line.shown),
        None => line.display_text(),
    };
    let (mut old, mut new) = (before.map(value), after.map(value));
    if old == new {
        // Only the hashes or the spelling of the name differ.
        let hashes = |line: &DependencyLine| match line.hashes {
            0 => " without hashes".to_owned(),
            1 => " with 1 hash".to_owned(),
            count => format!(" with {count} hashes"),
        };
        let other =
            if before.map(|line| line.hashes) == after.map(|line| line.hashes) { " changed" } else { "" };
        if before.map(|line| &line.fold) == after.map(|line| &line.fold) {
            return None;
        }
        old = old.zip(before).map(|(value, line)| value + &hashes(line));
        new = new.zip(after).map(|(value, line)| value + &hashes(line) + other);
    }
    Some(DependencyChange { name, before: old, after: new, shows_lines: lines })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::listing::{MAX_LINES, listing};

    fn shown_changes(path: &str, before: &str, after: &str) -> Vec<String> {
        let changes = dependency_changes(&listing(path, before.as_bytes()), &listing(path, after.as_bytes()));
        changes.iter().map(DependencyChange::to_string).collect()
    }

    #[test]
    fn changes_are_shown_in_a_readable_form() {
        let table: &[(&str, &str, &[&str])] = &[
            ("pandas==2.1.4", "pandas==2.2.0", &["pandas 2.1.4 → 2.2.0"]),
            ("flask>=2", "flask>=3", &["flask>=2 → flask>=3"]),
            ("", "httpx==0.27", &["added httpx 0.27"]),
            ("six==1.16", "", &["removed six 1.16"]),
            ("", "httpx", &["added httpx"]),
            ("Flask_Login==1", "flask-login==2", &["flask-login 1 → 2"]),
            ("flask==2", "flask>=3", &["flask==2 → flask>=3"]),
            ("a\nb", "b\na", &[]),
            ("Flask==2", "flask==2", &[]),
            (
                "numpy==1; python_version<'3.9'\nnumpy==2; python_version>='3.9'",
                "numpy==1; python_version<'3.9'\nnumpy==3; python_version>='3.9'",
                &["numpy==2; python_version>='3.9' → numpy==3; python_version>='3.9'"],
            ),
            (
                "-i https://a:b@old/simple",
                "-i https://a:c@new/simple",
                &["-i https://old/simple → -i https://new/simple"],
            ),
            ("-r a.txt", "-r b.txt", &["removed -r a.txt", "added -r b.txt"]),
            ("x==1 --hash=sha256:a", "x==1 --hash=sha256:b", &["x 1 with 1 hash → 1 with 1 hash changed"]),
            ("x==1 --hash=sha256:a", "x==1", &["x 1 with 1 hash → 1 without hashes"]),
            ("x==1 --hash=sha256:a --hash=sha256:b", "x==1 --hash=sha256:b --hash=sha256:a", &[]),
            (
                "-e git+https://h/x@v1#egg=x",
                "-e git+https://h/x@v2#egg=x",
                &["-e git+https://h/x@v1#egg=x → -e git+https://h/x@v2#egg=x"],
            ),
        ];
        for (before, after, expected) in table {
            assert_eq!(&shown_changes("requirements.txt", before, after), expected, "{before} / {after}");
        }
    }

    #[test]
    fn locked_versions_are_paired_by_name() {
        let lock = |packages: &[(&str, &str)]| {
            let tables = packages
                .iter()
                .map(|(name, version)| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n"));
            tables.collect::<Vec<_>>().concat()
        };
        let before = lock(&[("a", "1"), ("syn", "1"), ("syn", "2"), ("z", "1")]);
        let after = lock(&[("syn", "2"), ("syn", "3"), ("z", "1"), ("b", "4")]);
        assert_eq!(shown_changes("Cargo.lock", &before, &after), ["removed a 1", "added b 4", "syn 1 → 3"]);
    }

    #[test]
    fn lines_missing_from_a_truncated_listing_are_not_reported_as_removed() {
        let many = |first: &str| {
            let lines = (1..=MAX_LINES).map(|n| format!("p{n}==1\n"));
            first.to_owned() + &lines.collect::<Vec<_>>().concat()
        };
        assert_eq!(shown_changes("requirements.txt", &many("a==1\n"), &many("a==2\n")), ["a 1 → 2"]);
        assert_eq!(shown_changes("requirements.txt", &many("a==1\n"), &many("b==1\n")), [""; 0]);
    }
}
