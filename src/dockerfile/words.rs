//! Splits a joined line into words: keyword, flags, arguments, pairs and JSON arrays.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/parser/line_parsers.go` and `split_command.go`.

/// A flag such as `--from=builder` or `--link`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    /// The name without dashes.
    pub(crate) name: String,
    /// The part after `=`, without quotes.
    pub(crate) value: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct InstructionWords {
    /// The keyword in upper case.
    pub(super) keyword: String,
    pub(super) written: String,
    pub(super) flags: Vec<Flag>,
    pub(super) arguments: String,
}

fn is_blank(char: char) -> bool {
    matches!(char, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

impl InstructionWords {
    pub(super) fn of_line(line: &str, escape: char) -> Self {
        let line = line.trim();
        let (written, rest) = line.split_once(is_blank).unwrap_or((line, ""));
        let (flags, arguments) = split_flags(rest.trim_start_matches(is_blank), escape);
        Self {
            keyword: written.to_uppercase(),
            written: written.to_owned(),
            flags,
            arguments: arguments.trim().to_owned(),
        }
    }
}

/// Splits `line` into the flags at its start and the rest. A bare `--` ends the flags.
///
/// The engine reads flags byte by byte, as if they were in Latin-1: the id in `id=ü` is `Ã¼`, and a letter that
/// contains the byte 85 or A0 (hexadecimal) ends the flag.
fn split_flags(line: &str, escape: char) -> (Vec<Flag>, &str) {
    let mut flags = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            return (flags, rest);
        }
        let mut word = String::new();
        let mut quote = None;
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        'word: while let Some((index, char)) = chars.next() {
            match quote {
                None if char.is_ascii() && is_blank(char) || char == '\n' => {
                    end = index;
                    break;
                }
                None if matches!(char, '\'' | '"') => quote = Some(char),
                Some(open) if char == open => quote = None,
                _ if char == escape => {
                    word.extend(chars.next().into_iter().flat_map(|(_, char)| bytes(char)));
                }
                _ => {
                    for byte in bytes(char) {
                        if quote.is_none() && byte.is_whitespace() {
                            end = index + char.len_utf8();
                            break 'word;
                        }
                        word.push(byte);
                    }
                }
            }
        }
        rest = &rest[end..];
        if word == "--" {
            return (flags, rest);
        }
        let word = word.strip_prefix("--").unwrap_or(&word);
        let (name, value) =
            word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value.to_owned())));
        flags.push(Flag { name: name.to_owned(), value });
    }
}

fn bytes(char: char) -> impl Iterator<Item = char> {
    char.encode_utf8(&mut [0; 4]).bytes().collect::<Vec<_>>().into_iter().map(char::from)
}

/// Splits words at all blanks, as in COPY and FROM.
pub(super) fn split_at_blanks(text: &str) -> Vec<String> {
    text.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Splits words at blanks outside quotes; quotes and escapes are kept.
pub(super) fn split_quoted(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match quote {
            None if char.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(char, '\'' | '"') => quote = Some(char),
            Some(open) if char == open => quote = None,
            _ => {}
        }
        if char == escape && quote != Some('\'') {
            // An escape at the very end is dropped.
            let Some(escaped) = chars.next() else { continue };
            word.push(char);
            word.push(escaped);
            continue;
        }
        word.push(char);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Parses the pairs of ENV and LABEL: `a=1 b="2 3"`, or the old form `name value`.
pub(super) fn parse_pairs(text: &str, escape: char, keyword: &str) -> Result<Vec<(String, String)>, String> {
    let words = split_quoted(text, escape);
    let Some(first) = words.first() else {
        return Err(format!("{keyword} requires at least one argument"));
    };
    if !first.contains('=') {
        let (name, value) =
            text.split_once(is_blank).ok_or_else(|| format!("{keyword} must have two arguments"))?;
        return Ok(vec![(name.to_owned(), value.trim_start_matches(is_blank).to_owned())]);
    }
    words
        .iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => Err(format!("{keyword} names cannot be blank")),
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("`{word}` has no `=`: it must be of the form name=value")),
        })
        .collect()
}

/// Parses `text` as a JSON array; returns `Some(Err)` for an array that contains anything but strings.
pub(super) fn parse_json_array(text: &str) -> Option<Result<Vec<String>, String>> {
    if !text.starts_with('[') {
        return None;
    }
    let values: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(string) => Ok(string),
        _ => Err("a JSON array must contain only strings here".to_owned()),
    });
    Some(strings.collect())
}
