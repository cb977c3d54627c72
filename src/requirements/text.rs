//! The text of a pip requirements file, as pip reads it.
//!
//! Behaviour after pip's `req_file.py`: a byte order mark or a comment in the first two lines determines the encoding,
//! which is UTF-8 by default. Lines end where Python's `splitlines` ends them.

/// Decodes a file; returns `None` for an encoding that is not supported.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return String::from_utf8(rest.to_vec()).ok();
    }
    // pip tests the little-endian mark of UTF-16 first, which is a prefix of that of UTF-32.
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        // Python's codec removes a second mark.
        return utf16(rest.strip_prefix(b"\xff\xfe").unwrap_or(rest), u16::from_le_bytes);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(rest, u16::from_be_bytes);
    }
    match declared(bytes).as_deref() {
        None | Some("utf8" | "u8" | "utf" | "ascii" | "usascii" | "646") => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        Some("latin1" | "iso88591" | "latin" | "l1" | "cp819" | "8859") => Some(latin1(bytes)),
        Some(_) => None,
    }
}

/// Decodes every byte as the character with that number, which is correct for the ASCII part of most encodings.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().copied().map(unit).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}

/// Returns the encoding that a comment in the first two lines names (PEP 263), without separators.
fn declared(bytes: &[u8]) -> Option<String> {
    let comments = bytes.split(|byte| *byte == b'\n').take(2).filter(|line| line.starts_with(b"#"));
    let found = comments.filter_map(|line| {
        let line = latin1(line);
        line.match_indices("coding").find_map(|(index, word)| {
            let name = line[index + word.len()..].strip_prefix([':', '='])?.trim_start();
            let end = name.find(|char: char| !(char.is_ascii_alphanumeric() || "-_.".contains(char)));
            let name = &name[..end.unwrap_or(name.len())];
            (!name.is_empty()).then(|| name.replace(['-', '_', '.'], "").to_ascii_lowercase())
        })
    });
    found.into_iter().next()
}

/// Returns the lines as pip joins them: without comments, blank lines and outer blanks.
///
/// A comment line ends a continuation.
pub(super) fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut joined = String::new();
    for line in text_lines(text) {
        let comment = line.trim_start_matches(is_blank).starts_with('#');
        if line.ends_with('\\') && !comment {
            joined.push_str(line.trim_matches('\\'));
            continue;
        }
        if comment {
            joined.push(' ');
        }
        joined.push_str(line);
        lines.push(std::mem::take(&mut joined));
    }
    lines.push(joined);
    let kept = lines.iter().map(|line| without_comment(line).trim_matches(is_blank).to_owned());
    kept.filter(|line| !line.is_empty()).collect()
}

const MARK: char = '\u{feff}';

/// Returns the canonical text of all files with these logical lines.
pub(super) fn canonical(lines: &[String]) -> String {
    let mut text = String::new();
    // Decoding the canonical text removes a leading mark, so a mark that is content needs a second one before it.
    if lines.first().is_some_and(|line| line.starts_with(MARK)) {
        text.push(MARK);
    }
    for line in lines {
        text.push_str(line);
        // A line ends in a backslash only if a comment after it was removed. It must not be joined with the next line.
        text.push_str(if line.ends_with('\\') { " #\n" } else { "\n" });
    }
    text
}

/// Returns the lines as Python's `splitlines` splits them.
fn text_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.filter(|text| !text.is_empty())?;
        let Some(end) = text.find(is_line_end) else {
            rest = None;
            return Some(text);
        };
        let after = &text[end..];
        let taken =
            if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        rest = Some(&after[taken..]);
        Some(&text[..end])
    })
}

