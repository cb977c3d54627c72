//! Parses expressions into syntax trees, by the rules of Go's `regexp/syntax`. Does not match anything.

use std::ops::RangeInclusive;

/// An expression that Go would not compile, or that uses a Unicode class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::context) struct SyntaxError;

#[derive(Debug, Clone)]
pub(super) enum SyntaxNode {
    Set(CharacterSet),
    Assert(Assertion),
    Group(Vec<Vec<SyntaxNode>>),
    Repeat { node: Box<SyntaxNode>, min: u32, max: Option<u32> },
}

/// A set of characters. A match consumes one of them.
#[derive(Debug, Clone)]
pub(super) enum CharacterSet {
    One(char),
    AllButNewline,
    Class { negated: bool, ranges: Vec<RangeInclusive<char>> },
}

/// A condition on the characters around a position.
#[derive(Debug, Clone, Copy)]
pub(super) enum Assertion {
    Begin,
    End,
    WordBoundary,
    NotWordBoundary,
}

impl CharacterSet {
    pub(super) fn contains(&self, char: char) -> bool {
        match self {
            Self::One(one) => *one == char,
            Self::AllButNewline => char != '\n',
            Self::Class { negated, ranges } => ranges.iter().any(|range| range.contains(&char)) != *negated,
        }
    }
}

impl Assertion {
    pub(super) fn holds(self, (before, after): (Option<char>, Option<char>)) -> bool {
        let is_word =
            |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric() || char == '_');
        match self {
            Self::Begin => before.is_none(),
            Self::End => after.is_none(),
            Self::WordBoundary => is_word(before) != is_word(after),
            Self::NotWordBoundary => is_word(before) == is_word(after),
        }
    }
}

pub(super) fn parse(expression: &str) -> Result<Vec<Vec<SyntaxNode>>, SyntaxError> {
    let mut parser = Parser { rest: expression };
    let alternatives = parser.alternatives()?;
    if parser.rest.is_empty() { Ok(alternatives) } else { Err(SyntaxError) }
}

/// The maximum of repetition counts, as in Go.
const MAX_REPEATS: u32 = 1000;

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let char = chars.next();
        self.rest = chars.as_str();
        char
    }

    fn eat(&mut self, text: &str) -> bool {
        self.rest.strip_prefix(text).map(|rest| self.rest = rest).is_some()
    }

    /// Parses up to the end of the text or a closing parenthesis, which is not consumed.
    fn alternatives(&mut self) -> Result<Vec<Vec<SyntaxNode>>, SyntaxError> {
        let mut alternatives = Vec::new();
        let mut sequence = Vec::new();
        let mut just_repeated = false;
        while let Some(char) = self.peek().filter(|char| *char != ')') {
            if let Some((min, max)) = self.repetition()? {
                let node = sequence.pop().filter(|_| !just_repeated).ok_or(SyntaxError)?;
                sequence.push(SyntaxNode::Repeat { node: Box::new(node), min, max });
                just_repeated = true;
                continue;
            }
            just_repeated = false;
            self.next();
            match char {
                '|' => alternatives.push(std::mem::take(&mut sequence)),
                '(' => {
                    sequence.push(SyntaxNode::Group(self.alternatives()?));
                    if !self.eat(")") {
                        return Err(SyntaxError);
                    }
                }
                '[' => sequence.push(SyntaxNode::Set(self.class()?)),
                '.' => sequence.push(SyntaxNode::Set(CharacterSet::AllButNewline)),
                '^' => sequence.push(SyntaxNode::Assert(Assertion::Begin)),
                '$' => sequence.push(SyntaxNode::Assert(Assertion::End)),
                '\\' => self.escape(&mut sequence)?,
                _ => sequence.push(SyntaxNode::Set(CharacterSet::One(char))),
            }
        }
        alternatives.push(sequence);
        Ok(alternatives)
    }

    /// Parses `*`, `+`, `?` or a valid `{n,m}`, if it comes next. Returns the minimum and maximum count.
    fn repetition(&mut self) -> Result<Option<(u32, Option<u32>)>, SyntaxError> {
        let bounds = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                let Some((min, max, rest)) = counts(self.rest) else { return Ok(None) };
                if min > MAX_REPEATS || max.is_some_and(|max| max > MAX_REPEATS || max < min) {
                    return Err(SyntaxError);
                }
                self.rest = rest;
                self.eat("?");
                return Ok(Some((min, max)));
            }
            _ => return Ok(None),
        };
        self.next();
        // Laziness does not affect whether there is a match.
        self.eat("?");
        Ok(Some(bounds))
    }

    /// Parses what follows a backslash outside of a class.
    fn escape(&mut self, sequence: &mut Vec<SyntaxNode>) -> Result<(), SyntaxError> {
        if self.eat("Q") {
            let (quoted, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            sequence.extend(quoted.chars().map(|char| SyntaxNode::Set(CharacterSet::One(char))));
            self.rest = rest;
            return Ok(());
        }
        let assertion = match self.peek() {
            Some('A') => Some(Assertion::Begin),
            Some('z') => Some(Assertion::End),
            Some('b') => Some(Assertion::WordBoundary),
            Some('B') => Some(Assertion::NotWordBoundary),
            _ => None,
        };
        sequence.push(if let Some(assertion) = assertion {
            self.next();
            SyntaxNode::Assert(assertion)
        } else if let Some((ranges, negated)) = self.perl_class() {
            SyntaxNode::Set(CharacterSet::Class { negated, ranges })
        } else {
            SyntaxNode::Set(CharacterSet::One(self.escaped_char()?))
        });
        Ok(())
    }

    /// Parses the letter of `\d`, `\s`, `\w` or their negations.
    fn perl_class(&mut self) -> Option<(Vec<RangeInclusive<char>>, bool)> {
        let letter = self.peek()?;
        let ranges = match letter {
            'd' | 'D' => named_class("digit")?,
            's' | 'S' => vec!['\t'..='\n', '\x0C'..='\r', ' '..=' '],
            'w' | 'W' => named_class("word")?,
            _ => return None,
        };
        self.next();
        Some((ranges, letter.is_ascii_uppercase()))
    }

    /// Parses what follows a backslash that escapes a single character.
    fn escaped_char(&mut self) -> Result<char, SyntaxError> {
        let char = self.next().ok_or(SyntaxError)?;
        let octal = |char: char| char.to_digit(8);
        match char {
            'a' => Ok('\x07'),
            'f' => Ok('\x0C'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0B'),
            'x' => self.hexadecimal(),
            '0'..='7' => {
                // A single non-zero digit would be a back reference.
                if char != '0' && self.peek().and_then(octal).is_none() {
                    return Err(SyntaxError);
                }
                let mut value = octal(char).ok_or(SyntaxError)?;
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(octal) else { break };
                    value = value * 8 + digit;
                    self.next();
                }
                char::from_u32(value).ok_or(SyntaxError)
            }
            _ if char.is_ascii() && !char.is_ascii_alphanumeric() => Ok(char),
            _ => Err(SyntaxError),
        }
    }

    /// Parses the `41` or `{1F600}` after `\x`.
    fn hexadecimal(&mut self) -> Result<char, SyntaxError> {
        let digits = if self.eat("{") {
            let (digits, rest) = self.rest.split_once('}').ok_or(SyntaxError)?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2).ok_or(SyntaxError)?;
            self.rest = rest;
            digits
        };
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(SyntaxError);
        }
        u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).ok_or(SyntaxError)
    }

    /// Parses a class after its `[`, including the closing bracket.
    fn class(&mut self) -> Result<CharacterSet, SyntaxError> {
        let negated = self.eat("^");
        let mut ranges = Vec::new();
        let mut first = true;
        while first || !self.eat("]") {
            first = false;
            if self.named_member(&mut ranges)? {
                continue;
            }
            let low = self.class_char()?;
            let is_range = self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]");
            let high = if is_range {
                self.next();
                self.class_char()?
            } else {
                low
            };
            if high < low {
                return Err(SyntaxError);
            }
            ranges.push(low..=high);
        }
        Ok(CharacterSet::Class { negated, ranges })
    }

    /// Parses `[:alpha:]` or `\d` inside a class, if it comes next. Returns `false` if it does not.
    fn named_member(&mut self, ranges: &mut Vec<RangeInclusive<char>>) -> Result<bool, SyntaxError> {
        let (members, negated) =
            if let Some((name, rest)) = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) {
                self.rest = rest;
                let positive = name.strip_prefix('^');
                (named_class(positive.unwrap_or(name)).ok_or(SyntaxError)?, positive.is_some())
            } else {
                let before = self.rest;
                let class = if self.eat("\\") { self.perl_class() } else { None };
                let Some(class) = class else {
                    self.rest = before;
                    return Ok(false);
                };
                class
            };
        ranges.extend(if negated { complement(members) } else { members });
        Ok(true)
    }

    fn class_char(&mut self) -> Result<char, SyntaxError> {
        match self.next().ok_or(SyntaxError)? {
            '\\' => self.escaped_char(),
            char => Ok(char),
        }
    }
}

