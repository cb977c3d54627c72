//! The wildcard patterns of `${x#p}`, `${x%p}` and `${x/p/r}`.
//!
//! A pattern supports `*`, `?` and the escapes `\*`, `\?`, `\\`, `\}` and `\/`, but no bracket expressions. No wildcard
//! matches a line feed. The time is proportional to pattern × text, which is bounded.

use super::{ExpandError, MAX_WORD_BYTES};

/// Maximum of pattern length × text length, in characters.
const MAX_STEPS: usize = 1 << 26;

#[derive(Clone, Copy, PartialEq, Eq)]
enum PatternToken {
    Char(char),
    AnyChar,
    AnyRun,
}

pub(super) struct SubstitutionPattern(Vec<PatternToken>);

impl SubstitutionPattern {
    pub(super) fn compile(text: &str) -> Result<Self, ExpandError> {
        let invalid = || ExpandError::InvalidPattern { pattern: text.to_owned() };
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' => PatternToken::AnyRun,
                '?' => PatternToken::AnyChar,
                '\\' => match chars.next() {
                    Some(escaped @ ('}' | '/' | '*' | '?' | '\\')) => PatternToken::Char(escaped),
                    _ => return Err(invalid()),
                },
                char => PatternToken::Char(char),
            });
        }
        Ok(Self(tokens))
    }

    pub(super) fn trim_prefix(&self, text: &str, longest: bool) -> Result<String, ExpandError> {
        let chars: Vec<char> = text.chars().collect();
        let end = match_ends(&self.0, &chars, longest)?[0].unwrap_or(0);
        Ok(chars[end..].iter().collect())
    }

    pub(super) fn trim_suffix(&self, text: &str, longest: bool) -> Result<String, ExpandError> {
        let tokens: Vec<PatternToken> = self.0.iter().rev().copied().collect();
        let reversed: Vec<char> = text.chars().rev().collect();
        let end = match_ends(&tokens, &reversed, longest)?[0].unwrap_or(0);
        Ok(reversed[end..].iter().rev().collect())
    }

    /// Returns `text` with the first match (or all matches) replaced.
    ///
    /// Matches are leftmost and as long as possible; an empty match directly after another match is ignored.
    pub(super) fn replace(&self, text: &str, replacement: &str, all: bool) -> Result<String, ExpandError> {
        let chars: Vec<char> = text.chars().collect();
        let ends = match_ends(&self.0, &chars, true)?;
        let mut replaced = String::new();
        let mut copied = 0;
        let mut start = 0;
        let mut last_end = None;
        while start <= chars.len() {
            match ends[start] {
                Some(end) if end > start || last_end != Some(start) => {
                    replaced.extend(&chars[copied..start]);
                    replaced.push_str(replacement);
                    if replaced.len() > MAX_WORD_BYTES {
                        return Err(ExpandError::TooLong);
                    }
                    copied = end;
                    last_end = Some(end);
                    if !all {
                        break;
                    }
                    if end > start {
                        start = end;
                        continue;
                    }
                }
                _ => {}
            }
            start += 1;
        }
        replaced.extend(&chars[copied..]);
        Ok(replaced)
    }
}

/// Returns for every start position the end of its shortest or longest match, if there is one.
fn match_ends(
    tokens: &[PatternToken],
    text: &[char],
    longest: bool,
) -> Result<Vec<Option<usize>>, ExpandError> {
    if tokens.len().saturating_mul(text.len()) > MAX_STEPS {
        return Err(ExpandError::TooLong);
    }
    let better = |one: Option<usize>, other: Option<usize>| match (one, other) {
        (Some(one), Some(other)) => Some(if longest { one.max(other) } else { one.min(other) }),
        (one, other) => one.or(other),
    };
    // Computed from the last token backwards: the end of a match that starts at each position.
    let mut ends: Vec<Option<usize>> = (0..=text.len()).map(Some).collect();
    for token in tokens.iter().rev() {
        match token {
            PatternToken::AnyRun => {
                for start in (0..text.len()).rev() {
                    if text[start] != '\n' {
                        ends[start] = better(ends[start], ends[start + 1]);
                    }
                }
            }
            PatternToken::AnyChar | PatternToken::Char(_) => {
                for start in 0..text.len() {
                    let fits = match token {
                        PatternToken::Char(char) => text[start] == *char,
                        _ => text[start] != '\n',
                    };
                    ends[start] = if fits { ends[start + 1] } else { None };
                }
                ends[text.len()] = None;
            }
        }
    }
    Ok(ends)
}
