//! Matches shell patterns as Go's `filepath.Match` does. Does not access the file system.
//!
//! Such patterns are used for the syntax check of ignore patterns, for wildcards in the last element of followed paths
//! and in sources, and for the names of key files. Ignore files have more powerful patterns (`patterns`). `*` and `?`
//! do not match a slash, but a class does, as in the original.

use super::lexical::decode_lossy;
pub(crate) use crate::dockerfile::has_wildcards;

/// A syntax error: an unclosed or empty class, a range without an end, or a trailing backslash.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadPattern;

#[derive(Debug)]
enum GlobToken {
    Star,
    Question,
    Byte(u8),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// Returns `true` if `pattern` matches all of `name`, which may be a path.
pub(crate) fn matches(pattern: &str, name: &[u8]) -> Result<bool, BadPattern> {
    Ok(run(&parse(pattern)?, name))
}

/// Fails if `pattern` has a syntax error.
pub(super) fn validate(pattern: &str) -> Result<(), BadPattern> {
    parse(pattern).map(drop)
}

fn parse(pattern: &str) -> Result<Vec<GlobToken>, BadPattern> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    let mut literal = [0; 4];
    while let Some(char) = chars.next() {
        tokens.push(match char {
            '*' => GlobToken::Star,
            '?' => GlobToken::Question,
            '[' => {
                let (class, rest) = parse_class(chars.as_str())?;
                chars = rest.chars();
                class
            }
            _ => {
                let char = if char == '\\' { chars.next().ok_or(BadPattern)? } else { char };
                tokens.extend(char.encode_utf8(&mut literal).bytes().map(GlobToken::Byte));
                continue;
            }
        });
    }
    Ok(tokens)
}

/// Parses what follows a `[`, including the closing bracket. Returns the rest of the text.
fn parse_class(text: &str) -> Result<(GlobToken, &str), BadPattern> {
    let stripped = text.strip_prefix('^');
    let negated = stripped.is_some();
    let mut rest = stripped.unwrap_or(text);
    let mut ranges = Vec::new();
    loop {
        if let (false, Some(behind)) = (ranges.is_empty(), rest.strip_prefix(']')) {
            return Ok((GlobToken::Class { negated, ranges }, behind));
        }
        let (low, behind) = parse_bound(rest)?;
        let (high, behind) = match behind.strip_prefix('-') {
            Some(behind) => parse_bound(behind)?,
            None => (low, behind),
        };
        ranges.push((low, high));
        rest = behind;
    }
}

/// Parses one end of a range. Fails if nothing follows it. Returns the rest of the text.
fn parse_bound(text: &str) -> Result<(char, &str), BadPattern> {
    let mut chars = text.chars();
    let bound = match chars.next().ok_or(BadPattern)? {
        '-' | ']' => return Err(BadPattern),
        '\\' => chars.next().ok_or(BadPattern)?,
        char => char,
    };
    if chars.as_str().is_empty() { Err(BadPattern) } else { Ok((bound, chars.as_str())) }
}

/// Matches all of `name`. Going back to the last star is sufficient.
fn run(tokens: &[GlobToken], name: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut retry = None;
    loop {
        let step = match tokens.get(token) {
            None if at == name.len() => return true,
            None => None,
            Some(GlobToken::Star) => {
                retry = Some((token + 1, at));
                token += 1;
                continue;
            }
            Some(single) => consume(single, &name[at..]),
        };
        if let Some(width) = step {
            at += width;
            token += 1;
        } else if let Some((after_star, from)) =
            retry.filter(|(_, from)| name.get(*from).is_some_and(|byte| *byte != b'/'))
        {
            retry = Some((after_star, from + 1));
            (token, at) = (after_star, from + 1);
        } else {
            return false;
        }
    }
}

/// Returns the number of bytes of `name` that the token consumes, or `None` if it does not match.
fn consume(token: &GlobToken, name: &[u8]) -> Option<usize> {
    match token {
        GlobToken::Byte(byte) => (name.first() == Some(byte)).then_some(1),
        GlobToken::Question => first_char(name).filter(|(char, _)| *char != '/').map(|(_, width)| width),
        GlobToken::Class { negated, ranges } => {
            let (char, width) = first_char(name)?;
            let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&char));
            (inside != *negated).then_some(width)
        }
        GlobToken::Star => None,
    }
}

fn first_char(bytes: &[u8]) -> Option<(char, usize)> {
    let chunk = bytes[..bytes.len().min(4)].utf8_chunks().next()?;
    match chunk.valid().chars().next() {
        Some(char) => Some((char, char.len_utf8())),
        None => Some((decode_lossy(&bytes[..1]).chars().next()?, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_filepath_match() {
        let table = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*b*c", "axxbxxbc", true),
            ("a*b*c", "axxbxxb", false),
            ("a?c", "aéc", true),
            ("a?", "a", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[z-a]", "m", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("a/*.x", "a/b.x", true),
            ("a/*.x", "a/b/c.x", false),
            ("*/x", "a/x", true),
            ("*/x", "a/b/x", false),
            ("*", "a/b", false),
            ("*a/b*c", "aaa/bxc", true),
            ("a?b", "a/b", false),
            ("a[^x]b", "a/b", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name.as_bytes()), Ok(expected), "{pattern} on {name}");
        }
        assert_eq!(matches("a?", b"a\xFF"), Ok(true));
    }

    #[test]
    fn malformed_patterns_are_refused_for_any_name() {
        for pattern in
            ["[", "[]", "[]a]", "[a", "[a-]", "[-a]", "[^]", "[^-a]", "[a-b-c]", "\\", "a[", "*[", "[\\"]
        {
            assert_eq!(validate(pattern), Err(BadPattern), "{pattern}");
        }
    }
}
