//! Selects the entries of a context, as BuildKit's `fsutil` does. Reads nothing but the links to follow.

use std::path::Path;

use super::error::ContextError;
use super::follow::{follow_links, without_nested};
use super::patterns::{MatchState, PatternError, PatternMatcher};

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

/// A filter with resolved links and compiled patterns.
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

/// What the walk does with a directory.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Skip it, because it cannot contain a wanted entry.
    Prune,
    /// List its entries.
    Enter {
        /// `true` if the directory itself is wanted, even if it is empty.
        wanted: bool,
        state: FilterState,
    },
}

impl CompiledFilter {
    /// Compiles `filter` for the directory `root`. The path `root` must not contain links.
    pub(super) fn new(root: &Path, filter: &Filter) -> Result<Self, ContextError> {
        let mut include = filter.include.clone();
        if !filter.follow.is_empty()
            && let Some(targets) = follow_links(root, &filter.follow)?
        {
            include.extend(targets);
            include = without_nested(include).unwrap_or_default();
        }
        Ok(Self { include: compile("include", &include)?, exclude: compile("exclude", &filter.exclude)? })
    }

    /// Returns `true` if an entry other than a directory is wanted.
    pub(super) fn wants(&self, path: &str, parent: &FilterState) -> bool {
        let matches = |matcher: &PatternMatcher, state| matcher.matches_leaf(path, state);
        self.include.as_ref().is_none_or(|include| matches(include, &parent.include))
            && !self.exclude.as_ref().is_some_and(|exclude| matches(exclude, &parent.exclude))
    }

    /// Decides whether a directory is wanted, and whether it may contain wanted entries.
    pub(super) fn judge_directory(&self, path: &str, parent: &FilterState) -> Verdict {
        let mut wanted = true;
        let mut state = FilterState::default();
        if let Some(include) = &self.include {
            let (matched, known) = include.matches_below(path, &parent.include);
            if !matched && !include.may_match_below(path) {
                return Verdict::Prune;
            }
            wanted = matched;
            state.include = known;
        }
        if let Some(exclude) = &self.exclude {
            let (matched, known) = exclude.matches_below(path, &parent.exclude);
            if matched && !exclude.may_have_exception_below(path) {
                return Verdict::Prune;
            }
            wanted &= !matched;
            state.exclude = known;
        }
        Verdict::Enter { wanted, state }
    }
}

fn compile(list: &'static str, patterns: &[String]) -> Result<Option<PatternMatcher>, ContextError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    PatternMatcher::new(patterns)
        .map(Some)
        .map_err(|source: PatternError| ContextError::Pattern { list, source })
}
