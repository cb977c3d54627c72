//! Matches the patterns of ignore files as moby's `patternmatcher` does. Does not access the file system.
//!
//! A pattern is a cleaned path with wildcards, with a leading `!` for an exception. The last pattern that matches a
//! path or one of its parents decides. A pattern has one of four forms, which determine the meaning of its characters:
//!
//! | form | pattern | matches |
//! |---|---|---|
//! | exact | no wildcard | that path |
//! | prefix | `text**` | paths that start with `text` |
//! | suffix | `**text` | paths that end with `text`; `**/x` also `x` |
//! | expression | any other | the regular expression it is rewritten to |
//!
//! In an expression, `**` (with a following slash) matches any number of directories, `*` and `?` do not match a slash,
//! and `[^a]` is a negated class. A backslash quotes the next character, unless it begins an escape such as `\d` or
//! `\b`. `^`, `|`, `{` and `}` keep their meaning in Go's regular expressions, which is an oddity of the original.

use super::glob;
use super::lexical::clean;
use super::regexp::Regexp;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamation,
    /// A syntax error: an unclosed class, a trailing backslash, or an unknown escape.
    #[error("syntax error in pattern `{0}`")]
    Syntax(String),
}

/// An ordered list of patterns and exceptions, compiled for matching.
#[derive(Debug, Clone)]
pub struct PatternMatcher {
    patterns: Vec<IgnorePattern>,
    rules: PatternReach,
    exceptions: PatternReach,
}

/// The patterns that matched a directory. They are needed to match its content.
///
/// The default value contains nothing about a directory; matching with it checks all parents of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchState(Vec<bool>);

#[derive(Debug, Clone)]
struct IgnorePattern {
    text: String,
    is_exception: bool,
    form: PatternForm,
}

#[derive(Debug, Clone)]
enum PatternForm {
    Exact,
    Prefix,
    Suffix,
    Expression(Regexp),
}

/// Where some patterns can match, as far as their text shows.
#[derive(Debug, Clone)]
struct PatternReach {
    /// `true` if no pattern has a wildcard, except a trailing `/*` or `/**`.
    is_literal: bool,
    /// The patterns without these suffixes, each with a trailing slash.
    roots: Vec<String>,
}

impl PatternMatcher {
    /// Creates a matcher of `patterns` in their order. Surrounding white space and empty patterns are ignored.
    ///
    /// # Errors
    ///
    /// Fails if a pattern is only `!` or has a syntax error.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, PatternError> {
        let patterns = patterns
            .into_iter()
            .filter_map(|pattern| IgnorePattern::new(pattern.as_ref()).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let reach = |exceptions: bool| {
            PatternReach::of(patterns.iter().filter(|pattern| pattern.is_exception == exceptions))
        };
        let (rules, exceptions) = (reach(false), reach(true));
        Ok(Self { patterns, rules, exceptions })
    }

    /// Returns `true` if the last pattern that matches `path` or one of its parents is not an exception.
    ///
    /// `path` is relative, clean and separated by slashes.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_leaf(path, &MatchState::default())
    }

    /// Matches like [`matches`](Self::matches) in a walk: uses the state of the parent of `path`, and returns the state
    /// of `path`.
    ///
    /// This is the optimisation of the original, including its flaw: a pattern that could not change the result for the
    /// directory is not recorded as a match. A later pattern that matches the directory again may therefore be missed
    /// below it. `docker build` walks contexts in this way.
    pub fn matches_below(&self, path: &str, parent: &MatchState) -> (bool, MatchState) {
        let mut state = vec![false; self.patterns.len()];
        let matched = self.decide(path, parent, |index| state[index] = true);
        (matched, MatchState(state))
    }

    /// Matches like [`matches_below`](Self::matches_below), for a path without children.
    pub(super) fn matches_leaf(&self, path: &str, parent: &MatchState) -> bool {
        self.decide(path, parent, |_| {})
    }

    /// Returns `true` if there are exceptions.
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_exception)
    }

    /// Returns `true` if a pattern other than an exception may match something inside `directory`. With wildcards, this
    /// is always so. `false` is certain, unless a pattern contains syntax that only Go's expressions have (`|`, `{}`),
    /// or ends in `/*/**`, where the original removes both suffixes.
    pub fn may_match_below(&self, directory: &str) -> bool {
        self.rules.may_reach_below(directory)
    }

    /// Returns `true` if an exception may match something inside `directory`, with the same restrictions as
    /// [`may_match_below`](Self::may_match_below).
    pub(crate) fn may_have_exception_below(&self, directory: &str) -> bool {
        self.exceptions.may_reach_below(directory)
    }

    fn decide(&self, path: &str, parent: &MatchState, mut on_match: impl FnMut(usize)) -> bool {
        let known = parent.0.len() == self.patterns.len() && !self.patterns.is_empty();
        let mut matched = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            if !(known && parent.0[index]) {
                // An exception only affects a matched path, and any other pattern only an unmatched one.
                if pattern.is_exception != matched {
                    continue;
                }
                if !pattern.matches(path) && (known || !pattern.matches_parent_of(path)) {
                    continue;
                }
            }
            on_match(index);
            matched = !pattern.is_exception;
        }
        matched
    }
}

