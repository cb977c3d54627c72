//! Variable expansion as in the Dockerfile frontend.
//!
//! ```text
//!  lexer         quotes, escapes, words      ┐ one left-to-right pass
//!  substitution  $name, ${name…}             ┘
//!  pattern       the wildcards of ${x#p} ${x%p} ${x/p/r}
//! ```
//!
//! A pure function of the word and a lookup. The same lexer splits a line into words to detect here-documents, keeping
//! quotes, escapes and variables.
//!
//! Unlike the frontend's implementation, it is bounded, by [`MAX_DEPTH`] and [`MAX_WORD_BYTES`].
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/shell/lex.go`.

mod lexer;
mod pattern;
mod substitution;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use lexer::Lexer;

const MAX_DEPTH: usize = 64;

/// Maximum length of an expanded word in bytes: Linux accepts no longer argument or variable.
const MAX_WORD_BYTES: usize = 128 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expansion {
    pub(crate) text: String,
    /// The unset variables that were looked up.
    pub(crate) unset: BTreeSet<String>,
}

/// A word that cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages describe the variants")]
pub enum ExpandError {
    #[error("unclosed quote {0}")]
    UnclosedQuote(char),
    /// `${` is never closed, or a `${x/…` lacks its second slash.
    #[error("missing `{0}` in a substitution")]
    MissingDelimiter(char),
    /// `${}`, `${:…}` or `${{…}`.
    #[error("bad substitution")]
    BadSubstitution,
    /// `${x…}` with a modifier that the frontend does not support.
    #[error("unsupported modifier `{0}` in a substitution")]
    UnsupportedModifier(String),
    /// `${x//…/…}` with a `$` in the replacement.
    #[error("`$` is not supported in the replacement of `${{x//pattern/replacement}}`")]
    DollarInReplacement,
    /// `${x?…}` of an unset variable.
    #[error("{name}: {message}")]
    RequiredVariable { name: String, message: String },
    /// A pattern with an escape of a character that cannot be escaped.
    #[error("invalid pattern `{pattern}` in a substitution")]
    InvalidPattern { pattern: String },
    #[error("substitutions are nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("the word expands to more than {} kB", MAX_WORD_BYTES / 1000)]
    TooLong,
}

/// Expands `word`, with `escape` as the escape character.
///
/// Fails where the frontend would: for unbalanced quotes and braces, unknown modifiers, invalid patterns, and
/// `${x?message}` of an unset `x`. Also fails for a word that exceeds the bounds.
pub(crate) fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expansion, ExpandError> {
    Lexer::new(word, escape, lookup).expand()
}

/// Expands the content of a here-document, in which quotes are not special.
pub(crate) fn expand_content(
    content: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expansion, ExpandError> {
    let mut lexer = Lexer::new(content, '\\', lookup);
    lexer.has_quotes = false;
    lexer.expand()
}

/// Splits `line` into words, with variables as written.
pub(super) fn words(line: &str, keep_quotes: bool, keep_escapes: bool) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(line, '\\', &|_| None);
    lexer.keep_quotes = keep_quotes;
    lexer.keep_unset = true;
    Ok(lexer.run(None, keep_escapes)?.1)
}
