//! The patterns of ignore files, matched as moby's `patternmatcher` does.
//!
//! A pattern is a cleaned path with wildcards, `!` before an exception; the
//! last pattern that matches a path or a parent of it decides. A pattern takes
//! one of four forms, and the form decides what its characters mean:
//!
//! | form | pattern | matches |
//! |---|---|---|
//! | exact | no wildcard | that path |
//! | prefix | `text**` | paths that start with `text` |
//! | suffix | `**text` | paths that end with `text`; `**/x` also `x` |
//! | expression | the rest | the regular expression it is rewritten to |
//!
//! In an expression `**` (with a slash behind it) is any directories or none,
//! `*` and `?` do not match a slash, `[^a]` is a negated class, and a backslash
//! takes the next character literally, unless it is one of the letters that
//! make `\d`, `\b` and the like. `^`, `|`, `{` and `}` keep their meaning in Go's
//! regular expressions there, which is an oddity of the original.

use super::glob;
use super::lexical::clean;
use super::regexp::Regexp;

/// A pattern that no path can be matched against.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// An exception of nothing.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclamation,
    /// Syntax: an unclosed class, a trailing backslash, an unknown escape.
    #[error("syntax error in pattern `{0}`")]
    Syntax(String),
}

/// An ordered list of patterns and exceptions.
#[derive(Debug, Clone)]
pub struct PatternMatcher {
    patterns: Vec<Pattern>,
    rules: Reach,
    exceptions: Reach,
}

/// Which patterns matched a directory; hand it on to what is in there.
///
/// The default knows nothing of the directory: matching below it looks at all
/// parents of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchState(Vec<bool>);

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    exception: bool,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Exact,
    Prefix,
    Suffix,
    Expression(Regexp),
}

/// Where the matches of some patterns can lie, as far as their text tells.
#[derive(Debug, Clone)]
struct Reach {
    /// No pattern has a wildcard but a trailing `/*` or `/**`.
    literal: bool,
    /// The patterns without that, each with a slash at its end.
    roots: Vec<String>,
}

impl PatternMatcher {
    /// Takes `patterns` in their order; white space around one and empty ones
    /// do not count.
    ///
    /// # Errors
    ///
    /// Fails when a pattern is `!` alone or its syntax is wrong.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, PatternError> {
        let patterns = patterns
            .into_iter()
            .filter_map(|pattern| Pattern::new(pattern.as_ref()).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let reach =
            |exceptions: bool| Reach::of(patterns.iter().filter(|pattern| pattern.exception == exceptions));
        let (rules, exceptions) = (reach(false), reach(true));
        Ok(Self { patterns, rules, exceptions })
    }

    /// Whether the list as a whole matches `path`: the last pattern that
    /// matches it or one of its parents is no exception.
    ///
    /// `path` is relative, clean and slash-separated.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_leaf(path, &MatchState::default())
    }

    /// [`matches`](Self::matches) for a walk: uses what is known of the
    /// directory that `path` is in, and gives what is known of `path`.
    ///
    /// It is the original's shortcut with the original's one gap: a pattern
    /// that could not change the directory's outcome is not remembered as
    /// matching it, so a later pattern naming the directory again may be
    /// missed below it. `docker build` walks contexts in this way.
    pub fn matches_below(&self, path: &str, parent: &MatchState) -> (bool, MatchState) {
        let mut state = vec![false; self.patterns.len()];
        let matched = self.decide(path, parent, |index| state[index] = true);
        (matched, MatchState(state))
    }

    /// [`matches_below`](Self::matches_below) where nothing is below `path`.
    pub(super) fn matches_leaf(&self, path: &str, parent: &MatchState) -> bool {
        self.decide(path, parent, |_| {})
    }

    /// Whether there are exceptions.
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether a pattern, exceptions aside, might match something inside
    /// `directory`. A wildcard makes everything possible, so that a `false` is
    /// certain, unless a pattern uses what only Go's expressions know (`|`,
    /// `{}`), or ends in `/*/**`, of which the original takes off both.
    pub fn may_match_below(&self, directory: &str) -> bool {
        self.rules.may_lie_below(directory)
    }

    /// Whether an exception might match something inside `directory`, in the
    /// same sense.
    pub(crate) fn may_except_below(&self, directory: &str) -> bool {
        self.exceptions.may_lie_below(directory)
    }

    fn decide(&self, path: &str, parent: &MatchState, mut on_match: impl FnMut(usize)) -> bool {
        let known = parent.0.len() == self.patterns.len() && !self.patterns.is_empty();
        let mut matched = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            if !(known && parent.0[index]) {
                // An exception matters only to what is matched, and a rule to what is not.
                if pattern.exception != matched {
                    continue;
                }
                if !pattern.matches(path) && (known || !pattern.matches_parent_of(path)) {
                    continue;
                }
            }
            on_match(index);
            matched = !pattern.exception;
        }
        matched
    }
}

impl Pattern {
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
        match glob::validate(&text).map(|()| Form::of(&text)) {
            Ok(Some(form)) => Ok(Some(Self { text, exception, form })),
            Ok(None) | Err(glob::BadPattern) => Err(PatternError::Syntax(text)),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match &self.form {
            Form::Exact => path == self.text,
            // Cut by bytes as the original cuts: two of them can be part of a character.
            Form::Prefix => path.as_bytes().starts_with(&self.text.as_bytes()[..self.text.len() - 2]),
            Form::Suffix => {
                let suffix = &self.text.as_bytes()[2..];
                path.as_bytes().ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path.as_bytes())
            }
            Form::Expression(expression) => expression.is_match(path),
        }
    }

    fn matches_parent_of(&self, path: &str) -> bool {
        path.match_indices('/').any(|(at, _)| self.matches(&path[..at]))
    }
}

impl Form {
    /// The form of a cleaned pattern, or `None` when Go would not compile the
    /// expression it is rewritten to.
    fn of(pattern: &str) -> Option<Self> {
        // The scanner that the original reads with drops a byte order mark.
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

impl Reach {
    fn of<'a>(patterns: impl Iterator<Item = &'a Pattern>) -> Self {
        let mut reach = Self { literal: true, roots: Vec::new() };
        for pattern in patterns {
            let root = pattern.text.strip_suffix("/**").unwrap_or(&pattern.text);
            let root = root.strip_suffix("/*").unwrap_or(root);
            reach.literal &= !root.contains(['*', '[', ']', '?', '^', '\\']);
            reach.roots.push(format!("{root}/"));
        }
        reach
    }

    fn may_lie_below(&self, directory: &str) -> bool {
        let is_below = |root: &String| root.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'));
        !self.literal || self.roots.iter().any(is_below)
    }
}