impl IgnorePattern {
    fn new(pattern: &str) -> Result<Option<Self>, PatternError> {
        let pattern = pattern.trim();
        if pattern.is_empty() {
            return Ok(None);
        }
        let pattern = clean(pattern);
        let (exception, text) = match pattern.strip_prefix('!') {
            Some("") => return Err(PatternError::LoneExclamation),
            Some(text) => (true, text.to_owned()),
            None => (false, pattern),
        };
        match glob::validate(&text).map(|()| PatternForm::of(&text)) {
            Ok(Some(form)) => Ok(Some(Self { text, is_exception: exception, form })),
            Ok(None) | Err(glob::BadPattern) => Err(PatternError::Syntax(text)),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match &self.form {
            PatternForm::Exact => path == self.text,
            // Cut by bytes as in the original: the last two bytes may be part of a character.
            PatternForm::Prefix => path.as_bytes().starts_with(&self.text.as_bytes()[..self.text.len() - 2]),
            PatternForm::Suffix => {
                let suffix = &self.text.as_bytes()[2..];
                path.as_bytes().ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path.as_bytes())
            }
            PatternForm::Expression(expression) => expression.is_match(path),
        }
    }

    fn matches_parent_of(&self, path: &str) -> bool {
        path.match_indices('/').any(|(at, _)| self.matches(&path[..at]))
    }
}

impl PatternForm {
    /// Returns the form of a cleaned pattern, or `None` if Go would not compile its expression.
    fn of(pattern: &str) -> Option<Self> {
        // The scanner of the original removes a byte order mark.
        let mut chars = pattern.strip_prefix('\u{FEFF}').unwrap_or(pattern).chars().peekable();
        let mut expression = String::from("^");
        let mut form = Some(Self::Exact);
        let mut first = true;
        while let Some(char) = chars.next() {
            match char {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    let last = chars.peek().is_none();
                    form = if first {
                        Some(Self::Suffix)
                    } else if last && matches!(form, Some(Self::Exact)) {
                        Some(Self::Prefix)
                    } else {
                        None
                    };
                    expression.push_str(if last { ".*" } else { "(.*/)?" });
                }
                '*' => {
                    expression.push_str("[^/]*");
                    form = None;
                }
                '?' => {
                    expression.push_str("[^/]");
                    form = None;
                }
                '.' | '+' | '(' | ')' | '$' => expression.extend(['\\', char]),
                '\\' => {
                    expression.push('\\');
                    expression.extend(chars.next());
                    form = None;
                }
                _ => {
                    expression.push(char);
                    if matches!(char, '[' | ']') {
                        form = None;
                    }
                }
            }
            first = false;
        }
        form.or_else(|| {
            expression.push('$');
            Regexp::new(&expression).ok().map(Self::Expression)
        })
    }
}

impl PatternReach {
    fn of<'a>(patterns: impl Iterator<Item = &'a IgnorePattern>) -> Self {
        let mut reach = Self { is_literal: true, roots: Vec::new() };
        for pattern in patterns {
            let root = pattern.text.strip_suffix("/**").unwrap_or(&pattern.text);
            let root = root.strip_suffix("/*").unwrap_or(root);
            reach.is_literal &= !root.contains(['*', '[', ']', '?', '^', '\\']);
            reach.roots.push(format!("{root}/"));
        }
        reach
    }

    fn may_reach_below(&self, directory: &str) -> bool {
        let is_below = |root: &String| root.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        !self.is_literal || self.roots.iter().any(is_below)
    }
}
