//! The wildcard patterns of `${x#p}`, `${x%p}` and `${x/p/r}`.
//!
//! A pattern supports `*`, `?` and the escapes `\*`, `\?`, `\\`, `\}` and `\/`, but no bracket expressions. No wildcard
//! matches a line feed. The time is proportional to pattern × text, which is bounded.

use super::{ExpandError, LONGEST};

/// Maximum of pattern length × text length, in characters.
const MOST_STEPS: usize = 1 << 26;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyChar,
    AnyRun,
}

pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    pub(super) fn compile(text: &str) -> Result<Self, ExpandError> {
        let invalid = || ExpandError::InvalidPattern { pattern: text.to_owned() };
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' => Token::AnyRun,
                '?' => Token::AnyChar,
                '\\' => match chars.next() {
                    Some(escaped @ ('}' | '/' | '*' | '?' | '\\')) => Token::Char(escaped),
                    _ => return Err(invalid()),
                },
                char => Token::Char(char),
            });
        }
        Ok(Self(tokens))
    }

    /// Returns `text` without the shortest (or longest) prefix that matches.
    pub(super) fn trim_prefix(&self, text: &str, longest: bool) -> Result<String, ExpandError> {
        let chars: Vec<char> = text.chars().collect();
        let end = ends(&self.0, &chars, longest)?[0].unwrap_or(0);
        Ok(chars[end..].iter().collect())
    }

    /// Returns `text` without the shortest (or longest) suffix that matches.
    pub(super) fn trim_suffix(&self, text: &str, longest: bool) -> Result<String, ExpandError> {
        let tokens: Vec<Token> = self.0.iter().rev().copied().collect();
        let reversed: Vec<char> = text.chars().rev().collect();
        let end = ends(&tokens, &reversed, longest)?[0].unwrap_or(0);
        Ok(reversed[end..].iter().rev().collect())
    }

    /// Returns `text` with the first match (or all matches) replaced.
    ///
    /// Matches are leftmost and as long as possible; an empty match directly after another match is ignored.
    pub(super) fn replace(&self, text: &str, replacement: &str, all: bool) -> Result<String, ExpandError> {
        let chars: Vec<char> = text.chars().collect();
        let ends = ends(&self.0, &chars, true)?;
        let mut replaced = String::new();
        let mut copied = 0;
        let mut start = 0;
        let mut last_end = None;
        while start <= chars.len() {
            match ends[start] {
                Some(end) if end > start || last_end != Some(start) => {
                    replaced.extend(&chars[copied..start]);
                    replaced.push_str(replacement);
                    if replaced.len() > LONGEST {
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
fn ends(tokens: &[Token], text: &[char], longest: bool) -> Result<Vec<Option<usize>>, ExpandError> {
    if tokens.len().saturating_mul(text.len()) > MOST_STEPS {
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
            Token::AnyRun => {
                for start in (0..text.len()).rev() {
                    if text[start] != '\n' {
                        ends[start] = better(ends[start], ends[start + 1]);
                    }
                }
            }
            Token::AnyChar | Token::Char(_) => {
                for start in 0..text.len() {
                    let fits = match token {
                        Token::Char(char) => text[start] == *char,
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
