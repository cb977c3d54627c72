//! What a build names of a context, as the instructions name it.
//!
//! Plain data: which entries of a directory a selector stands for is decided
//! where the entries are known, since links and wildcards are resolved there.
//! Where a name cannot be known (a variable that a base image may set, an
//! ONBUILD trigger that nobody told) everything counts.

use std::collections::BTreeSet;

/// The sources that the reached stages copy, add or mount from one context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextPaths {
    everything: bool,
    selectors: BTreeSet<ContextSelector>,
}

/// One source.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContextSelector {
    /// The path from the context's root, cleaned; empty for the root.
    pub(crate) path: String,
    /// Whether `path` is a pattern of Go's `path.Match`, else it is a name.
    pub(crate) is_pattern: bool,
    /// Only what this pattern of an ignore file matches, seen from `path`:
    /// what `--parents` makes of a source.
    pub(crate) include: Option<String>,
    /// Not what these patterns of an ignore file match, seen from `path`.
    pub(crate) exclude: Vec<String>,
}

impl ContextSelector {
    /// The path of a mount, in which no character is special.
    pub(super) fn mounted(path: &str) -> Self {
        Self { path: clean(path), ..Self::default() }
    }

    /// A source of COPY or ADD with its flags, variables expanded.
    pub(super) fn copied(source: &str, parents: bool, exclude: Vec<String>) -> Self {
        let (path, include) = match source.split_once("/./") {
            _ if !parents => (clean(source), None),
            // What stands before the pivot is not made again at the destination.
            Some((parent, below)) => (clean(parent), Some(clean(below))),
            None => (String::new(), Some(clean(source))),
        };
        Self { is_pattern: has_wildcards(&path), path, include, exclude }
    }
}

impl ContextPaths {
    /// Everything counts.
    pub(crate) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Adds a source.
    pub(super) fn add(&mut self, selector: ContextSelector) {
        self.selectors.insert(selector);
    }

    /// Adds everything.
    pub(super) fn add_everything(&mut self) {
        self.everything = true;
    }

    /// Whether nothing of the context is read.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.selectors.is_empty()
    }

    /// Whether all of the context counts.
    pub fn is_everything(&self) -> bool {
        self.everything || self.selectors.contains(&ContextSelector::default())
    }

    /// The sources, each once.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = &ContextSelector> {
        self.selectors.iter()
    }
}

impl FromIterator<ContextSelector> for ContextPaths {
    fn from_iter<I: IntoIterator<Item = ContextSelector>>(selectors: I) -> Self {
        Self { everything: false, selectors: selectors.into_iter().collect() }
    }
}

/// Whether some character is special to `path.Match`, not counting escaped ones.
fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => _ = chars.next(),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// A path relative to the root, without `.`, `..`, doubled or outer slashes;
/// `..` cannot leave the root.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_name_or_a_pattern_and_may_have_a_pivot() {
        // Source, with --parents, path, whether a pattern, what is included.
        let table = [
            ("./src/app/", false, "src/app", false, None),
            ("../c", false, "c", false, None),
            ("a/./b", false, "a/b", false, None),
            ("requirements*.txt", false, "requirements*.txt", true, None),
            ("a[b]/c", false, "a[b]/c", true, None),
            ("a\\*b", false, "a\\*b", false, None),
            ("a/b.txt", true, "", false, Some("a/b.txt")),
            ("./a/./b/*.txt", true, "a", false, Some("b/*.txt")),
            ("*/./b/../c", true, "*", true, Some("c")),
        ];
        for (source, parents, path, is_pattern, include) in table {
            let include = include.map(str::to_owned);
            let expected =
                ContextSelector { path: path.to_owned(), is_pattern, include, ..ContextSelector::default() };
            assert_eq!(ContextSelector::copied(source, parents, Vec::new()), expected, "{source}");
        }
        assert!(!ContextSelector::mounted("a*").is_pattern);
    }

    #[test]
    fn the_root_in_any_spelling_is_everything_unless_something_is_excluded() {
        for source in [".", "/", "./", "a/..", ""] {
            let paths = ContextPaths::from_iter([ContextSelector::copied(source, false, Vec::new())]);
            assert!(paths.is_everything(), "{source}");
        }
        let but = ContextSelector::copied(".", false, vec!["*.md".to_owned()]);
        assert!(!ContextPaths::from_iter([but]).is_everything());
        assert!(ContextPaths::default().is_empty() && !ContextPaths::everything().is_empty());
    }
}