fn is_line_end(char: char) -> bool {
    matches!(char, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Returns `true` for the characters that Python regards as white space.
fn is_blank(char: char) -> bool {
    char.is_whitespace() || matches!(char, '\x1c'..='\x1f')
}

/// Removes a comment, which starts with a `#` at the start of a line or after a blank.
fn without_comment(line: &str) -> &str {
    let starts = |index: usize| index == 0 || line[..index].ends_with(is_blank);
    let comment = line.match_indices('#').map(|(index, _)| index).find(|index| starts(*index));
    comment.map_or(line, |index| &line[..index])
}

/// Splits a line into its requirement and its options like pip: the options start at the first word that starts with a
/// dash.
pub(super) fn parts(line: &str) -> (String, Vec<String>) {
    let words: Vec<&str> = line.split(' ').collect();
    let options = words.iter().position(|word| word.starts_with('-')).unwrap_or(words.len());
    (words[..options].join(" "), quoted_words(&words[options..].join(" ")))
}

/// Splits words like Python's `shlex`; an open quote extends to the end.
fn quoted_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\'' => word.get_or_insert_default().extend(chars.by_ref().take_while(|char| *char != '\'')),
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(char) = chars.next().filter(|char| *char != '"') {
                    match char {
                        '\\' => match chars.next() {
                            Some(escaped @ ('"' | '\\')) => word.push(escaped),
                            Some(other) => word.extend(['\\', other]),
                            None => word.push('\\'),
                        },
                        char => word.push(char),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<String> {
        logical_lines(&decode(bytes).unwrap())
    }

    #[test]
    fn every_encoding_that_pip_reads_gives_the_same_text() {
        let text = "# -*- coding: latin-1 -*-\nflask==3.0 # caf\u{e9}\nna\u{ef}ve @ file:///\u{e9}.whl\n";
        let expected = ["flask==3.0", "na\u{ef}ve @ file:///\u{e9}.whl"];
        let units = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
        let table: [Vec<u8>; 5] = [
            text.replace("latin-1", "utf-8").into_bytes(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect(),
            [b"\xff\xfe".to_vec(), units(u16::to_le_bytes)].concat(),
            [b"\xfe\xff".to_vec(), units(u16::to_be_bytes)].concat(),
        ];
        for bytes in table {
            assert_eq!(lines(&bytes), expected);
        }
        for unknown in
            [&b"# coding: koi8-r\nx\n"[..], b"\xff\xfex", b"caf\xe9\n", b"\n# vim: coding=utf-7\nx"]
        {
            assert_eq!(decode(unknown), None);
        }
    }

    #[test]
    fn lines_end_and_join_as_in_python() {
        let table: &[(&str, &[&str])] = &[
            ("a\r\nb\rc\x0cd\u{2028}e", &["a", "b", "c", "d", "e"]),
            ("a \\\r\n  b\n", &["a   b"]),
            ("a\\\n\\b\n", &["a\\b"]),
            ("a \\\n# ends it\nb\n", &["a", "b"]),
            ("a \\\n\nb\n", &["a", "b"]),
            ("# c \\\na\n", &["a"]),
            ("  a==1  \t# c\n#\n   # d\n", &["a==1"]),
            ("a#b\nc\t#d\ne\u{a0}#f", &["a#b", "c", "e"]),
            ("a \\", &["a"]),
            ("a\\\\\\\nb", &["ab"]),
        ];
        for (text, expected) in table {
            assert_eq!(&logical_lines(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quotes_are_removed_from_options_but_not_from_requirements() {
        for (line, requirement, options) in [
            ("-r \"my reqs.txt\"", "", &["-r", "my reqs.txt"][..]),
            ("a; x == 'y' --hash=sha256:b", "a; x == 'y'", &["--hash=sha256:b"]),
            ("-r\ta\\ b.txt", "", &["-r", "a b.txt"]),
            ("--requirement='x' -c \"a\\b\\\"\"", "", &["--requirement=x", "-c", "a\\b\""]),
            ("a-b", "a-b", &[]),
        ] {
            assert_eq!(
                parts(line),
                (requirement.to_owned(), options.iter().map(|o| (*o).to_owned()).collect())
            );
        }
    }
}
