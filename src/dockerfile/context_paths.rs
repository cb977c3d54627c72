//! The parts of a build context that instructions refer to.
//!
//! Plain data. The code that reads the directory decides which entries a selector matches, because it resolves links
//! and wildcards. If a name cannot be determined (a variable that a base image may set, an unknown ONBUILD trigger),
//! the whole context is included.

use std::collections::BTreeSet;

/// The sources that the reached stages copy, add or mount from one context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContextPaths {
    includes_everything: bool,
    selectors: BTreeSet<ContextSelector>,
}

/// One source in a context: a path or a pattern, with what `--parents` and `--exclude` leave of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContextSelector {
    /// The path from the context's root, cleaned; empty for the root.
    pub(crate) path: String,
    /// `true` if `path` is a pattern of Go's `path.Match`, `false` if it is a literal path.
    pub(crate) is_pattern: bool,
    /// The ignore-file pattern, relative to `path`, that entries must match: the effect of `--parents`.
    pub(crate) include: Option<String>,
    /// The ignore-file patterns, relative to `path`, of excluded entries.
    pub(crate) exclude: Vec<String>,
}

impl ContextSelector {
    /// In the path of a mount, no character is special.
    pub(super) fn of_mount(path: &str) -> Self {
        Self { path: clean_path(path), ..Self::default() }
    }

    /// `source` is that of a COPY or ADD, with variables expanded.
    pub(crate) fn of_copy(source: &str, parents: bool, exclude: Vec<String>) -> Self {
        let (path, include) = match source.split_once("/./") {
            _ if !parents => (clean_path(source), None),
            // The part before the pivot is not recreated at the destination.
            Some((parent, below)) => (clean_path(parent), Some(clean_path(below))),
            None => (String::new(), Some(clean_path(source))),
        };
        Self { is_pattern: has_wildcards(&path), path, include, exclude }
    }
}

impl ContextPaths {
    pub(crate) fn everything() -> Self {
        Self { includes_everything: true, ..Self::default() }
    }

    pub(super) fn add(&mut self, selector: ContextSelector) {
        self.selectors.insert(selector);
    }

    pub(super) fn add_everything(&mut self) {
        self.includes_everything = true;
    }

    /// Returns `true` if the build reads nothing from the context.
    pub(crate) fn is_empty(&self) -> bool {
        !self.includes_everything && self.selectors.is_empty()
    }

    /// Returns `true` if the whole context is included.
    pub(crate) fn is_everything(&self) -> bool {
        self.includes_everything || self.selectors.contains(&ContextSelector::default())
    }

    pub(crate) fn selectors(&self) -> impl Iterator<Item = &ContextSelector> {
        self.selectors.iter()
    }
}

impl FromIterator<ContextSelector> for ContextPaths {
    fn from_iter<I: IntoIterator<Item = ContextSelector>>(selectors: I) -> Self {
        Self { includes_everything: false, selectors: selectors.into_iter().collect() }
    }
}

/// Returns `true` if an unescaped character is special to `path.Match`.
pub(crate) fn has_wildcards(path: &str) -> bool {
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

/// Returns a path relative to the root, without `.`, `..`, doubled or outer slashes; `..` cannot leave the root.
pub(crate) fn clean_path(path: &str) -> String {
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
        // Source, with --parents, path, is a pattern, included pattern.
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
            assert_eq!(ContextSelector::of_copy(source, parents, Vec::new()), expected, "{source}");
        }
        assert!(!ContextSelector::of_mount("a*").is_pattern);
    }

    #[test]
    fn every_spelling_of_the_root_includes_everything_unless_a_pattern_excludes_something() {
        for source in [".", "/", "./", "a/..", ""] {
            let paths = ContextPaths::from_iter([ContextSelector::of_copy(source, false, Vec::new())]);
            assert!(paths.is_everything(), "{source}");
        }
        let partial = ContextSelector::of_copy(".", false, vec!["*.md".to_owned()]);
        assert!(!ContextPaths::from_iter([partial]).is_everything());
        assert!(ContextPaths::default().is_empty() && !ContextPaths::everything().is_empty());
    }
}
