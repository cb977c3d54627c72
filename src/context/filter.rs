//! Selects the entries of a context, as BuildKit's `fsutil` does. Reads nothing but the links to follow.

use std::path::Path;

use super::error::ContextError;
use super::follow::{follow_links, without_nested};
use super::patterns::{MatchState, PatternMatcher};

/// The entries of a directory that an engine requests.
///
/// If all lists are empty, it requests all entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Patterns of paths to include. An empty list includes everything.
    pub include: Vec<String>,
    /// Patterns of paths to exclude, such as the lines of a `.dockerignore`.
    pub exclude: Vec<String>,
    /// Paths to include together with the targets of the symbolic links on the way. If `.` is among them, the other
    /// paths are no restriction.
    pub follow: Vec<String>,
    /// Paths, not patterns, that are left out with everything below them, whatever the other lists contain.
    pub withheld: Vec<String>,
}

/// Compiled patterns; `None` is no restriction.
#[derive(Debug)]
pub(super) struct CompiledFilter {
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
}

/// The states of the include and exclude patterns for a directory.
#[derive(Debug, Default)]
pub(super) struct FilterState {
    include: MatchState,
    exclude: MatchState,
}

impl CompiledFilter {
    /// Compiles two lists of patterns. An empty list is no restriction.
    pub(super) fn compile(include: &[String], exclude: &[String]) -> Result<Self, ContextError> {
        let compile = |list, patterns: &[String]| {
            let matcher = (!patterns.is_empty()).then(|| PatternMatcher::new(patterns)).transpose();
            matcher.map_err(|source| ContextError::Pattern { list, source })
        };
        Ok(Self { include: compile("include", include)?, exclude: compile("exclude", exclude)? })
    }

    /// Compiles `filter` for the directory `root`. The path `root` must not contain links.
    pub(super) fn new(root: &Path, filter: &Filter) -> Result<Self, ContextError> {
        let mut include = filter.include.clone();
        if !filter.follow.is_empty()
            && let Some(targets) = follow_links(root, &filter.follow)?
        {
            include.extend(targets);
            include = without_nested(include).unwrap_or_default();
        }
        Self::compile(&include, &filter.exclude)
    }

    /// Returns `true` if an entry other than a directory is wanted.
    pub(super) fn wants(&self, path: &str, parent: &FilterState) -> bool {
        let matches = |matcher: &PatternMatcher, state| matcher.matches_leaf(path, state);
        self.include.as_ref().is_none_or(|include| matches(include, &parent.include))
            && !self.exclude.as_ref().is_some_and(|exclude| matches(exclude, &parent.exclude))
    }

    /// Returns `true` if a directory itself is wanted, even if it is empty, and the states for its content. Returns
    /// `None` if it cannot contain a wanted entry.
    pub(super) fn judge_directory(&self, path: &str, parent: &FilterState) -> Option<(bool, FilterState)> {
        let mut wanted = true;
        let mut state = FilterState::default();
        if let Some(include) = &self.include {
            (wanted, state.include) = include.matches_below(path, &parent.include);
            if !wanted && !include.may_match_below(path) {
                return None;
            }
        }
        if let Some(exclude) = &self.exclude {
            let (matched, known) = exclude.matches_below(path, &parent.exclude);
            if matched && !exclude.may_have_exception_below(path) {
                return None;
            }
            wanted &= !matched;
            state.exclude = known;
        }
        Some((wanted, state))
    }

    /// Returns `true` if the entry of a source is copied, and the states for its content.
    pub(super) fn match_path(&self, path: &str, parent: &FilterState) -> (bool, FilterState) {
        let (mut is_included, mut is_excluded, mut state) = (true, false, FilterState::default());
        if let Some(include) = &self.include {
            (is_included, state.include) = include.matches_below(path, &parent.include);
        }
        if let Some(exclude) = self.exclude.as_ref().filter(|_| is_included) {
            (is_excluded, state.exclude) = exclude.matches_below(path, &parent.exclude);
        }
        (is_included && !is_excluded, state)
    }

    pub(super) fn is_unrestricted(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }
}
