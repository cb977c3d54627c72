//! Which files of the main build context a build can see.

/// The paths that the reached stages copy, add or mount.
///
/// It errs on the side of seeing: a wildcard counts as everything that starts
/// like it, a directory with all below it, and a directory above a source as
/// an entry of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextPaths {
    everything: bool,
    /// Cleaned, relative; never empty strings.
    literal: Vec<String>,
    /// What stands before the first wildcard character.
    wildcard: Vec<String>,
}

impl ContextPaths {
    /// Everything counts.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Adds a source as an instruction names it, variables expanded.
    pub(super) fn add(&mut self, source: &str) {
        let path = clean(source);
        if path.is_empty() {
            self.everything = true;
        } else if let Some(wildcard) = path.find(['*', '?', '[', '\\']) {
            match &path[..wildcard] {
                "" => self.everything = true,
                prefix => self.wildcard.push(prefix.to_owned()),
            }
        } else {
            self.literal.push(path);
        }
    }

    /// Adds everything.
    pub(super) fn add_everything(&mut self) {
        self.everything = true;
    }

    /// Whether nothing of the context is read.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.literal.is_empty() && self.wildcard.is_empty()
    }

    /// Whether all of the context counts.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether the entry at `path` (relative, `/` between its parts) can be seen.
    pub fn sees(&self, path: &str) -> bool {
        self.follows(path) || self.literal.iter().any(|source| is_below(path, source))
    }

    /// Whether a symbolic link at `path` would be followed, so that a file
    /// elsewhere can be seen through it.
    pub fn follows(&self, path: &str) -> bool {
        self.everything
            || self.literal.iter().any(|source| source == path || is_below(source, path))
            || self.wildcard.iter().any(|prefix| path.starts_with(prefix) || is_below(prefix, path))
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
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
    fn a_source_shows_itself_all_below_it_and_the_directories_above() {
        let mut paths = ContextPaths::default();
        assert!(paths.is_empty());
        for source in ["./src/app/", "requirements*.txt", "/a/../b", "../c"] {
            paths.add(source);
        }
        for seen in ["src", "src/app", "src/app/deep/x.py", "requirements-dev.txt", "b", "c/x"] {
            assert!(paths.sees(seen), "{seen}");
        }
        for hidden in ["src/other", "src/apple", "README.md", "a"] {
            assert!(!paths.sees(hidden), "{hidden}");
        }
        assert!(paths.follows("src") && paths.follows("requirements.txt") && !paths.follows("src/app/x"));
    }

    #[test]
    fn the_root_in_any_spelling_shows_everything() {
        for source in [".", "/", "./", "a/..", "*", "*.py", ""] {
            let mut paths = ContextPaths::default();
            paths.add(source);
            assert!(paths.is_everything() && paths.sees("any/thing"), "{source}");
        }
    }
}
