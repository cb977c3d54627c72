//! Variable expansion as the Dockerfile frontend does it.
//!
//! ```text
//!  lexer         quotes, escapes, words      ┐ one left-to-right pass
//!  substitution  $name, ${name…}             ┘
//!  pattern       the wildcards of ${x#p} ${x%p} ${x/p/r}
//! ```
//!
//! It is a pure function of the word and a lookup. The same lexer splits a
//! line into words for the here-document detection, with quotes, escapes and
//! variables left as they stand.
//!
//! Bounded, unlike the original: substitutions nest [`DEEPEST`] levels, and no
//! word becomes longer than [`LONGEST`], which no process could be started
//! with either.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/shell/lex.go`.

mod lexer;
mod pattern;
mod substitution;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use lexer::Lexer;

/// How deep substitutions may nest.
const DEEPEST: usize = 64;

/// How long a word may become, in bytes: Linux takes no longer argument or variable.
const LONGEST: usize = 128 * 1024;

/// What a word expands to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// The word with its variables replaced and its quotes removed.
    pub(crate) text: String,
    /// The variables that were looked up in vain.
    pub(crate) unmatched: BTreeSet<String>,
}

/// A word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote is opened and never closed.
    #[error("unclosed quote {0}")]
    UnclosedQuote(char),
    /// `${` is never closed, or a `${x/…` lacks its second slash.
    #[error("missing `{0}` in a substitution")]
    Unclosed(char),
    /// `${}`, `${:…}` or `${{…}`.
    #[error("bad substitution")]
    BadSubstitution,
    /// `${x…}` with a modifier that the frontend does not know.
    #[error("unsupported modifier `{0}` in a substitution")]
    UnsupportedModifier(String),
    /// `${x//…/…}` with a `$` in what it puts in place.
    #[error("a `$` in what replaces all matches of a pattern")]
    DollarInReplacement,
    /// `${x?…}` of an unset variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says about it.
        message: String,
    },
    /// A pattern escapes what cannot be escaped.
    #[error("invalid pattern `{pattern}` in a substitution")]
    InvalidPattern {
        /// The pattern as written.
        pattern: String,
    },
    /// Substitutions in substitutions, beyond all reason.
    #[error("substitutions are nested more than {DEEPEST} deep")]
    TooDeep,
    /// What comes out, or the work for it, is beyond all reason.
    #[error("the word expands to more than {} kB", LONGEST / 1000)]
    TooLong,
}

/// Expands `word`, with `escape` as the escape character.
///
/// # Errors
///
/// Fails where the frontend would: unbalanced quotes and braces, unknown
/// modifiers, invalid patterns, and `${x?message}` of an unset `x`; and where
/// a word is out of all bounds.
pub(crate) fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expanded, ExpandError> {
    let mut lexer = Lexer::new(word, escape, lookup);
    let (text, _) = lexer.run(None, false)?;
    Ok(Expanded { text, unmatched: lexer.unmatched })
}

/// Splits `line` into words; quotes and escapes stay when `raw`, unset
/// variables always do.
pub(super) fn words(line: &str, raw: bool) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(line, '\\', &|_| None);
    lexer.keep_quotes = raw;
    lexer.keep_escapes = raw;
    lexer.keep_unset = true;
    Ok(lexer.run(None, raw)?.1)
}

/// As [`words`], with quotes kept and escapes removed.
pub(super) fn words_with_quotes(line: &str) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(line, '\\', &|_| None);
    lexer.keep_quotes = true;
    lexer.keep_unset = true;
    Ok(lexer.run(None, false)?.1)
}
