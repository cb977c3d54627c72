//! Which entries of a context are wanted, decided as BuildKit's `fsutil` does.

use std::path::Path;

use super::error::ContextError;
use super::follow::{follow_links, without_nested};
use super::patterns::{MatchState, PatternError, PatternMatcher};

/// What an engine asks for when it asks for a directory.
///
/// All lists empty, it asks for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only what these patterns match; nothing listed means no restriction.
    pub include: Vec<String>,
    /// Not what these patterns match; the lines of a `.dockerignore`.
    pub exclude: Vec<String>,
    /// Paths that are included together with everything that symbolic links on
    /// the way to them lead to. `.` lifts the restriction that others make.
    pub follow: Vec<String>,
    /// Paths, not patterns, that are left out with all that is below them, whatever the lists say.
    pub withheld: Vec<String>,
}

/// A filter whose links are followed and whose patterns are compiled.
#[derive(Debug)]
pub(super) struct Selection {
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
}

/// What is known of a directory by both lists.
#[derive(Debug, Default)]
pub(super) struct SelectionState {
    include: MatchState,
    exclude: MatchState,
}

/// What a directory's place in the walk is.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Unwanted, as is everything that could be in there.
    Prune,
    /// To be looked into.
    Enter {
        /// The directory itself is wanted, whatever is in there.
        wanted: bool,
        state: SelectionState,
    },
}

impl Selection {
    /// Compiles `filter` for the directory `root`, which is resolved already.
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

    /// Whether something that is not a directory is wanted.
    pub(super) fn wants(&self, path: &str, parent: &SelectionState) -> bool {
        let matches = |matcher: &PatternMatcher, state| matcher.matches_leaf(path, state);
        self.include.as_ref().is_none_or(|include| matches(include, &parent.include))
            && !self.exclude.as_ref().is_some_and(|exclude| matches(exclude, &parent.exclude))
    }

    /// Whether a directory is wanted, and whether something in it may be.
    pub(super) fn judge_directory(&self, path: &str, parent: &SelectionState) -> Verdict {
        let mut wanted = true;
        let mut state = SelectionState::default();
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
            if matched && !exclude.may_except_below(path) {
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
