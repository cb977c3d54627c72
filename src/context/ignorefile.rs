//! Parses a `.dockerignore` as moby's `ignorefile` does. Matches nothing.

use super::lexical::{clean, decode_lossy};

/// The name of the ignore file of a context. `<Dockerfile>.dockerignore` takes precedence over it.
pub(crate) const FILE_NAME: &str = ".dockerignore";

/// Returns the patterns of an ignore file in their order, for a [`PatternMatcher`](super::PatternMatcher).
///
/// A byte order mark and lines that start with `#` are skipped. White space around a pattern, or after its `!`, is
/// removed. The path is cleaned, and one leading slash is removed. Bytes that are not UTF-8 become U+FFFD, as in the
/// names of a walk.
pub fn parse(content: &[u8]) -> Vec<String> {
    let content = content.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(content);
    content.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<String> {
    let line = decode_lossy(line);
    let pattern = line.trim();
    if line.starts_with('#') || pattern.is_empty() {
        return None;
    }
    Some(match pattern.strip_prefix('!') {
        Some(exception) => format!("!{}", relative(exception.trim())),
        None => relative(pattern),
    })
}

fn relative(path: &str) -> String {
    if path.is_empty() {
        return String::new();
    }
    let path = clean(path);
    match path.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_patterns_as_in_moby() {
        let table: &[(&[u8], &[&str])] = &[
            (b"", &[]),
            (b"\n\n  \n\t\n", &[]),
            (b"a\nb", &["a", "b"]),
            (b"a\r\nb\r\n", &["a", "b"]),
            (b"\xEF\xBB\xBFa", &["a"]),
            (b"\xEF\xBB\xBF# comment\na", &["a"]),
            (b"a\n\xEF\xBB\xBFb", &["a", "\u{FEFF}b"]),
            (b"# comment\n #no comment\n\\#also\n", &["#no comment", "\\#also"]),
            (b"  a b  \t\n", &["a b"]),
            (b"!a\n! b\n!\n!  \n", &["!a", "!b", "!", "!"]),
            (b"/abs\n//abs/\n/\n!/abs\n!/\n", &["abs", "abs", "/", "!abs", "!/"]),
            (b"./a\na/./b//c/\na/../b\n../x\n.", &["a", "a/b/c", "b", "../x", "."]),
            (b"!a/../b\n!./c", &["!b", "!c"]),
            (b"**/*.pyc\n*/\n", &["**/*.pyc", "*"]),
            (b"caf\xE9\nna\xC3\xAFve", &["caf\u{FFFD}", "na\u{EF}ve"]),
            (b"\xA0a\xA0\n\xC2\xA0b\xC2\xA0", &["\u{FFFD}a\u{FFFD}", "b"]),
        ];
        for (content, patterns) in table {
            assert_eq!(parse(content), *patterns, "{:?}", String::from_utf8_lossy(content));
        }
    }
}
