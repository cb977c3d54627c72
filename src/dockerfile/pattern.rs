//! The wildcard patterns of `${x#p}`, `${x%p}` and `${x/p/r}`.
//!
//! A pattern knows `*`, `?` and the escapes `\*`, `\?`, `\\`, `\}` and `\/`;
//! it has no bracket expressions. No wildcard matches a line feed. Matching
//! walks the set of reachable positions, so it is linear in pattern × text.

use super::expand::ExpandError;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyChar,
    AnyRun,
}

/// A compiled pattern.
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    /// Compiles `text`.
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

    /// `text` without the shortest (or longest) prefix that matches.
    pub(super) fn trim_prefix(&self, text: &str, longest: bool) -> String {
        let chars: Vec<char> = text.chars().collect();
        let end = Self::end(&self.0, &chars, 0, longest).unwrap_or(0);
        chars[end..].iter().collect()
    }

    /// `text` without the shortest (or longest) suffix that matches.
    pub(super) fn trim_suffix(&self, text: &str, longest: bool) -> String {
        let tokens: Vec<Token> = self.0.iter().rev().copied().collect();
        let reversed: Vec<char> = text.chars().rev().collect();
        let end = Self::end(&tokens, &reversed, 0, longest).unwrap_or(0);
        reversed[end..].iter().rev().collect()
    }

    /// `text` with the first match (or all matches) replaced.
    ///
    /// Matches are leftmost and as long as possible; an empty match right
    /// behind another match does not count.
    pub(super) fn replace(&self, text: &str, replacement: &str, all: bool) -> String {
        let chars: Vec<char> = text.chars().collect();
        let mut replaced = String::new();
        let mut copied = 0;
        let mut start = 0;
        let mut last_end = None;
        while start <= chars.len() {
            match Self::end(&self.0, &chars, start, true) {
                Some(end) if end > start || last_end != Some(start) => {
                    replaced.extend(&chars[copied..start]);
                    replaced.push_str(replacement);
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
        replaced
    }

    /// Where the shortest or longest match that begins at `start` ends.
    fn end(tokens: &[Token], text: &[char], start: usize, longest: bool) -> Option<usize> {
        let mut reachable = vec![false; text.len() + 1];
        reachable[start] = true;
        for token in tokens {
            let mut next = vec![false; text.len() + 1];
            for position in start..=text.len() {
                match token {
                    Token::AnyRun => {
                        next[position] = reachable[position]
                            || (position > start && next[position - 1] && text[position - 1] != '\n');
                    }
                    _ if !reachable[position] || position == text.len() => {}
                    Token::AnyChar => next[position + 1] = text[position] != '\n',
                    Token::Char(char) => next[position + 1] = text[position] == *char,
                }
            }
            reachable = next;
        }
        if longest {
            reachable.iter().rposition(|reached| *reached)
        } else {
            reachable.iter().position(|reached| *reached)
        }
    }
}