/// Parses `{n}`, `{n,}` or `{n,m}` at the front of `text`. Returns the counts and the rest, or `None` for anything
/// else, which Go treats as literal text. Numbers that are too large saturate.
fn counts(text: &str) -> Option<(u32, Option<u32>, &str)> {
    fn number(text: &str) -> Option<(u32, &str)> {
        let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        let leading_zero = digits.len() > 1 && digits.starts_with('0');
        (end > 0 && !leading_zero).then(|| (digits.parse().unwrap_or(u32::MAX), rest))
    }
    let (min, rest) = number(text.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => number(rest).map(|(max, rest)| (Some(max), rest))?,
    };
    Some((min, max, rest.strip_prefix('}')?))
}

/// Returns the sorted ranges of an ASCII class by its POSIX name.
fn named_class(name: &str) -> Option<Vec<RangeInclusive<char>>> {
    let ranges: &[RangeInclusive<char>] = match name {
        "alnum" => &['0'..='9', 'A'..='Z', 'a'..='z'],
        "alpha" => &['A'..='Z', 'a'..='z'],
        "ascii" => &['\0'..='\x7F'],
        "blank" => &['\t'..='\t', ' '..=' '],
        "cntrl" => &['\0'..='\x1F', '\x7F'..='\x7F'],
        "digit" => &['0'..='9'],
        "graph" => &['!'..='~'],
        "lower" => &['a'..='z'],
        "print" => &[' '..='~'],
        "punct" => &['!'..='/', ':'..='@', '['..='`', '{'..='~'],
        "space" => &['\t'..='\r', ' '..=' '],
        "upper" => &['A'..='Z'],
        "word" => &['0'..='9', 'A'..='Z', '_'..='_', 'a'..='z'],
        "xdigit" => &['0'..='9', 'A'..='F', 'a'..='f'],
        _ => return None,
    };
    Some(ranges.to_vec())
}

/// Returns the ranges of all characters that are not in the sorted ASCII `ranges`.
fn complement(ranges: Vec<RangeInclusive<char>>) -> Vec<RangeInclusive<char>> {
    let mut gaps = Vec::new();
    let mut from = '\0';
    for range in ranges {
        let (start, end) = range.into_inner();
        if start > from {
            gaps.push(from..=char::from(start as u8 - 1));
        }
        from = char::from(end as u8 + 1);
    }
    gaps.push(from..=char::MAX);
    gaps
}
