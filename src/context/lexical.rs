//! Operations on paths as text: cleaning and joining as in Go's `path/filepath` on Unix, and decoding as in Go's
//! `range` over a string. Does not access the file system.

/// Returns the shortest equivalent path, as defined by Go's `filepath.Clean`.
///
/// Repeated slashes, `.` and inner `..` are removed. A leading `..` of a relative path is kept. The empty path becomes
/// `.`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for element in path.split('/') {
        match element {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            _ => kept.push(element),
        }
    }
    let joined = kept.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Joins `base` and `path` and cleans the result; an empty path is ignored.
pub(super) fn join(base: &str, path: &str) -> String {
    match (base, path) {
        ("", only) | (only, "") => clean(only),
        _ => clean(&format!("{base}/{path}")),
    }
}

/// Returns the directory and the last element of a cleaned path.
pub(super) fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        None => (".", path),
        Some(("", base)) => ("/", base),
        Some((directory, base)) => (directory, base),
    }
}

/// Decodes `bytes`, and replaces each byte that is not UTF-8 by one U+FFFD.
///
/// Go counts characters in this way, so that `?` matches one such byte. `String::from_utf8_lossy` does not.
pub(super) fn decode_lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        let table = [
            ("", "."),
            (".", "."),
            ("./", "."),
            ("/", "/"),
            ("//", "/"),
            ("a", "a"),
            ("a/", "a"),
            ("a//b/./c", "a/b/c"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("../a", "../a"),
            ("../../a", "../../a"),
            ("a/../../b", "../b"),
            ("/..", "/"),
            ("/../a/..", "/"),
            ("/a/../../b", "/b"),
            ("!a/../b", "b"),
            (" a /b", " a /b"),
        ];
        for (path, cleaned) in table {
            assert_eq!(clean(path), cleaned, "{path:?}");
        }
    }

    #[test]
    fn joining_ignores_empty_parts_and_never_leaves_the_root() {
        let table =
            [("", "", "."), (".", "/a", "a"), ("a", "", "a"), ("/", "../../a", "/a"), ("a/b", "../c", "a/c")];
        for (base, path, joined) in table {
            assert_eq!(join(base, path), joined, "{base:?} + {path:?}");
        }
    }

    #[test]
    fn each_invalid_byte_counts_as_one_character() {
        assert_eq!(decode_lossy(b"a\xE2\x82b\xFF"), "a\u{FFFD}\u{FFFD}b\u{FFFD}");
    }
}
